"""A server in a process of its own, for tests of what happens when it goes away."""

import json
import os
import subprocess
import sys
from pathlib import Path

from training import contents

SERVE = """
import sys, time
from wandb_ckpt.server import Server
server = Server(sys.argv[1], port=int(sys.argv[2])).start()
print(server.url, server.api_key, flush=True)
time.sleep(600)
"""


class OwnServer:
    """A server in a process of its own, that can be stopped, killed and started again at the same address."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.port = data_dir, "0"
        self.start()

    def start(self) -> None:
        """Starts it, at the address that it had before."""
        command = [sys.executable, "-c", SERVE, str(self.data_dir), self.port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url, self.key = self.process.stdout.readline().split()
        self.port = self.url.rsplit(":", 1)[1]

    def kill(self) -> None:
        """Kills it at once."""
        self.process.kill()
        self.process.wait()
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
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=server.client_environ, check=True, capture_output=True, text=True)
    return [(aliases, value) for aliases, value in json.loads(done.stdout)]


def publish(server: OwnServer, *arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `wandb-ckpt publish`."""
    command = [sys.executable, "-m", "wandb_ckpt", "publish", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=server.client_environ, capture_output=True, text=True)


def wandb_sync(server: OwnServer, folder: Path) -> None:
    """Runs `wandb sync`."""
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, env=server.client_environ, check=True, capture_output=True)


def digests_on(server: OwnServer, root: Path) -> list[str]:
    """The digests of the files that the server has of each version, oldest first."""
    code = (
        "import wandb\n"
        "for artifact in reversed(list(wandb.Api().artifacts('model', 'local/p1/run_r1_model'))):\n"
        f"    artifact.download(root={str(root)!r} + '/' + artifact.version, skip_cache=True)\n"
    )
    subprocess.run([sys.executable, "-c", code], env=server.client_environ, check=True, capture_output=True)
    return [contents(folder)["m.keras"] for folder in sorted(root.iterdir())]
