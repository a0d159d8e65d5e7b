"""The pure parts: filters, paging, ids, names, manifests, history, console lines, signatures."""

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wandb_ckpt.server import ids, json_text, names, run_lines
from wandb_ckpt.server.errors import InvalidRequestError, NotFoundError
from wandb_ckpt.server.graphql import filters
from wandb_ckpt.server.graphql.context import snake_case
from wandb_ckpt.server.graphql.paging import connect
from wandb_ckpt.server.http.addresses import Signer
from wandb_ckpt.server.run_lines import parse_console_line
from wandb_ckpt.server.versions import manifest

THING: dict[str, Any] = {"name": "run-7", "n": 3, "f": 0.5, "tags": ["a", "b"], "none": None, "flag": True}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, True),
        ({"name": "run-7"}, True),
        ({"name": "run-8"}, False),
        ({"name": {"$eq": "run-7"}, "n": {"$ne": 4}}, True),
        ({"tags": "a"}, True),
        ({"tags": {"$in": ["x", "b"]}}, True),
        ({"tags": {"$nin": ["x"]}}, True),
        ({"tags": {"$all": ["a", "b"]}}, True),
        ({"tags": {"$all": ["a", "c"]}}, False),
        ({"n": {"$gt": 2, "$lte": 3}}, True),
        ({"n": {"$gt": "2"}}, False),
        ({"n": {"$lt": 3}}, False),
        ({"f": {"$gte": 0.5}}, True),
        ({"none": {"$gt": 0}}, False),
        ({"none": {"$exists": False}, "n": {"$exists": True}}, True),
        ({"name": {"$regex": "^run-\\d$"}}, True),
        ({"name": {"$contains": "un"}}, True),
        ({"name": {"$not": {"$regex": "x"}}}, True),
        ({"$not": {"n": 3}}, False),
        ({"$nor": [{"n": 4}, {"n": 5}]}, True),
        ({"$or": [{"n": 4}, {"f": 0.5}]}, True),
        ({"$and": [{"n": 3}, {"$or": []}]}, False),
        ({"missing": None}, True),
        ({"missing": {"$ne": 1}}, True),
    ],
)
def test_a_condition(condition: dict[str, Any], expected: bool) -> None:
    """A Mongo-like condition holds for a thing or not."""
    assert filters.matches(filters.parse(json.dumps(condition)), THING.get) is expected


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"$and": 1},
        {"$or": [1]},
        {"$where": "x"},
        {"n": {"$bad": 1}},
        {"n": {"$in": 1}},
        {"name": {"$regex": "("}},
        {"name": {"$regex": "\ud800"}},
        {"name": {"$regex": "a" * 300}},
        {"name": {"$regex": 1}},
        json.loads('{"a":' * 50 + "1" + "}" * 50),
    ],
    ids=str,
)
def test_a_wrong_condition_is_an_error(wrong: Any) -> None:
    """A condition that is none says so."""
    with pytest.raises(InvalidRequestError, match="Invalid filters"):
        filters.matches(filters.parse(json.dumps(wrong)), THING.get)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*a){50}$", "(a*)*b", "((a?){300})b"])
def test_a_hostile_pattern_takes_no_time(pattern: str) -> None:
    """A pattern that would take Python's re for ever is answered like any other."""
    things = [{"name": "a" * 128 + "!"}] * 1000
    condition = filters.parse(json.dumps({"name": {"$regex": pattern}}))
    assert not any(filters.matches(condition, thing.get) for thing in things)


@given(
    st.lists(st.none() | st.integers() | st.text() | st.floats(allow_nan=False) | st.lists(st.integers())),
    st.booleans(),
)
def test_sorting_never_fails(values: list[Any], downwards: bool) -> None:
    """Things of any types can be put in order; those without a value come last."""
    ordered = list(filters.sort(values, lambda value: value, downwards=downwards))
    assert sorted(map(repr, ordered)) == sorted(map(repr, values))
    assert None not in ordered[: len(values) - values.count(None)]


@given(st.integers(0, 30), st.integers(1, 7))
def test_pages_cover_a_list_once(length: int, size: int) -> None:
    """Going from page to page gives every thing once, in order, and ends."""
    things, seen, after = list(range(length)), [], None
    while True:
        page = connect(things, first=size, after=after)
        assert page.total_count == length
        seen += [edge.node for edge in page.edges]
        after = page.page_info.end_cursor
        if not page.page_info.has_next_page:
            break
    assert seen == things


@pytest.mark.parametrize(
    "cursor", ["x", "bzo=", base64.b64encode(b"o:-1").decode(), base64.b64encode(b"o:" + b"9" * 40).decode()]
)
def test_a_foreign_cursor_is_an_error(cursor: str) -> None:
    """A cursor that was not given out here says so."""
    with pytest.raises(InvalidRequestError, match="not a cursor"):
        connect([1], after=cursor)


@given(st.sampled_from(["Artifact", "Run", "ArtifactCollectionMembership"]), st.integers(0, 10**17))
def test_ids_are_what_the_client_needs(kind: str, number: int) -> None:
    """Ids are canonical padded Base64 without a slash, and lead back to kind and number only."""
    text = ids.encode(kind, number)
    assert base64.b64encode(base64.b64decode(text)).decode() == text
    assert "/" not in text
    assert ids.decode(kind, text) == number
    with pytest.raises(NotFoundError):
        ids.decode("Other", text)


@given(st.text())
def test_any_other_text_is_no_id(text: str) -> None:
    """A text that is no id is told apart without a failure."""
    with pytest.raises(NotFoundError):
        ids.decode("Artifact", text)


def refusal(check: Any, text: str) -> str | None:
    """The first word of why a check refuses a text."""
    try:
        assert check(text) == text
    except InvalidRequestError as error:
        return str(error).split()[0]
    return None


@given(st.text(max_size=300))
def test_checks_of_names_end_quickly(text: str) -> None:
    """No name makes a check fail otherwise than by saying that it is invalid, or take long."""
    begin = time.thread_time()
    for check in (
        names.check_alias,
        names.check_collection_name,
        names.check_file_path,
        names.check_project_name,
        names.check_run_name,
        names.check_tag,
        names.check_type_name,
    ):
        assert refusal(check, text) in {None, "Invalid"}
    assert time.thread_time() - begin < 0.5


def test_names_that_invite_backtracking() -> None:
    """Long names that nearly fit are refused as quickly as others."""
    for check in (names.check_tag, names.check_type_name):
        begin = time.thread_time()
        with pytest.raises(InvalidRequestError):
            check("a" * 127 + "!")
        with pytest.raises(InvalidRequestError):
            check("a " * 63 + "!")
        assert time.thread_time() - begin < 0.1


@given(
    st.dictionaries(
        st.text("abc/.ü ", min_size=1).filter(lambda p: ".." not in p and p[0] != "/"), st.integers(0, 99)
    )
)
def test_a_manifest_is_what_it_was(files: dict[str, int]) -> None:
    """What is written of a manifest reads back as the same; order does not change its digest."""
    entries = [manifest.ManifestEntry(path, f"d{size}", size, None, None, None) for path, size in files.items()]
    _, found = manifest.parse(manifest.dump({}, entries))
    assert sorted(found.values(), key=lambda e: e.path) == sorted(entries, key=lambda e: e.path)
    assert manifest.digest(entries, "MANIFEST_MD5") == manifest.digest(entries[::-1], "MANIFEST_MD5")


def test_a_manifest_does_not_tell_the_uploaders_folders() -> None:
    """The uploader's own paths are not handed out."""
    data = b'{"contents": {"f": {"digest": "x", "ref": "r", "local_path": "/home/me/f", "skip_cache": true}}}'
    head, entries = manifest.parse(data)
    assert b"/home/me" not in manifest.dump(head, entries.values())


@given(st.lists(st.integers(), max_size=50), st.none() | st.integers(-1, 60))
def test_samples_are_spread(rows: list[int], samples: int | None) -> None:
    """At most so many rows are picked, in order, with the first and the last."""
    picked = run_lines.sampled(rows, samples)
    assert len(picked) == (len(rows) if samples is None else max(0, min(samples, len(rows))))
    if len(picked) > 1:
        assert (picked[0], picked[-1]) == (rows[0], rows[-1])


def test_console_lines_are_taken_apart() -> None:
    """Time, level and text of a line are found; a line of another form is all text."""
    line = parse_console_line(0, "ERROR 2026-11-22T00:23:37.601095 boom\n")
    assert (line["level"], line["timestamp"], line["line"]) == ("error", "2026-11-22T00:23:37.601095", "boom\n")
    assert parse_console_line(1, "2026-11-22T00:23:37.601095 hello")["line"] == "hello"
    assert parse_console_line(2, "plain")["line"] == "plain"


def test_a_signature_ends() -> None:
    """A proof holds for its text and purpose until its time is over."""
    signer = Signer(b"secret")
    expires, signature = signer.sign("GET", "a", 60)
    assert signer.is_valid("GET", "a", str(expires), signature)
    assert not signer.is_valid("PUT", "a", str(expires), signature)
    assert not signer.is_valid("GET", "b", str(expires), signature)
    assert not Signer(b"other").is_valid("GET", "a", str(expires), signature)
    expires, signature = signer.sign("GET", "a", -1)
    assert not signer.is_valid("GET", "a", str(expires), signature)


def test_answers_are_valid_json() -> None:
    """NaN and infinities become null."""
    value = {"a": [float("nan"), float("inf"), 1.5], "b": "NaN"}
    assert json.loads(json_text.dump(value)) == {"a": [None, None, 1.5], "b": "NaN"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("directUrl", "direct_url"),
        ("clientIDMapping", "client_id_mapping"),
        ("uploadID", "upload_id"),
        ("hexMD5", "hex_md5"),
        ("md5", "md5"),
        ("ttlDurationSeconds", "ttl_duration_seconds"),
        ("coreWeaveOrganizationId", "core_weave_organization_id"),
    ],
)
def test_names_of_fields(name: str, expected: str) -> None:
    """Field names of the schema as Python's."""
    assert snake_case(name) == expected
