"""`wandb-ckpt plot`: the monitored value over the versions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminal import Trained
from wandb_ckpt.browsing.plot import Curve, draw

VALUES = st.floats(allow_nan=False, allow_infinity=False)
POINTS = st.lists(st.tuples(st.integers(0, 500), VALUES), min_size=1, max_size=30, unique_by=lambda point: point[0])


def test_the_curve_of_a_model(command: Any, trained: Trained) -> None:
    """The highest value is at the top, the lowest at the bottom, the versions below, the best in the title."""
    result = command("plot", trained.path)
    assert result.exit_code == 0
    title, *lines = result.output.splitlines()
    assert title == f"val_loss of {trained.path} (best: v1 0.5)"
    assert lines[0].startswith("  1 ┤⠑")
    assert lines[-2].startswith("0.5 ┤")
    assert lines[-1].split() == ["v0", "v2"]


def test_a_png(command: Any, trained: Trained, tmp_path: Path) -> None:
    """A PNG file is written, and its path printed."""
    pytest.importorskip("matplotlib")
    result = command("plot", trained.path, "--png", str(tmp_path / "curve.png"))
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'curve.png'}\n")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert command("plot", trained.path, "--png", str(tmp_path / "no" / "curve.png")).exit_code == 1


def test_without_matplotlib_the_command_to_type_is_told(
    command: Any, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing matplotlib is one line with the pip command."""
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    result = command("plot", trained.path, "--png", str(tmp_path / "curve.png"))
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "pip install 'wandb-ckpt[plot]'" in result.output


def test_nothing_to_plot_is_one_line(command: Any, start_run: Callable[..., Any]) -> None:
    """A model without monitored values, or one that is not there, is an error."""
    import wandb

    with start_run() as run:
        artifact = wandb.Artifact("plain", type="model")
        with artifact.new_file("w.txt") as file:
            file.write("w")
        run.log_artifact(artifact).wait()
    for name in (f"{run.project}/plain", f"{run.project}/none"):
        result = command("plot", name)
        assert (result.exit_code, result.output.count("\n")) == (1, 1)


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_it_takes_the_width(on_terminal: Any, trained: Trained, columns: int) -> None:
    """The curve is as wide as the terminal, and no wider."""
    lines = on_terminal("plot", trained.path, columns=columns).output.splitlines()
    assert max(map(len, lines)) == columns


def test_without_unicode_it_is_drawn_in_ascii(on_terminal: Any, trained: Trained) -> None:
    """Where the terminal has no unicode, asterisks do."""
    shown = on_terminal("plot", trained.path, PYTHONIOENCODING="ascii")
    assert shown.exit_code == 0
    assert shown.output.isascii()
    assert "***" in shown.output


@given(POINTS, st.integers(1, 200), st.integers(2, 30), st.booleans())
def test_any_values_can_be_drawn(points: list[tuple[int, float]], width: int, height: int, braille: bool) -> None:
    """However few, far apart or equal the values are, the lines fit, and the first and last column are not empty."""
    lines = draw(Curve("x", tuple(sorted(points))), width, height, braille=braille)
    assert len(lines) == height + 1
    margin = lines[0].index("┤") + 1
    assert max(map(len, lines)) <= max(width, margin + 8)
    assert any(len(line) > margin and line[margin] != " " for line in lines[:-1])


@given(st.lists(VALUES, min_size=2, max_size=20))
def test_the_extremes_are_at_the_edges(values: list[float]) -> None:
    """The highest value touches the first line, the lowest the last one, unless all are equal."""
    lines = draw(Curve("x", tuple(enumerate(values))), 80, 10)
    drawn = [bool(line.partition("┤")[2].strip()) for line in lines[:-1]]
    if max(values) / 2 - min(values) / 2 > 0:
        assert drawn[0]
        assert drawn[-1]
    else:
        assert sum(drawn) == 1
