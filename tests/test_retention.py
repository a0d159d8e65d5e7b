"""Which versions may go: the pure rule, for any set of versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.retention import Candidate, Rule, can_rank, deletable, reasons_to_keep

OURS = ("latest", "best", "epoch_0", "epoch_12_batch_7", "v3")
THEIRS = ("prod", "Best", "latest ", "epoch_", "epoch_1_batch", "v", "vnext", "epoch_1x", "épatant")
ALIASES = st.frozensets(st.sampled_from(OURS + THEIRS), max_size=2)
ONE = st.builds(
    Candidate,
    number=st.integers(0, 60),
    moment=st.tuples(st.sampled_from(["", "2026-01-01", "2026-01-02"]), st.sampled_from([0.0, 1.0]), st.just(0.0)),
    aliases=st.just(frozenset()) | ALIASES,
    monitor=st.sampled_from(["loss", "loss", "acc"]),
    value=st.none() | st.sampled_from([0.0, -0.0, 1.0]) | st.floats(allow_nan=False, allow_infinity=False),
    is_own=st.sampled_from([True, True, False]),
    is_linked=st.sampled_from([False, False, True]),
)
MANY = st.lists(ONE, max_size=25, unique_by=lambda candidate: candidate.number)
RULES = st.builds(
    Rule,
    newest=st.integers(0, 8),
    best=st.integers(0, 8),
    monitor=st.just("loss"),
    mode=st.sampled_from(["min", "max"]),
)


@given(MANY, RULES)
def test_what_somebody_holds_never_goes(versions: list[Candidate], rule: Rule) -> None:
    """Nothing goes that is best, latest, linked, of another run, or has an alias that is not ours."""
    for gone in deletable(versions, rule):
        assert gone.is_own
        assert not gone.is_linked
        assert not {"best", "latest"} & gone.aliases
        assert not set(THEIRS) & gone.aliases


@given(MANY, RULES)
def test_the_newest_stay(versions: list[Candidate], rule: Rule) -> None:
    """The newest N of the run's own versions stay, and versions of other runs take none of the N places."""
    gone = {candidate.number for candidate in deletable(versions, rule)}
    own = sorted(((each.moment, each.number) for each in versions if each.is_own), reverse=True)
    assert not gone & {number for _, number in own[: rule.newest]}


@given(MANY, RULES)
def test_the_best_stay(versions: list[Candidate], rule: Rule) -> None:
    """Fewer than K versions that stay, or that are equal and older, are as good as any that goes."""
    gone = deletable(versions, rule)
    comparable = [each for each in versions if each.is_own and each.monitor == "loss" and each.value is not None]
    sign = 1 if rule.mode == "min" else -1
    for lost in gone:
        if lost not in comparable:
            continue
        better = [each for each in comparable if (sign * each.value, each.age) < (sign * lost.value, lost.age)]
        assert len(better) >= rule.best


@given(MANY, RULES)
def test_nothing_else_stays(versions: list[Candidate], rule: Rule) -> None:
    """What is neither among the newest nor among the best, and held by nobody, goes, oldest first."""
    gone = [candidate.number for candidate in deletable(versions, rule)]
    assert [each.age for each in deletable(versions, rule)] == sorted(
        each.age for each in versions if each.number in gone
    )
    if not can_rank(versions, rule):
        assert not gone
        return
    free = [each for each in versions if each.is_own and not each.is_linked and not each.aliases]
    assert len(set(gone) & {each.number for each in free}) >= len(free) - rule.newest - rule.best


@given(MANY, RULES, st.randoms())
def test_the_order_of_the_versions_does_not_matter(versions: list[Candidate], rule: Rule, random: object) -> None:
    """The same versions in another order give the same answer, and what stays is told with a reason."""
    shuffled = list(versions)
    random.shuffle(shuffled)
    assert deletable(shuffled, rule) == deletable(versions, rule)
    kept = reasons_to_keep(versions, rule)
    assert all(kept.values())
    assert {each.number for each in deletable(versions, rule)} | set(kept) == {each.number for each in versions}


@given(MANY, RULES)
def test_pruning_again_takes_nothing_more(versions: list[Candidate], rule: Rule) -> None:
    """What is left after a rule was applied is all that the rule keeps."""
    gone = deletable(versions, rule)
    assert deletable([each for each in versions if each not in gone], rule) == ()


@given(MANY, RULES)
def test_a_link_only_keeps_the_version_itself(versions: list[Candidate], rule: Rule) -> None:
    """Links may be looked up for what would go alone: a linked version takes no other's place."""
    unlinked = [Candidate(**{**fields(each), "is_linked": False}) for each in versions]
    linked = {each.number for each in versions if each.is_linked}
    first = {each.number for each in deletable(unlinked, rule)}
    assert {each.number for each in deletable(versions, rule)} == first - linked


def fields(candidate: Candidate) -> dict[str, object]:
    """A candidate as keywords."""
    return {name: getattr(candidate, name) for name in Candidate.__slots__}


def test_all_reasons_are_told() -> None:
    """A version that stays for several reasons says all of them."""
    held = Candidate(number=4, aliases=frozenset({"best", "prod", "epoch_4"}), value=1.0, is_linked=True)
    other = Candidate(number=5, is_own=False)
    assert reasons_to_keep([held, other], Rule(newest=1, best=2, mode="max")) == {
        4: "newest 1, best 2, alias 'best', alias 'prod', linked",
        5: "logged by another run",
    }


@pytest.mark.parametrize("numbers", [{"newest": -1}, {"newest": 0, "best": -1}, {"newest": 0, "best": 1}])
def test_a_rule_that_means_nothing_is_refused(numbers: dict[str, int]) -> None:
    """Negative numbers, and best ones without a word on what is better, are refused when the rule is made."""
    with pytest.raises(ArgumentError, match="expected"):
        Rule(**numbers)
