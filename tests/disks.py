"""Disks that are small, read-only, or can't link or rename, for one process: in its own name space, or by a filter.

Nothing outside of that process, and of those that it starts, sees any of it.
"""

import ctypes
import errno
import os
import platform
import struct
from pathlib import Path

_NEWNS, _NEWUSER = 0x20000, 0x10000000  # <linux/sched.h>
_RDONLY, _BIND, _REC, _PRIVATE = 1, 1 << 12, 1 << 14, 1 << 18  # <linux/mount.h>
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # <linux/prctl.h>, <linux/seccomp.h>
_CAPABILITIES, _DAC = 0x20080522, 0b110  # <linux/capability.h>: version 3; to override permissions of files
# The numbers of link(2) and linkat(2); of symlink(2) and symlinkat(2); of rename(2), renameat(2) and renameat2(2).
LINKS = {"x86_64": (86, 265), "aarch64": (37,)}[platform.machine()]
SYMLINKS = {"x86_64": (88, 266), "aarch64": (36,)}[platform.machine()]
RENAMES = {"x86_64": (82, 264, 316), "aarch64": (38, 276)}[platform.machine()]

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


def bind(source: str | Path, target: str | Path) -> None:
    """Puts a file where another one is, as `docker run -v` does."""
    if _libc.mount(os.fsencode(source), os.fsencode(target), None, _BIND, None) != 0:
        raise OSError(ctypes.get_errno(), f"nothing can be mounted at {target}")


def fill(folder: str | Path) -> None:
    """Fills a disk to its last byte."""
    descriptor = os.open(Path(folder) / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except OSError:
        os.close(descriptor)


def obey_permissions() -> None:
    """Lets this thread, and those that it starts, obey the permissions of files even if the user is root."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    data = (ctypes.c_uint32 * 6)()
    _libc.capget(header, data)
    data[0] &= ~_DAC
    if _libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "no capability can be given up")


def refuse(numbers: tuple[int, ...], error: int = errno.EPERM) -> None:
    """Lets the kernel refuse system calls to this thread, and those that it starts, from now on."""
    # A seccomp filter: load the number of the system call; if it is one of these, answer the error; else allow it.
    code = [(0x20, 0, 0, 0)]
    code += [(0x15, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | error)]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
    program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(instructions))
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")
