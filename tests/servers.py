"""A server in a process of its own, for tests of what happens when it goes away."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts import Script, ran
from training import contents

SERVE = """
import sys
from wandb_ckpt.server import Server
server = Server(sys.argv[1], port=int(sys.argv[2])).start()
print(server.url, server.api_key, flush=True)
sys.stdin.read()  # to the end of the process that wants it
"""


class OwnServer:
    """A server in a process of its own, that can be stopped, killed and started again at the same address."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir, self.port = data_dir, port
        self.start()

    def start(self) -> None:
        """Starts it."""
        command = [sys.executable, "-c", SERVE, str(self.data_dir), str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url, self.key = self.process.stdout.readline().split()

    def kill(self) -> None:
        """Kills it at once."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    @property
    def environ(self) -> dict[str, str]:
        """What points wandb at it."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.key, "SERVER_PID": str(self.process.pid)}

    @property
    def client_environ(self) -> dict[str, str]:
        """The environment of a process that has a wandb service of its own, pointed at it."""
        return {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} | self.environ


def names_of_versions(server: OwnServer, project: str) -> str:
    """The aliases of each version, as a client of its own sees them."""
    return str([sorted(set(aliases) - {"best"}) for aliases, _ in seen_on(server, project)])


def seen_on(server: OwnServer, project: str, run_id: str = "r1") -> list[tuple[list[str], float]]:
    """The aliases and the value of each version of a run, oldest first, as a client of its own sees them."""
    code = (
        "import json, wandb\n"
        f"path = 'local/{project}/run_{run_id}_model'\n"
        "exists = wandb.Api().artifact_collection_exists(path, 'model')\n"
        "found = list(wandb.Api().artifacts('model', path)) if exists else []\n"
        "print(json.dumps([[sorted(set(a.aliases) - {a.version}), a.metadata['value']] for a in reversed(found)]))"
    )
    return [(aliases, value) for aliases, value in json.loads(asked(server, code))]


def asked(server: OwnServer, code: str) -> str:
    """The last line that a client of its own prints."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "client.py")
        path.write_text(code)
        with Script(path, path.parent, server.client_environ) as client:
            output, _ = client.communicate()
    assert client.wait() == 0, output
    return output.splitlines()[-1] if output else ""


def publish(server: OwnServer, *arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `wandb-ckpt publish`."""
    command = [sys.executable, "-m", "wandb_ckpt", "publish", *map(str, arguments)]
    return ran(command, cwd=cwd, env=server.client_environ)


def wandb_sync(server: OwnServer, folder: Path, options: Sequence[str] = ()) -> None:
    """Runs `wandb sync`."""
    done = ran([sys.executable, "-m", "wandb", "sync", *options, str(folder)], env=server.client_environ)
    assert done.returncode == 0, done


def digests_on(server: OwnServer, root: Path) -> list[str]:
    """The digests of the files that the server has of each version, oldest first."""
    code = (
        "import wandb\n"
        "for artifact in reversed(list(wandb.Api().artifacts('model', 'local/p1/run_r1_model'))):\n"
        f"    artifact.download(root={str(root)!r} + '/' + artifact.version, skip_cache=True)\n"
    )
    asked(server, code)
    return [contents(folder)["m.keras"] for folder in sorted(root.iterdir())]
