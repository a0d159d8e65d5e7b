"""Runs scripts in processes forked from one that has imported Keras and wandb already, which takes seconds.

Each script has a process of its own, in which nothing was done yet but to import: no thread was started, no run, no
model and no TensorFlow context was made. Everything else about it is as in `python script.py`.

    python forkserver.py <socket>

A client connects and sends a JSON object (`path`, `cwd`, `environ`, and `anew` for a script that must import all
by itself) together with file descriptors for the input and the output; it is told the process's number and, in the
end, its exit code. When it hangs up, what the script has started and left behind, such as wandb-core, is killed. The
server ends when its standard input does.
"""

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

_LONGEST = 1 << 20
_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def serve(address: str) -> str | None:
    """Forks for each client that comes; returns, in the process that is to run it, the path of a script."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)  # noqa: T201 - the answer
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return None
            client, _ = listener.accept()
            with client:
                if os.fork() == 0:
                    listener.close()
                    return _watch(client)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _watch(client: socket.socket) -> str:
    """Forks once more: this process tells the client how that one ends, and is no part of what is tested."""
    data, (into, output), _, _ = socket.recv_fds(client, _LONGEST, 2)
    _adopt_orphans()
    child = os.fork()
    if child == 0:
        client.close()
        return _prepared(json.loads(data), into, output)
    os.close(into)
    os.close(output)
    client.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    client.recv(1)  # nothing comes but the end
    _kill_children()
    os._exit(0)


def _adopt_orphans() -> None:
    # wandb-core is in a session of its own, so that no process group tells whose it is.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_children() -> None:
    """Kills the children of this process, and theirs, which are its own as soon as their parents are gone."""
    while children := [pid for pid, parent in _processes() if parent == os.getpid()]:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _processes() -> Iterator[tuple[int, int]]:
    """The processes of this machine, each with its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it is gone
            yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])


def _prepared(order: dict[str, Any], into: int, output: int) -> str:
    """Makes this process what `python script.py` would be, and returns the script's path."""
    for descriptor, number in ((into, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.close(into)
    os.close(output)
    os.chdir(order["cwd"])
    if order["anew"]:
        os.execve(sys.executable, [sys.executable, order["path"]], order["environ"])
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.argv = [order["path"]]
    sys.path[0] = os.path.dirname(order["path"])
    return str(order["path"])


def run(path: str) -> None:
    """Runs a script as the main module."""
    main = ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    exec(code, vars(main))


if __name__ == "__main__":
    import wandb  # noqa: F401

    import wandb_ckpt.keras  # noqa: F401

    # Python looks through all objects when it ends, which copies the memory of all that was imported: for a short
    # script that took five times as long as the rest.
    gc.collect()
    gc.freeze()
    if script := serve(sys.argv[1]):
        run(script)
