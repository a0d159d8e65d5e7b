"""Disks that are small, read-only or without hard links, for one process: in a name space of its own, or by a filter.

Nothing outside of that process, and of those that it starts, sees any of it.
"""

import ctypes
import os
import platform
import struct
from pathlib import Path

_NEWNS, _NEWUSER = 0x20000, 0x10000000  # <linux/sched.h>
_RDONLY, _REC, _PRIVATE = 1, 1 << 14, 1 << 18  # <linux/mount.h>
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # <linux/prctl.h>, <linux/seccomp.h>
_LINKS = {"x86_64": (86, 265), "aarch64": (37,)}  # the numbers of link(2) and linkat(2)

PRELUDE = f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\nimport disks\n"
_libc = ctypes.CDLL(None, use_errno=True)


def can_mount() -> bool:
    """Gives this process, which has one thread yet, mounts of its own; returns whether that is permitted here."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_NEWNS | (_NEWUSER if uid else 0)) != 0:
        return False
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return bool(_libc.mount(b"none", b"/", None, _REC | _PRIVATE, None) == 0)


def mount(folder: str | Path, size: str, *, read_only: bool = False) -> None:
    """Puts an empty disk of that size where a folder is."""
    os.makedirs(folder, exist_ok=True)
    flags = _RDONLY if read_only else 0
    if _libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode()) != 0:
        raise OSError(ctypes.get_errno(), f"nothing can be mounted at {folder}")


def fill(folder: str | Path) -> None:
    """Fills a disk to its last byte."""
    descriptor = os.open(Path(folder) / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError:
        os.close(descriptor)


def refuse_hard_links() -> None:
    """Lets the kernel refuse hard links to this process from now on, as FAT and some network file systems do."""
    # A seccomp filter: load the number of the system call; if it is one of these, answer EPERM; else allow it.
    numbers = _LINKS[platform.machine()]
    code = [(0x20, 0, 0, 0)]
    code += [(0x15, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | 1)]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
    program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(instructions))
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")
