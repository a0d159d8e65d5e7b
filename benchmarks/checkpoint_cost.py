"""What a checkpoint costs training: plain Keras, this callback and its peers in the same run, in one table.

    python benchmarks/checkpoint_cost.py --parameters 1 30 --backends tensorflow jax --fits wait busy

**Hooks**: how long `on_epoch_end` holds the training thread. In each round one real `fit` has all callbacks, and they
take turns, in another order each epoch; before each of them the work that the others left in the background is waited
for, and memory is used and freed. So all save the same variables within seconds of each other, on a machine in the
same state.

**Fits** (`--fits`): how long a whole `fit` and the end of its run take, in a process for each callback, in turns.
`wait`: the steps only wait, as the training thread does for an accelerator; `busy`: training keeps all cores busy.

All are ratios to the plain `ModelCheckpoint` of the same round, medians over the epochs or the rounds. A second plain
column (A/A) shows the noise of the machine; hooks are compared with both. Needs the extras `tensorflow` and `server`;
peers (`mlflow`, `orbax-checkpoint`) are measured, on TensorFlow, where they are installed.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import compared
import processes

HOOKS = ("hook, wall", "hook, thread CPU")
FITS = {
    "fit": "fit and finish, wall",
    "overhead": "overhead of that",
    "cpu": "process CPU",
    "written": "bytes written",
}


class Shape(NamedTuple):
    """What is saved: millions of parameters (with Adam's two moments), in so many layers, in this format."""

    backend: str
    millions: int
    layers: int
    suffix: str

    @property
    def bytes(self) -> int:
        return 12_000_000 * self.millions

    def __str__(self) -> str:
        return f"{self.backend}, {self.millions} M in {self.layers} layers, {self.suffix}"


# ---- in the process that trains ------------------------------------------------------------------------------


def model_and_data(shape: Shape, steps: int) -> tuple[Any, Any]:
    """Makes and compiles a model, and data for so many steps of an epoch."""
    import keras
    import numpy as np

    width = max(8, int((shape.millions * 1e6 / shape.layers) ** 0.5))
    model = keras.Sequential([keras.Input((width,)), *(keras.layers.Dense(width) for _ in range(shape.layers))])
    model.compile("adam", "mse")
    data = np.ones((16 * steps, width), "float32")
    model.fit(data, data, batch_size=16, verbose=0)  # compiled, and the optimizer built, before the clock starts
    return model, data


def measure_hooks(names: list[str], shape: Shape, arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns, for each callback, the seconds of wall and of thread CPU time that each of its saves took."""
    import wandb

    model, data = model_and_data(shape, 1)
    wandb.init(project="benchmark")
    callbacks = {name: compared.callback_of(name, shape.suffix, arguments.name) for name in names}
    turns = compared.InTurns(callbacks, shape.bytes)
    model.fit(data, data, batch_size=16, epochs=arguments.epochs, verbose=0, callbacks=[turns])
    return turns.seconds


def measure_fit(name: str, load: str, shape: Shape, arguments: argparse.Namespace) -> dict[str, float]:
    """Trains once with one callback and returns what the whole took."""
    import wandb

    model, data = model_and_data(shape, arguments.steps)
    if load == "wait":
        compared.only_wait(model, arguments.rest)
    run = wandb.init(project="benchmark")
    callback = compared.callback_of(name, shape.suffix, arguments.name)
    processes.warm_memory(4 * shape.bytes)
    before, wall, cpu = processes.written(), time.perf_counter(), time.process_time()
    callbacks = [compared.changes(model), callback]
    model.fit(data, data, batch_size=16, epochs=arguments.epochs, verbose=0, callbacks=callbacks)
    run.log({"done": 1})
    written = processes.written() - before
    run.finish()  # where some wait for what others have waited for in fit
    fit, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"fit": fit, "cpu": cpu, "written": written / shape.bytes / arguments.epochs}


# ---- in the process that compares ----------------------------------------------------------------------------


def in_process(task: list[str], shape: Shape, arguments: argparse.Namespace, environ: dict[str, str]) -> Any:
    """Measures in a fresh process and a fresh folder; adds the peak of its memory."""
    folder = tempfile.mkdtemp(prefix="checkpoint-cost-")
    command = [sys.executable, __file__, "--task", *task, "--shape", *map(str, shape)]
    command += ["--epochs", str(arguments.epochs), "--rest", str(arguments.rest), "--steps", str(arguments.steps)]
    homes = {f"WANDB_{each}": folder for each in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
    environ = {**os.environ, **environ, **homes, "KERAS_BACKEND": shape.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        with subprocess.Popen(
            [*command, "--name", arguments.name], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
        ) as process:
            peak = processes.Peak(process.pid)
            threading.Thread(target=peak.watch, daemon=True).start()
            output, _ = process.communicate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if process.returncode:
        raise SystemExit(f"{' '.join(task)} of {shape} ended with exit code {process.returncode}")
    return json.loads(output.strip().splitlines()[-1]), peak.bytes / shape.bytes


def compare_hooks(names: list[str], shape: Shape, arguments: argparse.Namespace, environ: Any) -> list[list[str]]:
    """Returns the rows of one shape: the ratio of each callback's median to that of both plain columns."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        found, _ = in_process(["hooks", *names], shape, arguments, environ)
        print(f"{shape}, hooks: {json.dumps(found)}", file=sys.stderr, flush=True)
        for name in names:  # the first save also builds what Keras caches, and what a background save prepares
            seconds[name] += found[name][1:]
    rows = []
    plain = [*seconds["keras"], *seconds.get("keras again", [])]
    for index, words in enumerate(HOOKS):
        base = statistics.median(each[index] for each in plain)
        medians = {name: statistics.median(each[index] for each in seconds[name]) for name in names}
        rows.append([str(shape), words, *(f"{medians[name] / base:.3f}" for name in names)])
    return rows


def compare_fits(
    names: list[str], load: str, shape: Shape, arguments: argparse.Namespace, environ: Any
) -> list[list[str]]:
    """Returns the rows of one shape and load: medians over the rounds of the ratios to plain Keras in that round."""
    ratios: dict[str, dict[str, list[float]]] = {name: {key: [] for key in (*FITS, "memory")} for name in names}
    for number in range(arguments.rounds):
        results = {}
        for name in ("none", *names) if number % 2 == 0 else (*reversed(names), "none"):
            results[name], results[name]["memory"] = in_process(["fit", name, load], shape, arguments, environ)
        print(f"{shape}, fits, {load}: {json.dumps(results)}", file=sys.stderr, flush=True)
        for name in names:
            results[name]["overhead"] = results[name]["fit"] - results["none"]["fit"]
        for name in names:
            for key in FITS:
                ratios[name][key].append(results[name][key] / results["keras"][key])
            ratios[name]["memory"].append(results[name]["memory"] - results["none"]["memory"])
    label = f"{shape}, steps {'wait' if load == 'wait' else 'keep the cores busy'}"
    words = {**FITS, "memory": "peak memory*"}
    return [[label, words[key], *(f"{statistics.median(ratios[name][key]):.3f}" for name in names)] for key in words]


def compare(arguments: argparse.Namespace, environ: dict[str, str]) -> None:
    """Measures all that is asked for and prints it."""
    title = "plain Keras = 1"
    every = arguments.only or compared.columns()
    table = Table("what is saved", "measure", *every, title=title)
    shapes = [
        Shape(backend, millions, layers, suffix)
        for backend in arguments.backends
        for millions in arguments.parameters
        for layers in arguments.layers
        for suffix in arguments.formats
    ]
    for shape in shapes:
        names = [name for name in every if shape.backend == "tensorflow" or name not in compared.PEERS]
        rows = [] if arguments.no_hooks else compare_hooks(names, shape, arguments, environ)
        for load in arguments.fits:
            rows += compare_fits(names, load, shape, arguments, environ)
        for row in rows:
            table.add_row(*row)
    Console(width=max(150, 60 + 12 * len(every))).print(table)
    print("* private memory above no callback, in copies of the weights and the optimizer's state")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, nargs="+", default=[30], help="millions of parameters")
    parser.add_argument("--layers", type=int, nargs="+", default=[8])
    parser.add_argument("--formats", nargs="+", default=[".keras", ".weights.h5"], help=".keras, .h5, .weights.h5")
    parser.add_argument("--backends", nargs="+", default=["tensorflow"])
    parser.add_argument("--fits", nargs="+", default=[], choices=["wait", "busy"])
    parser.add_argument("--no-hooks", action="store_true", help="whole fits only")
    parser.add_argument("--name", default="ckpt", help="file name; ckpt-{epoch} for a file for each checkpoint")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch, in whole fits")
    parser.add_argument("--rest", type=float, default=0.4, help="seconds that a step waits, in whole fits")
    parser.add_argument("--online", action="store_true", help="with the embedded server, which shares the cores")
    parser.add_argument("--only", nargs="+", help="columns to measure; must have keras")
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--shape", nargs=4, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    arguments = options().parse_args()
    if arguments.task:
        backend, millions, layers, suffix = arguments.shape
        shape = Shape(backend, int(millions), int(layers), suffix)
        kind, *rest = arguments.task
        found = measure_hooks(rest, shape, arguments) if kind == "hooks" else measure_fit(*rest, shape, arguments)
        print(json.dumps(found), flush=True)
        return
    environ = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
    if not arguments.online:
        compare(arguments, {**environ, "WANDB_MODE": "offline"})
        return
    from wandb_ckpt.server import Server

    with Server() as server:
        compare(arguments, {**environ, **server.environ})


if __name__ == "__main__":
    main()
