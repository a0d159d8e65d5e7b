"""What a checkpoint costs training: plain Keras, this callback and its peers, in processes of their own, interleaved.

    python benchmarks/checkpoint_cost.py --parameters 1 30 --rounds 7

Prints one table: medians over the rounds, as ratios to the plain `ModelCheckpoint` of the same round. A second plain
column (A/A) shows the noise of the machine. In each step the training thread rests as it does while an accelerator
works (`--rest`); `--rest 0` is training that keeps all cores busy. The overhead is what a callback adds to `fit` and
`run.finish()` together. Needs the extras `tensorflow` and `server`; peers (`mlflow`, `orbax-checkpoint`) are measured
where they are installed.
"""

import argparse
import importlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OURS = ("keras", "keras again", "wandb_ckpt", "background", "wandb")
PEERS = {"mlflow": "mlflow.tensorflow", "orbax": "orbax.checkpoint", "backup": "keras"}
MEASURES = ("hook", "hook_cpu", "fit", "overhead", "cpu", "written")
WORDS = {
    "hook": "hook, wall",
    "hook_cpu": "hook, thread CPU",
    "fit": "fit and finish, wall",
    "overhead": "overhead of that",
    "cpu": "process CPU",
    "written": "bytes written",
    "above": "peak memory*",
}


def columns() -> tuple[str, ...]:
    """Returns what is measured: no callback at all, ours, and the peers that are installed."""
    found = []
    for name, module in PEERS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            print(f"{name} is left out: {module} is not installed", file=sys.stderr)
        else:
            found.append(name)
    return (*OURS, *found)


def callback_of(name: str, path: str, weights_only: bool) -> Any:
    """Makes the callback that a process measures."""
    import keras

    if name == "none":
        return keras.callbacks.Callback()
    if name.startswith("keras"):
        return keras.callbacks.ModelCheckpoint(path, save_weights_only=weights_only)
    if name in PEERS:
        return peer_of(name, weights_only)
    if name == "wandb":
        from wandb.integration.keras import WandbModelCheckpoint as Theirs

        return Theirs(path, save_weights_only=weights_only)
    from wandb_ckpt import WandbModelCheckpoint

    return WandbModelCheckpoint(path, save_weights_only=weights_only, save_on_background=name == "background")


def peer_of(name: str, weights_only: bool) -> Any:
    """Makes the callback of another library, or another one of Keras, that does about the same."""
    import keras

    if name == "backup":
        return keras.callbacks.BackupAndRestore("backup", delete_checkpoint=False)
    if name == "orbax":
        return keras.callbacks.OrbaxCheckpoint(
            str(Path("orbax").absolute()), save_freq="epoch", save_on_background=True
        )
    import mlflow
    from mlflow.tensorflow import MlflowModelCheckpointCallback

    mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').absolute()}")
    mlflow.start_run()
    return MlflowModelCheckpointCallback(save_freq="epoch", save_best_only=False, save_weights_only=weights_only)


def timed(callback: Any, saves: list[tuple[float, float]]) -> None:
    """Notes wall time and thread CPU time of every `on_epoch_end` of a callback."""
    hook = callback.on_epoch_end

    def on_epoch_end(epoch: int, logs: Any = None) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        hook(epoch, logs)
        saves.append((time.perf_counter() - wall, time.thread_time() - cpu))

    callback.on_epoch_end = on_epoch_end


def rest_of(seconds: float) -> Any:
    """A callback that waits in each step, as the training thread does for an accelerator."""
    import keras

    return keras.callbacks.LambdaCallback(on_train_batch_begin=lambda *_, **__: time.sleep(seconds))


def written_by_children() -> int:
    """Bytes that this process and its children handed to storage so far."""
    return sum(_written(pid) for pid in (os.getpid(), *_children(os.getpid())))


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in text] + [each for child in text for each in _children(int(child))]


def _written(pid: int) -> int:
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["write_bytes"])


def measure(name: str, millions: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Trains once in this process and returns what one checkpoint cost."""
    import keras
    import numpy as np
    import wandb

    suffix, epochs, layers = arguments.suffix, arguments.epochs, arguments.layers
    width = max(8, int((millions * 1e6 / layers) ** 0.5))
    model = keras.Sequential([keras.Input((width,)), *(keras.layers.Dense(width) for _ in range(layers))])
    model.compile("adam", "mse")
    data = np.ones((16 * arguments.steps, width), "float32")
    model.fit(data, data, batch_size=16, verbose=0)  # compiled before the clock starts
    run = wandb.init(project="benchmark")
    callback, saves = callback_of(name, f"{arguments.name}{suffix}", "weights" in suffix), []
    timed(callback, saves)
    before, wall, cpu = written_by_children(), time.perf_counter(), time.process_time()
    callbacks = [rest_of(arguments.rest), callback]
    validation = (data[:16], data[:16])
    model.fit(data, data, batch_size=16, epochs=epochs, validation_data=validation, verbose=0, callbacks=callbacks)
    run.log({"done": 1})
    written = written_by_children() - before
    run.finish()  # where some wait for what others have waited for in fit
    fit, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = 12e6 * millions  # the weights and Adam's two moments
    steady = saves[1:]  # the first save also builds what Keras caches, and what pictures are saved through
    return {
        "hook": statistics.median(each[0] for each in steady),
        "hook_cpu": statistics.median(each[1] for each in steady),
        "fit": fit,
        "cpu": cpu,
        "written": written / size / epochs,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / size,
    }


def run_one(name: str, arguments: argparse.Namespace, millions: int, environ: dict[str, str]) -> dict[str, float]:
    """Measures one callback in a fresh process and a fresh folder."""
    folder = tempfile.mkdtemp(prefix="checkpoint-cost-")
    command = [sys.executable, __file__, "--one", name, "--parameters", str(millions)]
    command += ["--layers", str(arguments.layers), "--suffix", arguments.suffix, "--epochs", str(arguments.epochs)]
    command += ["--rest", str(arguments.rest), "--steps", str(arguments.steps), "--name", arguments.name]
    homes = {f"WANDB_{each}": folder for each in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **environ, **homes}, check=True, stdout=subprocess.PIPE, text=True
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(arguments: argparse.Namespace, millions: int, environ: dict[str, str]) -> dict[str, dict[str, float]]:
    """Measures all callbacks, round by round, and returns the median ratios to the plain one of the same round."""
    names = arguments.columns
    ratios: dict[str, dict[str, list[float]]] = {name: {key: [] for key in WORDS} for name in names}
    for number in range(arguments.rounds):
        order = ("none", *names) if number % 2 == 0 else (*reversed(names), "none")
        results = {name: run_one(name, arguments, millions, environ) for name in order}
        for name in order:
            for key, of in (("overhead", "fit"), ("above", "memory")):
                results[name][key] = results[name][of] - results["none"][of]
        for name in names:
            for key in MEASURES:
                ratios[name][key].append(results[name][key] / results["keras"][key])
            ratios[name]["above"].append(results[name]["above"])
        print(f"{millions} M, round {number + 1}: " + json.dumps(results), file=sys.stderr, flush=True)
    return {name: {key: statistics.median(ratios[name][key]) for key in WORDS} for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, nargs="+", default=[1, 30], help="millions of parameters")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--suffix", default=".keras", help=".keras, .h5 or .weights.h5")
    parser.add_argument("--name", default="ckpt", help="file name; ckpt-{epoch} for a file for each checkpoint")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch")
    parser.add_argument("--rest", type=float, default=0.4, help="seconds of waiting in each step")
    parser.add_argument("--offline", action="store_true", help="without a server, which would share the cores")
    parser.add_argument("--only", nargs="+", help="columns to measure; must have keras")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        facts = measure(arguments.one, arguments.parameters[0], arguments)
        print(json.dumps(facts))
        return
    arguments.columns = tuple(arguments.only) if arguments.only else columns()
    from wandb_ckpt.server import Server

    title = f"{arguments.suffix}, per checkpoint, plain Keras = 1"
    table = Table("parameters", "measure", *arguments.columns, title=title)
    with Server() as server:
        environ = {**server.environ, "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_CONSOLE": "off"}
        if arguments.offline:
            environ["WANDB_MODE"] = "offline"
        for millions in arguments.parameters:
            medians = compare(arguments, millions, environ)
            for key in WORDS:
                row = [f"{medians[name][key]:.3f}" for name in arguments.columns]
                table.add_row(f"{millions} M", WORDS[key], *row)
    Console(width=130).print(table)
    print("* above no callback, in copies of the weights and the optimizer's state")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
