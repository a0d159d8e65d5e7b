"""Which process something on this disk belongs to, and whether that process still lives."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told from every other one that had its number or will have it.

    Attributes:
        host: Its machine's name.
        pid: Its number there.
        started: When it started, as the kernel counts; empty where that can't be asked. In a container that starts
            again, the training often has the number that it had before.
    """

    host: str
    pid: int
    started: str

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine: only such can be asked whether they live."""
        return self.host == platform.node()

    def lives(self) -> bool:
        """Returns whether it is a process of this machine that still lives."""
        return self.is_here and is_alive(self.pid) and _start_of(self.pid) == self.started


def this_process() -> Owner:
    """Returns the process that asks."""
    return Owner(platform.node(), os.getpid(), _start_of(os.getpid()))


def is_alive(pid: int) -> bool:
    """Returns whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True


def _start_of(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux, or no such process
        return ""
    return status.rpartition(")")[2].split()[19]  # field 22, counted behind the name, which may have spaces
