"""`wandb-ckpt plot`: plot the monitored value over the versions of a model."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wandb_ckpt.cli._failure import Failure, errors_in_one_line
from wandb_ckpt.cli._output import number, print_line, print_note, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wandb_ckpt.browsing.listing import Version
    from wandb_ckpt.browsing.plot import Curve

_HEIGHT = 15


@click.command("plot")
@click.argument("name")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Write a PNG file instead of text.")
def command(name: str, png: Path | None) -> None:
    """Plot the monitored value over the versions of a model.

    NAME is [ENTITY/]PROJECT/NAME. A PNG file needs matplotlib: pip install 'wandb-ckpt[plot]'.
    """
    with errors_in_one_line():
        from wandb_ckpt.browsing.listing import list_versions

        versions = list_versions(name)
    curve = _curve(name, versions)
    title = safe(f"{curve.name} of {name}{_best(curve)}")
    if png is None:
        _draw(curve, title)
    else:
        with errors_in_one_line():
            from wandb_ckpt.browsing.plot import write_png

            write_png(curve, png, title)
        print_line(str(png))
    if left_out := len(versions) - len(curve.points):
        print_note(f"{left_out} of {len(versions)} versions have no value of {curve.name}.")


def _curve(name: str, versions: "Sequence[Version]") -> "Curve":
    """Return the values of the quantity that the newest version with a value monitors."""
    from wandb_ckpt.browsing.plot import Curve

    valued = [(version, version.checkpoint) for version in reversed(versions) if version.checkpoint.value is not None]
    if not valued:
        raise Failure(
            f"There is nothing to plot: no version of {name} has a monitored value in its metadata. Expected a model "
            "that wandb_ckpt has logged."
        )
    monitor = valued[-1][1].monitor
    points = [(version, facts.value) for version, facts in valued if facts.monitor == monitor]
    best = [version.number for version, _ in points if "best" in version.aliases]
    return Curve(
        safe(monitor),
        tuple((version.number, value) for version, value in points if value is not None),
        best[0] if best else None,
    )


def _draw(curve: "Curve", title: str) -> None:
    from wandb_ckpt.browsing.plot import draw

    print_line(title)
    braille = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    width = shutil.get_terminal_size().columns
    for line in draw(curve, min(width, 120), _HEIGHT, braille=braille):
        click.echo(line if braille else line.replace("┤", "|"))


def _best(curve: "Curve") -> str:
    values = [value for version, value in curve.points if version == curve.best]
    return f" (best: v{curve.best} {number(values[0])})" if values else ""
