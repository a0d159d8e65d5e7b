"""The Markdown pages of this project: their code blocks, what runs them, their prose, headings and links.

A fence names its language and may have one more word: `skip` for what can't be run in a test, in which case the block
begins with a comment that says why, or `needs_<package>` for what is run where that package can be imported.
"""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^( *)```([a-z]*)(?: (\w+))?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_EXIT_CODE = re.compile(r"# exit code (\d+)")
LANGUAGES = {"python", "console", "bash", "text", "mermaid", "diff", "json"}
RUNNABLE = {"python", "console", "bash"}


@dataclass(frozen=True)
class Block:
    """One code block: the number of the line before its first one, its language, the word behind that, its text."""

    page: str
    line: int
    language: str
    word: str
    code: str

    @property
    def why_not_run(self) -> str | None:
        """The comment that says why the block can't be run; `None` for one that can, empty where it is missing."""
        if self.word != "skip":
            return None
        first = self.code.partition("\n")[0]
        return first.removeprefix("# ") if first.startswith("# ") else ""

    @property
    def is_run(self) -> bool:
        """Whether it is run here."""
        needed = self.word.removeprefix("needs_") if self.word.startswith("needs_") else None
        return self.language in RUNNABLE and self.word != "skip" and not (needed and find_spec(needed) is None)

    @property
    def commands(self) -> Iterator[tuple[str, str]]:
        """Each command of a console block, which begins with `$ `, with the output that is shown behind it."""
        if self.language == "bash":
            yield self.code, ""
            return
        before, *commands = re.split(r"^\$ ", self.code, flags=re.MULTILINE)
        assert not before, f"{self.page}, line {self.line + 1}: expected a command that begins with '$ '"
        for command in commands:
            line, _, output = command.replace("\\\n", "").partition("\n")
            yield line, output


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        """Its code blocks."""
        return [
            Block(
                str(self.path),
                self.text.count("\n", 0, found.start()) + 1,
                found[2],
                found[3] or "",
                textwrap.dedent(found[4]),
            )
            for found in _FENCE.finditer(self.text)
        ]

    @cached_property
    def prose(self) -> str:
        """The text without its code blocks."""
        return _FENCE.sub("", self.text)

    @property
    def anchors(self) -> set[str]:
        """What links may name in it, as GitHub makes it of its headings."""
        headings = (re.sub(r"[^\w\- ]", "", found.lower()) for found in _HEADING.findall(self.prose))
        return {heading.strip().replace(" ", "-") for heading in headings}

    @property
    def links(self) -> list[str]:
        """The targets of its links within this repository."""
        targets = _LINK.findall(_CODE.sub("", self.prose))
        return [target for target in targets if not target.startswith(("https:", "http:"))]


def run_page(path: Path, names: dict[str, Any]) -> None:
    """Runs the blocks of a page in their order: Python with these names, commands in a shell.

    Raises:
        Exception: What a block raises; its traceback has the page's line numbers.
    """
    for block in Page(path).blocks:
        if block.is_run and block.language == "python":
            exec(compile("\n" * block.line + block.code, block.page, "exec"), names)
        elif block.is_run:
            for command, expected in block.commands:
                _run(block, command, expected)


def _run(block: Block, command: str, expected: str) -> None:
    place = f"{block.page}, line {block.line + 1}: $ {command}"
    done = subprocess.run(
        ["bash", "-euc", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    code = _EXIT_CODE.search(command)
    assert done.returncode == (int(code[1]) if code else 0), f"{place}\n{done.stdout}"
    assert not expected.strip() or _is_shown(expected, done.stdout), f"{place}\n{done.stdout}\nexpected:\n{expected}"


def _is_shown(expected: str, output: str) -> bool:
    """Whether an output is what a page shows: `…` stands for anything, and blanks don't count."""
    parts = [re.escape(" ".join(part.split())) for part in expected.split("…")]
    return re.fullmatch(r"\s*.*?\s*".join(parts), " ".join(output.split()), re.DOTALL) is not None
