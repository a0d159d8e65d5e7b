"""What Linux says about a process and its children (wandb-core is one)."""

import mmap
import os
import time
from contextlib import suppress
from pathlib import Path


def written() -> int:
    """Returns the bytes that this process and its children handed to storage so far."""
    return sum(_written(pid) for pid in _family())


def private_memory() -> int:
    """Returns the private memory of this process and its children, in bytes; pages of files are not their own."""
    return sum(_private(pid) for pid in _family())


def open_files() -> int:
    """Returns how many files, sockets and the like this process and its children have open."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in _family())


def wait_for_rest(seconds: float = 0.3, timeout: float = 120) -> None:
    """Waits until this process and its children have hardly used a processor for so long."""
    until = time.monotonic() + timeout
    used = _cpu()
    while time.monotonic() < until:
        time.sleep(seconds)
        before, used = used, _cpu()
        if used - before <= 0.1 * seconds:
            return
    raise TimeoutError(f"not at rest after {timeout} s: something works for ever in the background")


def warm_memory(size: int) -> None:
    """Uses so many bytes of memory for a moment.

    A virtual machine that gives its free memory back to its host gets it again page by page, at ten times the time of
    the save that happens to come first; elsewhere this changes nothing.
    """
    with mmap.mmap(-1, size) as memory:
        for start in range(0, size, mmap.PAGESIZE):
            memory[start] = 1


class Peak:
    """The most private memory that a process had, in bytes; pages of files are not its own."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid = pid

    def watch(self) -> None:
        """Looks on until the process ends."""
        while found := _private(self._pid):
            self.bytes = max(self.bytes, found)
            time.sleep(0.02)


def _private(pid: int) -> int:
    return _number(_text(Path(f"/proc/{pid}/status")), "RssAnon:") * 1024


def _family() -> list[int]:
    return [os.getpid(), *_children(os.getpid())]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for task in tasks for child in _text(task).split()]
    return found + [each for child in found for each in _children(child)]


def _written(pid: int) -> int:
    return _number(_text(Path(f"/proc/{pid}/io")), "write_bytes:")


def _cpu() -> float:
    return sum(_seconds(pid) for pid in _family())


def _seconds(pid: int) -> float:
    """Returns the processor time of a process, of user and system (fields 14 and 15 of proc(5)'s stat)."""
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0


def _number(text: str, word: str) -> int:
    """Returns the number after a word at the beginning of a line, or 0."""
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(word)), 0)


def _text(path: Path) -> str:
    """Returns what is in a file of a process or thread, or nothing if that has ended."""
    with suppress(OSError):
        return path.read_text()
    return ""
