"""What adds up: the 300th checkpoint of a run against the third, the bytes that frozen layers cost, the import.

    python benchmarks/long_run.py --checkpoints 300

The runs are published to the embedded server, in a process of their own. Needs the extras `tensorflow` and `server`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import wandb
from rich.console import Console
from rich.table import Table

import compared
import processes
from wandb_ckpt import WandbModelCheckpoint
from wandb_ckpt.server import Server

GROWTH = {
    "hook": ("training is held, ms", 1e3),
    "memory": ("private memory, MB", 1e-6),
    "files": ("open files", 1),
    "disk": ("local disk, MB", 1e-6),
    "pending": ("checkpoints pending", 1),
}
AROUND = 10
# Plain Keras for comparison: its own saves leave some memory behind each time (3.15).
WHOSE = {"wandb_ckpt": "", "background": ", save_on_background=True", "keras": ", plain Keras"}
HOMES = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")


class Looks(keras.callbacks.Callback):
    """Notes after every epoch what the checkpoints of a callback cost up to then; stands behind it in `fit`."""

    def __init__(self, callback: Any) -> None:
        super().__init__()
        self._callback = callback
        self._start = 0.0
        self.seen: list[dict[str, float]] = []
        self.first = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self._begin())  # stands before it

    def _begin(self) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, *_: Any) -> None:
        now = {"hook": time.perf_counter() - self._start}
        now["memory"], now["files"] = processes.private_memory(), processes.open_files()
        now["disk"] = sum(_size(Path(folder, name)) for folder, _, names in os.walk(".") for name in names)
        now["pending"] = [outcome.state for outcome in outcomes_of(self._callback)].count("pending")
        self.seen.append(now)


def outcomes_of(callback: Any) -> tuple[Any, ...]:
    """What became of its checkpoints; plain Keras does not say."""
    return getattr(callback, "checkpoints", ())


def _size(file: Path) -> int:
    with suppress(FileNotFoundError):  # what was published is removed meanwhile
        if file.is_file():
            return file.stat().st_size
    return 0


def train(checkpoints: int, name: str) -> list[dict[str, float]]:
    """Trains with a checkpoint per epoch, whose one step waits 0.2 s as for an accelerator."""
    model = keras.Sequential([keras.Input((128,)), *(keras.layers.Dense(128) for _ in range(8))])
    model.compile("adam", "mse")
    data = np.ones((16, 128), "float32")
    model.fit(data, data, verbose=0)
    compared.only_wait(model, 0.2)
    with wandb.init(project="long-run"):
        callback = compared.callback_of(name, ".weights.h5", "ckpt")
        looks = Looks(callback)
        callbacks = [compared.changes(model), looks.first, callback, looks]
        model.fit(data, data, epochs=checkpoints, verbose=0, callbacks=callbacks)
    expected = [] if name == "keras" else ["committed"] * checkpoints
    assert [outcome.state for outcome in outcomes_of(callback)] == expected
    return looks.seen


def train_frozen(optimizer: str) -> None:
    """Fine-tunes the last of ten equal layers, with the weights in a file for each layer."""
    model = keras.Sequential([keras.Input((512,)), *(keras.layers.Dense(512) for _ in range(10))])
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile(optimizer, "mse")
    data = np.random.default_rng(0).normal(size=(64, 512)).astype("float32")
    with wandb.init(project="frozen", id=optimizer):
        callback = WandbModelCheckpoint("ckpt.weights.h5", save_weights_only=True, shard="layer")
        model.fit(data, data, epochs=4, verbose=0, callbacks=[callback])


def in_process(environ: dict[str, str], *task: str) -> str:
    """Runs a task of this file in a fresh process and folder; returns the last line that it printed."""
    with tempfile.TemporaryDirectory(prefix="long-run-") as folder:
        environ = {**os.environ, **environ, **dict.fromkeys(HOMES, folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, "--task", *task]
        done = subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().rpartition("\n")[2]


def growth(environ: dict[str, str], checkpoints: int, name: str) -> Table:
    """Returns a table of what a checkpoint costs at the beginning, in the middle and at the end of a run."""
    seen = json.loads(in_process(environ, "train", str(checkpoints), name))
    starts = {"3rd": 2, "middle": (checkpoints - AROUND) // 2, "last": checkpoints - AROUND}
    title = f"{checkpoints} checkpoints{WHOSE[name]}: medians of {AROUND}"
    table = Table("measure", *(f"from the {name} on" for name in starts), title=title)
    for key, (words, factor) in GROWTH.items():
        medians = [statistics.median(each[key] for each in seen[first:][:AROUND]) for first in starts.values()]
        table.add_row(words, *(f"{median * factor:.3g}" for median in medians))
    return table


def frozen(environ: dict[str, str]) -> Table:
    """Returns a table of what of each version's bytes no version before it has.

    Adam has two more values for each trained weight, all of which change: 0.3 of 1.2.
    """
    shares = {optimizer: uploaded_shares(environ, optimizer) for optimizer in ("sgd", "adam")}
    table = Table("version", *shares, title="uploaded, of a version's bytes")
    for number, row in enumerate(zip(*shares.values(), strict=True)):
        table.add_row(f"v{number}", *(f"{share:.3f}" for share in row))
    return table


def uploaded_shares(environ: dict[str, str], optimizer: str) -> list[float]:
    """Returns, version by version, the part of its bytes that no version before it has."""
    in_process(environ, "frozen", optimizer)
    api = wandb.Api(overrides={"base_url": environ["WANDB_BASE_URL"]}, api_key=environ["WANDB_API_KEY"])
    versions = api.artifacts("model", f"frozen/run_{optimizer}_model")
    known: set[str] = set()
    shares = []
    for version in sorted(versions, key=lambda each: int(each.version[1:])):
        entries = {entry.digest: entry.size for entry in version.manifest.entries.values()}
        shares.append(sum(size for digest, size in entries.items() if digest not in known) / version.size)
        known |= set(entries)
    return shares


def import_time(rounds: int = 15) -> str:
    """Returns how long `import wandb_ckpt` takes in a fresh interpreter."""
    code = "import time; a = time.perf_counter(); import wandb_ckpt; print(time.perf_counter() - a)"
    times = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(rounds)]
    return f"import wandb_ckpt: {statistics.median(times) * 1e3:.1f} ms, median of {rounds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=300)
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        kind, *rest = arguments.task
        print(json.dumps(train(int(rest[0]), rest[1]) if kind == "train" else train_frozen(*rest)))
        return
    console = Console(width=110)
    with Server() as server:
        environ = {**server.environ, "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
        for name in WHOSE:
            console.print(growth(environ, arguments.checkpoints, name))
        console.print(frozen(environ))
    console.print(import_time())
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
