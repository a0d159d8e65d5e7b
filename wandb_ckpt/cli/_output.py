"""What the commands print: rich on a terminal, plain lines when piped, and never what could steer a terminal."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

if TYPE_CHECKING:
    from rich.console import JustifyMethod

# Control, format (such as those that turn the direction of text), surrogate; line and paragraph separators.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: Its heading.
        right: Whether it is aligned to the right, as numbers are.
        fold: Whether it may take several lines where there is little room.
    """

    title: str
    right: bool = False
    fold: bool = False


def is_terminal() -> bool:
    """Returns whether a person reads what is printed."""
    return sys.stdout.isatty()


def say(line: str = "") -> None:
    """Prints one line."""
    click.echo(safe(line))


def say_aside(line: str) -> None:
    """Prints one line on stderr: what is going on, beside the result."""
    click.echo(safe(line), err=True)


def say_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table; when piped, a line of headings and one a row, with tabs between the cells."""
    shown = [[safe(cell) for cell in row] for row in rows]
    if not is_terminal():
        for line in ([column.title for column in columns], *shown):
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        align: JustifyMethod = "right" if column.right else "left"
        table.add_column(Text(column.title), justify=align, overflow="fold", no_wrap=not column.fold)
    for row in shown:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def say_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints names and what they are, one a line; what has nothing to say is left out."""
    facts = [(name, text) for name, text in facts if text]
    if is_terminal():
        width = max((len(safe(name)) for name, _ in facts), default=0)
        for name, text in facts:
            click.echo(click.style(f"{safe(name):{width}}", dim=True) + f"  {safe(text)}")
    else:
        for name, text in facts:
            click.echo(f"{safe(name)}\t{safe(text)}")


def say_json(value: Any) -> None:
    """Prints JSON, in ASCII."""
    click.echo(json.dumps(value, indent=2))


def safe(text: str) -> str:
    """Returns text with everything that a terminal would obey, not show, made visible.

    >>> safe("a\\x1b[31mb\\tc\\u202e")
    'a\\\\x1b[31mb\\\\tc\\\\u202e'
    """
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in _STEERING else character for character in text
    )


def number(value: float | None) -> str:
    """Returns a value as short as can be read.

    >>> number(0.123456789), number(None), number(3.0)
    ('0.123457', '', '3')
    """
    return "" if value is None else f"{value:.6g}"


def size(amount: int) -> str:
    """Return a number of bytes as a person reads it.

    >>> size(0), size(21257), size(3_200_000_000)
    ('0 bytes', '21.3 kB', '3.2 GB')
    """
    return decimal(amount)


def age(moment: str, now: datetime | None = None) -> str:
    """Return how long ago an ISO 8601 moment was.

    >>> age("2026-01-01T00:00:00Z", datetime(2026, 1, 1, 2, 30, tzinfo=UTC))
    '2 hours'
    """
    import humanize

    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return humanize.naturaldelta((now or datetime.now(UTC)) - then)


def flat(value: Any) -> str:
    """Returns a metadata value on one line: strings as they are, nothing for `None`, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
