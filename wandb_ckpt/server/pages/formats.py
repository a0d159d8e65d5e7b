"""Formats values for users: numbers, sizes, ages, JSON."""

from __future__ import annotations

import datetime
import json
import math
from itertools import chain
from typing import Any

__all__ = [
    "MISSING",
    "age",
    "count",
    "duration",
    "finite",
    "later",
    "moment",
    "number",
    "pretty",
    "shortened",
    "signed",
    "size",
    "visible",
]

MISSING = "–"
_UNITS = ("kB", "MB", "GB", "TB", "PB")
_AGES = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("min", 60))
# Characters that reorder or hide other text, or can't be sent as UTF-8. Tab and newline stay.
_UNSEEN = dict.fromkeys(
    chain(
        range(9), (11, 12), range(14, 32), (127,), range(0x202A, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000)
    ),
    "\N{REPLACEMENT CHARACTER}",
)


def visible(text: str) -> str:
    r"""Replace the characters that hide or reorder other text, and lone surrogates.

    >>> visible("a\u202egpj.exe")
    'a�gpj.exe'
    """
    return text.translate(_UNSEEN)


def number(value: float | None) -> str:
    """Return a number with up to five significant digits, or a whole integer.

    >>> number(0.123456), number(12), number(1234567.0), number(None)
    ('0.12346', '12', '1234567', '–')
    """
    if value is None:
        return MISSING
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return shortened(str(int(value)), 40) if abs(value) < 1e300 else "≥ 1e300"
    return f"{value:.5g}"


def count(value: int) -> str:
    """Return an integer with separators of thousands.

    >>> count(10000)
    '10,000'
    """
    return f"{value:,}"


def signed(value: float) -> str:
    """Return a difference with its sign.

    >>> signed(0.25), signed(-3), signed(0)
    ('+0.25', '−3', '±0')
    """
    return {1: "+", -1: "−"}.get((value > 0) - (value < 0), "±") + number(abs(value))


def size(amount: int) -> str:
    """Return a size in bytes with its unit.

    >>> size(999), size(23_403), size(2_500_000_000)
    ('999 B', '23.4 kB', '2.5 GB')
    """
    if abs(amount) < 1000:
        return f"{amount} B"
    scaled, units = amount / 1000, iter(_UNITS)
    unit = next(units)
    while abs(scaled) >= 999.95 and (larger := next(units, None)):
        scaled, unit = scaled / 1000, larger
    return f"{scaled:.3g} {unit}" if abs(scaled) < 99.95 else f"{scaled:.0f} {unit}"


def age(time: str, now: datetime.datetime | None = None) -> str:
    """Return how long ago a time of the store was.

    >>> age("2026-01-01T00:00:00Z", datetime.datetime(2026, 1, 3, tzinfo=datetime.UTC))
    '2 days ago'
    """
    then = _parsed(time)
    if then is None:
        return MISSING
    seconds = ((now or datetime.datetime.now(datetime.UTC)) - then).total_seconds()
    return "just now" if seconds < 60 else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit.

    >>> duration(45), duration(90), duration(7200)
    ('45 s', '1 min', '2 hours')
    """
    for unit, length in _AGES:
        if seconds >= length:
            whole = int(seconds // length)
            return f"{whole} {unit}{'s' if whole > 1 and unit != 'min' else ''}"
    return f"{max(0, int(seconds))} s"


def moment(time: str) -> str:
    """Return a time of the store in full.

    >>> moment("2026-01-01T07:08:09Z")
    '2026-01-01 07:08:09 UTC'
    """
    then = _parsed(time)
    return time if then is None else f"{then:%Y-%m-%d %H:%M:%S} UTC"


def later(time: str, seconds: int) -> str:
    """Return the time some seconds after a time of the store.

    >>> later("2026-01-01T07:08:09Z", 86_400), later("2026-01-01T07:08:09Z", 2**62)
    ('2026-01-02 07:08:09 UTC', 'the year 10000 and later')
    """
    then = _parsed(time)
    if then is None:
        return MISSING
    try:
        return moment((then + datetime.timedelta(seconds=seconds)).isoformat())
    except OverflowError:
        return "the year 10000 and later"


def pretty(value: Any) -> str:
    """Return a value as indented JSON, in its order."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        return "nested too deeply to show"


def shortened(text: str, length: int) -> str:
    """Return a text. A longer one is cut and ends with "…".

    >>> shortened("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def _parsed(time: str) -> datetime.datetime | None:
    try:
        then = datetime.datetime.fromisoformat(time)
    except ValueError:
        return None
    return then if then.tzinfo else then.replace(tzinfo=datetime.UTC)


def finite(value: Any) -> float | None:
    """Return the value if it is a finite number that can be drawn, else None.

    >>> finite(1), finite(True), finite("1"), finite(float("nan")), finite(10**400)
    (1, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # The difference of larger numbers may not be finite.
    return value if abs(value) < 1e300 and math.isfinite(value) else None
