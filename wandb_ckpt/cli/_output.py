"""Print the output of commands: tables on a terminal, tab-separated lines when piped, never control characters."""

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

# Unicode categories: control, format (for example right-to-left marks), surrogate; line and paragraph separators.
_CONTROL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: The heading.
        right: Whether to align it to the right, as for numbers.
        fold: Whether to wrap its text on a narrow terminal.
    """

    title: str
    right: bool = False
    fold: bool = False


def is_terminal() -> bool:
    """Return whether the output goes to a terminal."""
    return sys.stdout.isatty()


def print_line(line: str = "") -> None:
    """Print one line."""
    click.echo(safe(line))


def print_note(line: str) -> None:
    """Print one line on stderr, for a message that is not part of the result."""
    click.echo(safe(line), err=True)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. When piped, print the headings and each row as a line with tabs between the cells."""
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


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print pairs of a name and a text, one in each line. Empty texts are left out."""
    facts = [(name, text) for name, text in facts if text]
    if is_terminal():
        width = max((len(safe(name)) for name, _ in facts), default=0)
        for name, text in facts:
            click.echo(click.style(f"{safe(name):{width}}", dim=True) + f"  {safe(text)}")
    else:
        for name, text in facts:
            click.echo(f"{safe(name)}\t{safe(text)}")


def print_json(value: Any) -> None:
    """Print a value as JSON, in ASCII."""
    click.echo(json.dumps(value, indent=2))


def safe(text: str) -> str:
    """Return text with control characters replaced by visible escapes.

    >>> safe("a\\x1b[31mb\\tc\\u202e")
    'a\\\\x1b[31mb\\\\tc\\\\u202e'
    """
    return "".join(
        repr(character)[1:-1] if unicodedata.category(character) in _CONTROL else character for character in text
    )


def number(value: float | None) -> str:
    """Return a value as text with up to six significant digits.

    >>> number(0.123456789), number(None), number(3.0)
    ('0.123457', '', '3')
    """
    return "" if value is None else f"{value:.6g}"


def size(amount: int) -> str:
    """Return a number of bytes as text.

    >>> size(0), size(21257), size(3_200_000_000)
    ('0 bytes', '21.3 kB', '3.2 GB')
    """
    return decimal(amount)


def age(time: str, now: datetime | None = None) -> str:
    """Return how long ago an ISO 8601 time was.

    >>> age("2026-01-01T00:00:00Z", datetime(2026, 1, 1, 2, 30, tzinfo=UTC))
    '2 hours'
    """
    import humanize

    try:
        then = datetime.fromisoformat(time)
    except ValueError:
        return time
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return humanize.naturaldelta((now or datetime.now(UTC)) - then)


def one_line(value: Any) -> str:
    """Return a metadata value in one line: a string as it is, `None` as an empty string, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
