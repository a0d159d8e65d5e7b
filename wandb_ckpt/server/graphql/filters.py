"""Filters and orders of lists: MongoDB conditions and `+field`/`-field`, as clients send them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import re2

from wandb_ckpt.server.errors import InvalidRequestError

__all__ = ["Lookup", "matches", "parse", "parse_order", "select", "sort"]

Lookup = Callable[[str], Any]
"""Returns the value of a field by its dotted name, or None."""

_Thing = TypeVar("_Thing")
_DEPTH = 20
_PATTERN_LENGTH = 200
# RE2 takes time in proportion to the length of the text. With Python's re, "(a+)+$" and a name of 30 letters would
# block the whole server for minutes.
_RE2 = re2.Options()
_RE2.max_mem = 2**20
_RE2.log_errors = False


def parse(filters: str | None) -> Mapping[str, Any]:
    """Return the condition in a JSON text. No text gives a condition that everything meets."""
    condition = json.loads(filters) if filters else {}
    if condition is None:
        return {}
    if not isinstance(condition, dict):
        raise InvalidRequestError("Invalid filters: expected a JSON object.")
    _check_depth(condition, _DEPTH)
    return condition


def _check_depth(value: Any, left: int) -> None:
    if not left:
        raise InvalidRequestError("Invalid filters: nested too deeply.")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(child, left - 1)


def matches(condition: Mapping[str, Any], lookup: Lookup) -> bool:
    """Return whether something meets the condition, given its fields."""
    return all(_holds(key, value, lookup) for key, value in condition.items())


def _holds(key: str, value: Any, lookup: Lookup) -> bool:
    match key:
        case "$and":
            return all(matches(each, lookup) for each in _conditions(key, value))
        case "$or":
            return any(matches(each, lookup) for each in _conditions(key, value))
        case "$nor":
            return not any(matches(each, lookup) for each in _conditions(key, value))
        case "$not":
            return not matches(_condition(key, value), lookup)
    if key.startswith("$"):
        raise InvalidRequestError(f"Invalid filters: the operator {key} is not supported.")
    return _meets(lookup(key), value)


def _conditions(key: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise InvalidRequestError(f"Invalid filters: {key} takes a list of conditions.")
    return [_condition(key, each) for each in value]


def _condition(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"Invalid filters: {key} takes conditions, which are JSON objects.")
    return value


def _meets(actual: Any, expected: Any) -> bool:
    if isinstance(expected, dict) and any(key.startswith("$") for key in expected):
        return all(_compare(actual, operator, operand) for operator, operand in expected.items())
    return _equal(actual, expected)


def _equal(actual: Any, expected: Any) -> bool:
    # As in MongoDB, a list matches a value that it contains.
    if isinstance(actual, list) and not isinstance(expected, list):
        return any(_equal(each, expected) for each in actual)
    return bool(actual == expected)


def _compare(actual: Any, operator: str, operand: Any) -> bool:
    if operator == "$not":
        return not _meets(actual, operand)
    compare = _OPERATORS.get(operator)
    if compare is None:
        raise InvalidRequestError(f"Invalid filters: the operator {operator} is not supported.")
    return compare(actual, operand)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(actual: Any, operand: Any) -> bool:
        both_numbers = isinstance(actual, int | float) and isinstance(operand, int | float)
        both_texts = isinstance(actual, str) and isinstance(operand, str)
        return (both_numbers or both_texts) and test(actual, operand)

    return compare


def _among(actual: Any, operand: Any) -> bool:
    return any(_equal(actual, each) for each in _list(operand))


def _has_all(actual: Any, operand: Any) -> bool:
    return all(_equal(actual, each) for each in _list(operand))


def _list(operand: Any) -> list[Any]:
    if not isinstance(operand, list):
        raise InvalidRequestError("Invalid filters: $in, $nin and $all take a list.")
    return operand


def _like(actual: Any, operand: Any) -> bool:
    if not isinstance(operand, str) or len(operand) > _PATTERN_LENGTH:
        raise InvalidRequestError(f"Invalid filters: $regex takes a text of at most {_PATTERN_LENGTH} characters.")
    try:
        pattern = re2.compile(operand, _RE2)
    except (re2.error, UnicodeEncodeError) as error:
        raise InvalidRequestError(f"Invalid filters: {operand!r} is not a regular expression (RE2).") from error
    texts = actual if isinstance(actual, list) else [actual]
    return any(isinstance(text, str) and pattern.search(text) is not None for text in texts)


def _contains(actual: Any, operand: Any) -> bool:
    if isinstance(actual, list):
        return operand in actual
    return isinstance(actual, str) and isinstance(operand, str) and operand in actual


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda actual, operand: not _equal(actual, operand),
    "$in": _among,
    "$nin": lambda actual, operand: not _among(actual, operand),
    "$all": _has_all,
    "$gt": _ordered(lambda actual, operand: actual > operand),
    "$gte": _ordered(lambda actual, operand: actual >= operand),
    "$lt": _ordered(lambda actual, operand: actual < operand),
    "$lte": _ordered(lambda actual, operand: actual <= operand),
    "$regex": _like,
    "$contains": _contains,
    "$exists": lambda actual, operand: (actual is not None) == bool(operand),
}


def parse_order(order: str | None, default: str) -> tuple[str, bool]:
    """Return the field in `+field` or `-field`, and whether the largest value comes first."""
    text = (order or default).strip()
    return text.lstrip("+-"), text.startswith("-")


def sort(things: Iterable[_Thing], value: Callable[[_Thing], Any], *, downwards: bool) -> Sequence[_Thing]:
    """Sort by a value. Things without one come last in both directions."""
    with_value = [thing for thing in things if value(thing) is not None]
    without = [thing for thing in things if value(thing) is None]
    return [*sorted(with_value, key=lambda thing: _rank(value(thing)), reverse=downwards), *without]


def select(
    things: Iterable[_Thing],
    value: Callable[[_Thing, str], Any],
    filters: str | None,
    order: str | None,
    default_order: str,
) -> list[_Thing]:
    """Return the things that match, sorted.

    Args:
        things: What to choose from.
        value: Returns the value of a field of a thing by its dotted name, or None.
        filters: The condition as JSON.
        order: `+field` or `-field`.
        default_order: The order where none is given.
    """
    condition = parse(filters)
    field, downwards = parse_order(order, default_order)
    found = [thing for thing in things if matches(condition, partial(value, thing))]
    return list(sort(found, lambda thing: value(thing, field), downwards=downwards))


def _rank(value: Any) -> tuple[int, Any]:
    # Numbers, then texts, then the rest: the type of a value may differ from run to run.
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, json.dumps(value, sort_keys=True, default=str))
