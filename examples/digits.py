"""Trains on handwritten digits, publishes every checkpoint on W&B, and fetches the best one back.

Real data: the 1,797 digits that ship inside scikit-learn. Where neither WANDB_BASE_URL, WANDB_API_KEY nor a login
point anywhere, the embedded server of wandb_ckpt is started for as long as this runs; its data stays in
./wandb-ckpt-demo/server, so that `wandb-ckpt serve --data-dir wandb-ckpt-demo/server` shows the pages afterwards.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import wandb
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from wandb_ckpt import WandbModelCheckpoint

FOLDER = Path("wandb-ckpt-demo")


@contextmanager
def wandb_server() -> Iterator[None]:
    """Starts the embedded server, unless wandb already knows where to go."""
    if "WANDB_BASE_URL" in os.environ or wandb.login(prompt=False):
        yield
        return
    wandb.teardown()  # what wandb has read from the environment so far is forgotten
    from wandb_ckpt.server import Server

    with Server(data_dir=FOLDER / "server") as server:
        os.environ.update(server.environ)
        print(f"No W&B login found: using the embedded server at {server.url}", flush=True)
        yield
        print(f"\nTo look at the pages: wandb-ckpt serve --data-dir {FOLDER / 'server'}")


def digits() -> list:
    """The images as (n, 8, 8, 1) in 0…1, and their labels, split into training and validation."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8, 1).astype("float32")
    return train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)


def build_model() -> keras.Model:
    """A small convolutional net."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(run: wandb.Run, folder: Path) -> str:
    """Trains with the callback and returns the artifact's path, `entity/project/name`."""
    x, x_val, y, y_val = digits()
    checkpoint = WandbModelCheckpoint(folder / "digits-{epoch:02d}.keras", monitor="val_accuracy", mode="max")
    build_model().fit(x, y, validation_data=(x_val, y_val), epochs=8, verbose=2, callbacks=[checkpoint])
    return f"{run.entity}/{run.project}/{checkpoint.checkpoints[-1].artifact}"


def show_versions(artifact: str) -> None:
    """Prints what the server knows: one line for each version."""
    table = Table("version", "aliases", "val_accuracy", "val_loss", "epoch", "size", title=artifact)
    for version in sorted(wandb.Api().artifacts("model", artifact), key=lambda each: int(each.version[1:])):
        facts = version.metadata
        aliases = " ".join(alias for alias in version.aliases if alias != version.version)
        numbers = (f"{facts['value']:.4f}", f"{facts['logs']['val_loss']:.4f}", str(facts["epoch"]))
        table.add_row(version.version, aliases, *numbers, f"{version.size / 1e3:.0f} kB")
    Console().print(table)


def fetch(ref: str) -> Path:
    """Fetches a version with the unmodified wandb command line, into a fresh folder."""
    root = Path(tempfile.mkdtemp(prefix="fetched-"))
    print(f"\n$ wandb artifact get {ref} --root {root}", flush=True)
    subprocess.run([sys.executable, "-m", "wandb", "artifact", "get", ref, "--root", str(root)], check=True)
    return next(root.glob("*.keras"))


def check(path: Path, recorded: float) -> None:
    """Loads the fetched model and compares its accuracy with the recorded one."""
    _, x_val, _, y_val = digits()
    _, accuracy = keras.saving.load_model(path).evaluate(x_val, y_val, verbose=0)
    print(f"\nrecorded accuracy {recorded:.6f}\nfetched model has {accuracy:.6f}")
    if abs(accuracy - recorded) > 1e-6:
        sys.exit("The fetched model is not the one that was saved.")
    print("They are equal.")


def main() -> None:
    with wandb_server():
        with wandb.init(project="digits") as run:
            artifact = train(run, FOLDER / "checkpoints")
        show_versions(artifact)
        check(fetch(f"{artifact}:best"), wandb.Api().artifact(f"{artifact}:best").metadata["value"])


if __name__ == "__main__":
    main()
