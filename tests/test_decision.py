"""The pure functions: best, aliases, metadata, description, names."""

import json
import math
import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_ckpt.checkpoint import METADATA_KEYS, Checkpoint, finite_scalar, finite_scalars
from wandb_ckpt.errors import ArgumentError
from wandb_ckpt.policy.best import aliases_for, beside, best_of, direction_of
from wandb_ckpt.policy.description import describe
from wandb_ckpt.policy.naming import candidate_names, check_aliases, check_artifact_name, default_artifact_name

VALUES = st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=30)


def checkpoint(**facts: object) -> Checkpoint:
    """A checkpoint of which only some facts matter."""
    return Checkpoint(**{"path": "m.keras", "format": "keras", "epoch": 0, "monitor": "loss", **facts})


@given(VALUES, st.sampled_from(["min", "max"]))
def test_best_is_the_extreme_of_what_was_seen(values: list[float | None], mode: str) -> None:
    """At every moment the last value called best is the extreme of all finite ones so far."""
    numbers, best = [finite_scalar(value) for value in values], None
    for number, value in enumerate(numbers):
        compared = beside(checkpoint(value=value, mode=mode), numbers[:number])
        if compared.is_best:
            best = value
        assert best == compared.best == best_of(numbers[: number + 1], mode)


def test_equal_is_not_better() -> None:
    """A tie stays with the first, as in Keras; where it is unknown what is better, nothing is."""
    assert not beside(checkpoint(value=0.5, mode="min"), [0.5]).is_best
    assert not beside(checkpoint(value=0.4), [0.5]).is_best


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 10**400, "high", [1.0, 2.0], {}])
def test_only_finite_scalars_count(value: object) -> None:
    """Anything else has no value that could be compared or written as JSON."""
    assert finite_scalar(value) is None
    assert finite_scalars({"a": value, "b": 1}) == {"b": 1.0}


@given(st.dictionaries(st.text(), st.floats(allow_nan=True)), st.text())
def test_metadata_is_json_and_description_one_table(logs: dict[str, float], monitor: str) -> None:
    """Whatever the logs are called, the metadata is strict JSON with the same keys."""
    record = checkpoint(monitor=monitor, value=finite_scalar(logs.get(monitor)), logs=finite_scalars(logs))
    assert set(json.loads(json.dumps(record.to_metadata(), allow_nan=False))) == METADATA_KEYS
    assert "<" not in re.sub(r"\\<", "", describe(record))


def test_description_says_what_matters() -> None:
    """The monitored value, the best so far and all logs are in the description."""
    text = describe(checkpoint(epoch=3, batch=7, step=99, value=0.25, best=0.125, logs={"loss": 0.25, "mae": 1.5}))
    assert "**loss = 0.25** (best so far: 0.125) · epoch 3 (zero-based) · batch 7 · step 99" in text
    assert "| mae | 1.5 |" in text
    assert "no finite value" in describe(checkpoint())


def test_aliases() -> None:
    """latest, best, the moment, then the user's, each once."""
    assert aliases_for(checkpoint(epoch=2), ["latest", "mine"]) == ("latest", "epoch_2", "mine")
    assert aliases_for(checkpoint(epoch=2, batch=5, is_best=True)) == ("latest", "best", "epoch_2_batch_5")


def test_direction() -> None:
    """The direction is what the comparison does with 0 and 1."""
    assert (direction_of(operator.lt), direction_of(operator.gt)) == ("min", "max")


@given(st.text(min_size=1, max_size=300))
def test_default_name_is_always_valid(run_id: str) -> None:
    """Any run id gives a name that W&B takes, and different ids give different names."""
    name = default_artifact_name(run_id)
    assert check_artifact_name(name) == name
    assert name != default_artifact_name(run_id + "x")


PATHS = st.lists(
    st.text(st.characters(exclude_characters="{}")) | st.sampled_from(["{epoch:02d}", "{{", "}}"]), min_size=1
)


def test_a_path_that_is_not_utf_8() -> None:
    """Python has lone surrogates in the names of such files."""
    assert candidate_names("r", "m\udc80-{epoch}.keras", "loss")[0] == "run_r_model"


@given(st.text(min_size=1, max_size=200), PATHS.map("".join), st.text(min_size=1, max_size=100))
def test_candidate_names_are_valid_and_distinct(run_id: str, path: str, monitor: str) -> None:
    """There is always a name left, and W&B takes all of them."""
    names = candidate_names(run_id, path, monitor)
    assert [check_artifact_name(name) for name in names] == list(names)
    assert len(set(names)) == len(names) >= 2


@pytest.mark.parametrize("aliases", ["best", ["a/b"], ["a:b"], [""], ["v3"], [None], ["best"], ["epoch_3"]])
def test_bad_aliases_are_refused_early(aliases: object) -> None:
    """An alias that W&B would refuse at upload is refused when the callback is made."""
    with pytest.raises(ArgumentError, match=r"expected|Rename"):
        check_aliases(aliases)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 129])
def test_bad_names_are_refused_early(name: str) -> None:
    """A name that W&B would refuse at upload is refused when the callback is made."""
    with pytest.raises(ArgumentError, match="128 characters"):
        check_artifact_name(name)
