"""Runs scripts in processes forked from one that has imported Keras and wandb already, which takes seconds.

Each script has a process of its own, in which nothing was done yet but to import: no thread was started, no run, no
model and no TensorFlow context was made. Everything else about it is as in `python script.py`.

    python forkserver.py <socket>

A client connects and sends a JSON object (`path`, `cwd`, `environ`) together with a file descriptor for the output;
it is told the process's number and, in the end, its exit code. The server ends when its standard input does.
"""

import json
import os
import select
import socket
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

_LONGEST = 1 << 20


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
    data, (output,), _, _ = socket.recv_fds(client, _LONGEST, 1)
    child = os.fork()
    if child == 0:
        client.close()
        return _prepared(json.loads(data), output)
    os.close(output)
    client.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _prepared(order: dict[str, Any], output: int) -> str:
    """Makes this process what `python script.py` would be, and returns the script's path."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(order["cwd"])
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

    if script := serve(sys.argv[1]):
        run(script)
