"""What holds for every command of `wandb-ckpt`."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from wandb_ckpt.cli import main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(not DOCS.exists(), reason="the pages are not beside the tests: they run outside the checkout")
def test_every_command_and_option_is_documented() -> None:
    """The pages name each command and each of its options, and each has a help text."""
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("command-line.md", "server.md"))
    for name, command in main.commands.items():
        assert f"wandb-ckpt {name}" in text
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                assert parameter.human_readable_name in command.help, f"{name} {parameter.name}"
            else:
                assert parameter.opts[0] in text, f"{name} {parameter.opts[0]}"
                assert parameter.help


def test_the_line_for_completion() -> None:
    """The variable that the page names makes the command print a script for the shell, which completes options."""
    environ = {**os.environ, "_WANDB_CKPT_COMPLETE": "zsh_source"}
    command = [sys.executable, "-m", "wandb_ckpt"]
    assert "compdef" in subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    environ |= {"_WANDB_CKPT_COMPLETE": "zsh_complete", "COMP_WORDS": "wandb-ckpt prune --keep-", "COMP_CWORD": "2"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert {"--keep-last", "--keep-best"} <= set(done.stdout.splitlines())
