"""With save_on_background, training goes on while a checkpoint is written, and what is written is the same."""

import copy
import gc
import json
import logging
import random
import resource
import signal
import threading
import weakref
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from scripts import run_script
from training import X, Y, fit, logs_of, model_of, versions
from wandb_ckpt.keras import WandbModelCheckpoint

BACKEND = keras.backend.backend()
FORMATS = [("keras", False), ("weights.h5", True), ("h5", False)]


def datasets(file: Any) -> dict[str, Any]:
    """Every array of an HDF5 file with its type, and every attribute but the names that Keras makes up."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype.str, item.shape, item[()].tobytes())

    with h5py.File(file, "r") as opened:
        opened.visititems(visit)
    return found


def contents_of(path: Path) -> dict[str, Any]:
    """What a checkpoint says, without the time of saving."""
    if path.suffix == ".h5" and not path.name.endswith(".weights.h5"):
        # The legacy format names arrays after the paths of variables, which a second model has others of.
        with h5py.File(path, "r") as opened:
            configs = [opened.attrs["model_config"], opened.attrs["training_config"]]
        return {"configs": configs, "arrays": sorted(datasets(path).values())}
    if path.suffix != ".keras":
        return datasets(path)
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())
        config = json.loads(archive.read("config.json"))
        return {"files": names, "config": config, **datasets(archive.open("model.weights.h5"))}


def lora_in(path: Path) -> dict[str, Any]:
    """The matrices that are kept in a checkpoint."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return datasets(archive.open("wandb_ckpt_lora.h5"))
    return {name: value for name, value in datasets(path).items() if name.startswith("wandb_ckpt_lora/")}


@keras.saving.register_keras_serializable("tests")
class Block(keras.layers.Layer):
    """A layer of the user's own, with state of several kinds."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units)
        self.drop = keras.layers.Dropout(0.5, seed=3)
        self.seen = keras.metrics.Mean(name="seen")

    def build(self, shape: Any) -> None:
        self.dense.build(shape)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if training:
            self.count.assign(self.count + 1)
        return self.drop(self.dense(inputs), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def rich_model(optimizer: Any, jit: Any = "auto", policy: str = "float32") -> keras.Model:
    """A model with batch norm, dropout, a layer of the user's own and a shared layer."""
    keras.utils.set_random_seed(5)
    with keras.name_scope("rich"):
        inputs = keras.Input((4,))
        shared = keras.layers.Dense(4, dtype=policy)
        hidden = keras.layers.BatchNormalization(dtype=policy)(Block(4, dtype=policy)(shared(inputs)))
        outputs = keras.layers.Dense(1, dtype="float32")(keras.layers.Add(dtype=policy)([shared(hidden), inputs]))
    model = keras.Model(inputs, outputs)
    model.compile(optimizer, "mse", metrics=["mae"], jit_compile=jit)
    return model


CASES = [
    ("adam", "auto", "float32"),
    (lambda: keras.optimizers.SGD(0.1, momentum=0.9), "auto", "float32"),
    ("rmsprop", False, "float32"),
    ("adam", True, "float32"),
    (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()), "auto", "mixed_float16"),
    (lambda: keras.optimizers.Adam(ema_momentum=0.9, use_ema=True), "auto", "float32"),
]


@pytest.mark.parametrize(
    ("optimizer", "jit", "policy", "ending", "weights_only"),
    [(*CASES[0], *ending) for ending in FORMATS] + [(*case, *FORMATS[0]) for case in CASES[1:]],
)
def test_it_is_what_a_blocking_save_writes(
    start_run: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    optimizer: Any,
    jit: Any,
    policy: str,
    ending: str,
    weights_only: bool,
) -> None:
    """After every batch the checkpoint has the very contents of a blocking save, while training goes on."""
    if jit is True and BACKEND == "torch":
        jit = "auto"  # torch's compiler needs a C++ tool chain
    start_run(mode="offline")
    name = "{epoch}-{batch}." + ending
    args: dict[str, Any] = {"save_weights_only": weights_only, "save_freq": 1}
    mine = WandbModelCheckpoint(tmp_path / "mine" / name, save_on_background=True, **args)
    plain = keras.callbacks.ModelCheckpoint(str(tmp_path / "plain" / name), **args)
    model = rich_model(optimizer if isinstance(optimizer, str) else optimizer(), jit, policy)
    model.fit(
        X,
        Y,
        epochs=2,
        batch_size=16,
        verbose=0,
        callbacks=[mine, plain, keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (epoch + 1))],
    )
    files = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert len(files) == 8
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == files
    for file in files:
        assert contents_of(tmp_path / "mine" / file) == contents_of(tmp_path / "plain" / file)
    assert len({str(contents_of(tmp_path / "mine" / file)) for file in files}) == len(files)
    assert [outcome.state for outcome in mine.checkpoints] == ["offline"] * 8
    assert "save_on_background" not in caplog.text


def network(*shape: int) -> keras.Sequential:
    """A network with random values, such as a loss or a metric may have."""
    return keras.Sequential([keras.Input(shape), keras.layers.Dense(3)])


def frozen(layer: keras.Layer) -> keras.Layer:
    """A layer that is not trained, for the model does not call it."""
    layer.trainable = False
    return layer


@keras.saving.register_keras_serializable("tests")
class Perceptual(keras.losses.Loss):
    """A loss with a network, and with layers in containers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = network(1)
        self.more = {"a": [network(1), (network(2), network(2))], "b": network(3)}

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean((self.net(y_true) - self.net(y_pred)) ** 2, -1)


@keras.saving.register_keras_serializable("tests")
class Watched(keras.metrics.Mean):
    """A metric with a network and a metric."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = network(2)
        self.other = keras.metrics.Mean()
        self.other.update_state(4.0)


@keras.saving.register_keras_serializable("tests")
class Lookahead(keras.optimizers.SGD):
    """An optimizer with an optimizer and a layer."""

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.slow = keras.optimizers.Adam()
        self.slow.build(variables)
        self.gate = keras.layers.Dense(2)
        self.gate.build((3,))


def model_with_more() -> keras.Model:
    """A model with variables in its loss, in its metrics, and in more than one optimizer."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((4,))
    shared = keras.initializers.HeNormal(seed=1)
    hidden = keras.layers.Dense(4, kernel_initializer=shared)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer=shared)(hidden))
    model.compile(Lookahead(momentum=0.9), Perceptual())
    model.seen = Watched()
    model.second = keras.optimizers.RMSprop()
    model.second.build(model.trainable_variables)
    model.parts = [frozen(keras.layers.BatchNormalization()), frozen(network(2))]
    model.parts[0].build((None, 2))
    return model


@pytest.mark.parametrize(("ending", "weights_only"), FORMATS[:2])
def test_all_that_keras_saves_is_in_it(
    start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str, weights_only: bool
) -> None:
    """It has what a blocking save has of losses, metrics and optimizers, also of parts that are new or replaced."""
    start_run(mode="offline")
    model, name = model_with_more(), "{epoch}." + ending
    args: dict[str, Any] = {"save_weights_only": weights_only}
    mine = WandbModelCheckpoint(tmp_path / "mine" / name, save_on_background=True, **args)
    plain = keras.callbacks.ModelCheckpoint(str(tmp_path / "plain" / name), **args)

    def set_seen() -> None:
        for each in (*model.loss.net.variables, *model.second.variables, *model.seen.net.variables):
            each.assign(np.full(each.shape, 3))

    def change() -> None:
        model.parts.append(frozen(network(5)))
        model.seen = Watched()

    actions = at_epoch_begin({1: set_seen, 2: change, 3: lambda: model.parts.pop(0)})
    model.fit(X, Y, epochs=4, verbose=0, callbacks=[mine, plain, actions])
    found = [contents_of(tmp_path / "mine" / name.format(epoch=epoch)) for epoch in (1, 2, 3, 4)]
    assert found == [contents_of(tmp_path / "plain" / name.format(epoch=epoch)) for epoch in (1, 2, 3, 4)]
    assert {"loss/net/layers/dense/vars/0", "loss/more/sequential/layers/dense/vars/0"} <= found[0].keys()
    assert {
        "second/vars/3",
        "optimizer/slow/vars/3",
        "optimizer/gate/vars/0",
        "seen/net/layers/dense/vars/0",
    } <= found[0].keys()
    assert "parts/sequential_1/layers/dense/vars/0" in found[2]
    assert "save_on_background" not in caplog.text


@pytest.mark.parametrize(("ending", "weights_only"), FORMATS[:2])
def test_lora_is_what_a_blocking_save_writes(start_run: Any, tmp_path: Path, ending: str, weights_only: bool) -> None:
    """The kernel with LoRA, and the matrices that are kept with it, are those of a blocking save."""
    start_run(mode="offline")
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.layers[0].enable_lora(2)
    model.compile("adam", "mse")
    args: dict[str, Any] = {"save_weights_only": weights_only, "artifact_name": "m"}
    mine = WandbModelCheckpoint(tmp_path / f"mine{{epoch}}.{ending}", save_on_background=True, **args)
    plain = WandbModelCheckpoint(tmp_path / f"plain{{epoch}}.{ending}", **args)

    def enable(epoch: int, logs: Any) -> None:
        if epoch == 2:
            layer = mine.model.layers[1]  # which has JAX put its values there
            layer.enable_lora(1)
            layer.lora_kernel_b.assign([[0.5]])

    before = keras.callbacks.LambdaCallback(on_epoch_end=enable)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[before, mine, plain])
    for epoch in (1, 2, 3):
        found, wanted = (tmp_path / f"{name}{epoch}.{ending}" for name in ("mine", "plain"))
        assert contents_of(found) == contents_of(wanted)
        assert lora_in(found) == lora_in(wanted)
        assert len(lora_in(found)) == (2 if epoch < 3 else 4)


def holding(callback: Any, gate: threading.Event) -> keras.callbacks.Callback:
    """A callback that has the saves in the background wait for a gate, once they are prepared."""

    held: list[Any] = []

    def hold(batch: int, logs: Any) -> None:
        if not held:
            callback._background.flush()
            held.append(callback._background._saver.submit(gate.wait))

    return keras.callbacks.LambdaCallback(on_train_batch_end=hold)


def at_epoch_begin(actions: dict[int, Callable[[], Any]]) -> keras.callbacks.Callback:
    """A callback that does something when an epoch begins."""
    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: actions.get(epoch, lambda: None)())


def test_training_goes_on_while_it_is_written(start_run: Any, project: str, tmp_path: Path) -> None:
    """The next epoch trains before the checkpoint is on the disk; when fit returns, it is there and on W&B."""
    run, gate = start_run(), threading.Event()
    seen: list[tuple[int, list[str]]] = []

    def look() -> None:
        seen.append((len(callback.checkpoints), [path.name for path in tmp_path.glob("*.keras")]))
        gate.set()

    callback = WandbModelCheckpoint(tmp_path / "m-{epoch}.keras", save_on_background=True)
    fit(keras, [callback, holding(callback, gate), at_epoch_begin({1: look})])
    assert seen == [(1, [])]
    assert sorted(path.name for path in tmp_path.glob("*.keras")) == ["m-1.keras", "m-2.keras"]
    assert [outcome.version for outcome in callback.checkpoints] == ["v0", "v1"]
    local = [contents_of(tmp_path / f"m-{epoch}.keras") for epoch in (1, 2)]
    fetched = sorted((tmp_path / "back").rglob("*.keras")) if versions(run.path, tmp_path / "back") else []
    assert [contents_of(path) for path in fetched] == local


@pytest.mark.parametrize(("ending", "weights_only"), FORMATS[:2])
def test_what_changes_while_it_waits_is_not_in_it(
    start_run: Any, tmp_path: Path, ending: str, weights_only: bool
) -> None:
    """The config, the parts and the variables of a checkpoint are those of its moment, however late it is written."""
    start_run(mode="offline")
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    model.second = keras.optimizers.Adam()
    args: dict[str, Any] = {"save_weights_only": weights_only}
    mine = WandbModelCheckpoint(tmp_path / f"mine.{ending}", save_on_background=True, **args)
    plain = keras.callbacks.ModelCheckpoint(str(tmp_path / f"plain.{ending}"), **args)
    gate = threading.Event()

    def change(epoch: int, logs: Any) -> None:
        assert not (tmp_path / f"mine.{ending}").exists()
        model.second.build(model.trainable_variables)
        model.layers[0].enable_lora(2)
        model.layers[0].lora_kernel_b.assign(np.ones((2, 8)))
        model.layers[1].rate = 0.9
        model.more = frozen(network(2))
        gate.set()

    after = keras.callbacks.LambdaCallback(on_epoch_end=change)
    model.fit(X, Y, verbose=0, callbacks=[mine, plain, holding(mine, gate), after])
    assert contents_of(tmp_path / f"mine.{ending}") == contents_of(tmp_path / f"plain.{ending}")


def test_one_copy_waits_and_then_training_does(
    start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the thread is at work and one waits, training waits with the next, says so once, and keeps the order."""
    start_run(mode="offline")
    gate, reached = threading.Event(), list[bool]()

    class OpenGate(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "Training waits for the disk" in record.getMessage():
                gate.set()

    callback = WandbModelCheckpoint(tmp_path / "m-{epoch}.keras", save_on_background=True)
    actions = at_epoch_begin({1: lambda: reached.append(gate.is_set()), 2: lambda: reached.append(gate.is_set())})
    logger, opener = logging.getLogger("wandb_ckpt"), OpenGate()
    logger.addHandler(opener)
    with caplog.at_level(logging.WARNING, "wandb_ckpt"):
        fit(keras, [callback, holding(callback, gate), actions], epochs=6)
    logger.removeHandler(opener)
    assert reached == [False, True]
    assert [outcome.checkpoint.epoch for outcome in callback.checkpoints] == list(range(6))
    assert [outcome.state for outcome in callback.checkpoints] == ["offline"] * 6
    assert sum("Training waits for the disk" in message for message in caplog.messages) == 1


def test_a_failed_save_is_told_and_is_not_the_best(start_run: Any, project: str, tmp_path: Path) -> None:
    """When the disk refuses one, fit goes on, its outcome says why, and a later one can be the best."""
    run = start_run()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def refuse() -> None:
        callback._background.flush()
        callback._session.publisher.flush()  # the server is in this process, and writes as well
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

    def allow() -> None:
        callback._background.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    callback = WandbModelCheckpoint(tmp_path / "m.keras", save_best_only=True, save_on_background=True)
    try:
        fit(keras, [logs_of(keras, [3, 1, 2]), callback, at_epoch_begin({1: refuse, 2: allow})], epochs=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [outcome.state for outcome in callback.checkpoints] == ["committed", "failed", "committed"]
    assert "could not be saved in the background" in str(callback.checkpoints[1].reason)
    assert callback.best == 2
    newest = versions(run.path, tmp_path / "back")[-1]
    assert (newest.version, newest.metadata["epoch"], newest.metadata["value"]) == ("v1", 2, 2.0)
    assert "best" in newest.aliases
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".wandb_ckpt", "m."))] == ["m.keras"]


class OwnSave(keras.Model):
    """A model with a save of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)


class OwnVariables(keras.layers.Dense):
    """A layer that saves its variables in a way of its own."""

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)


def with_lookup() -> keras.Model:
    """A model with a layer whose vocabulary is saved as a file of its own."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.words = keras.layers.IntegerLookup(vocabulary=[1, 2, 3])
    return model


def test_users_random_numbers_stay_the_same(start_run: Any, tmp_path: Path) -> None:
    """Nothing is drawn from Python's random, by which users shuffle their data."""
    start_run(mode="offline")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    states: list[Any] = []
    note = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: states.append(random.getstate()),
        on_train_end=lambda logs: states.append(random.getstate()),
    )
    callback = WandbModelCheckpoint(tmp_path / "m.keras", save_on_background=True)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[callback, note])
    assert states[0] == states[1]


DEVICE_BODY = """
import jax
device = jax.devices()[1]
jax.config.update("jax_default_device", device)  # it stands for a GPU
counts = []
def count():
    there = [each for each in jax.live_arrays() if device in each.devices()]
    # Reading an array has JAX make another one of the same memory.
    counts.append(sum({each.unsafe_buffer_pointer(): each.nbytes for each in there}.values()) // 10_000)
class Counting(keras.layers.Dense):
    @property
    def name(self):
        if threading.current_thread() is not threading.main_thread():
            count()
        return self.own_name
    @name.setter
    def name(self, name):
        self.own_name = name
class Look(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        count()
        callback._background.flush()
model = keras.Sequential([keras.Input((4,)), Counting(300), keras.layers.Dense(300), Counting(300)])
model.compile("adam", "mse")
callback = WandbModelCheckpoint("m-{epoch}.weights.h5", save_weights_only=True, save_on_background=True)
wandb.init(mode="offline")
fit(keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: callback.model and count()), callback, Look())
print("on the device:", len(counts) > 9, set(counts), model.layers[0].kernel.value.devices() == {device}, flush=True)
"""


@pytest.mark.skipif(BACKEND != "jax", reason="JAX has a device of its own for what is made without one")
def test_the_device_holds_the_model_only_once(project: str, tmp_path: Path) -> None:
    """Background saves have nothing on a device that is not the host's own, not even while they are written."""
    flags = "--xla_force_host_platform_device_count=2"
    code, output = run_script(DEVICE_BODY, tmp_path, project, "r", KERAS_BACKEND="jax", XLA_FLAGS=flags)
    assert code == 0, output
    # Three times 182,000 floats: the variables, and the two moments of Adam.
    assert "on the device: True {218} True" in output, output


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (OwnSave, "OwnSave has its own save() method"),
        (lambda: keras.Sequential([keras.Input((4,)), OwnVariables(1)]), "OwnVariables saves its variables with its"),
        (with_lookup, "saves its own files"),
    ],
)
def test_what_cant_be_done_in_the_background_is_done_as_usual(
    start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[], Any], reason: str
) -> None:
    """A model that has more than variables to save is saved at once, and one warning says why."""
    start_run(mode="offline")
    callback = WandbModelCheckpoint(tmp_path / "m.weights.h5", save_weights_only=True, save_on_background=True)
    model = make()
    model.compile("adam", "mse")
    with caplog.at_level(logging.WARNING, "wandb_ckpt"):
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[callback])
    said = [message for message in caplog.messages if "save_on_background has no effect" in message]
    assert len(said) == 1
    assert reason in said[0]
    assert [outcome.state for outcome in callback.checkpoints] == ["offline", "offline"]


class Slow(keras.layers.Dense):
    """A layer that a save in the background waits at."""

    def __init__(self, units: int) -> None:
        super().__init__(units)
        self.go_on = threading.Event()

    @property
    def name(self) -> str:
        if threading.current_thread() is not threading.main_thread():
            self.go_on.wait(3)
        return str(self.own_name)

    @name.setter
    def name(self, name: str) -> None:
        self.own_name = name


def test_an_older_one_does_not_land_on_a_newer_one(start_run: Any, project: str, tmp_path: Path) -> None:
    """If the model can't be copied any more, the next save waits for earlier copies: the newest stays."""
    run = start_run()
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), Slow(1)])
    model.compile("adam", "mse")

    def add() -> None:
        model.extra = OwnVariables(1)
        model.extra.build((4,))

    def let_go(epoch: int, logs: Any) -> None:
        if epoch == 1:  # by now the second is saved, and so is the first, or it lands there now
            model.layers[0].go_on.set()

    callback = WandbModelCheckpoint(tmp_path / "m.weights.h5", save_weights_only=True, save_on_background=True)
    after = keras.callbacks.LambdaCallback(on_epoch_end=let_go)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[callback, after, at_epoch_begin({1: add})])
    with h5py.File(tmp_path / "m.weights.h5") as file:
        assert np.array_equal(file["layers/slow/vars/0"][()], np.asarray(model.layers[0].kernel))
    newest = versions(run.path, tmp_path / "back")[-1]
    assert (newest.metadata["epoch"], "latest" in newest.aliases) == (1, True)


def test_ctrl_c_loses_nothing(project: str, tmp_path: Path) -> None:
    """What was taken before Ctrl-C is written and published before the process exits."""
    body = """
    run = wandb.init()
    callback = WandbModelCheckpoint("m-{epoch}.keras", save_on_background=True)
    fit(callback, At(1, lambda: os.kill(os.getpid(), signal.SIGINT)), epochs=5)
    """
    code, output = run_script(body, tmp_path, project, "ctrlc")
    assert code != 0
    assert "KeyboardInterrupt" in output
    assert [version.metadata["epoch"] for version in versions(f"local/{project}/ctrlc", tmp_path / "back")] == [0, 1]
    assert sorted(path.name for path in tmp_path.glob("*.keras")) == ["m-1.keras", "m-2.keras"]


class WrongError(Exception):
    """What the user's code raises."""


def raising(epoch: int) -> keras.callbacks.Callback:
    """A callback that ends a training when an epoch begins."""

    def end() -> None:
        raise WrongError

    return at_epoch_begin({epoch: end})


def test_what_fails_frees_all(start_run: Any, tmp_path: Path) -> None:
    """After a fit that failed neither the memory of copies nor a thread is left; the next one saves as usual."""
    start_run(mode="offline")
    callback = WandbModelCheckpoint(tmp_path / "m-{epoch}.keras", save_on_background=True)
    readers: list[Any] = []
    note = at_epoch_begin({1: lambda: readers.append(weakref.ref(callback._background._copier._reader))})
    usual = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with suppress(WrongError):
            fit(keras, [callback, note, raising(2)], epochs=3)
        assert signal.getsignal(signal.SIGTERM) is usual
        callback._background.flush()
        for thread in threading.enumerate():
            if "wandb_ckpt_save" in thread.name:
                thread.join()
    assert len(readers) == 2
    assert [reader() for reader in readers] == [None, None]
    fit(keras, [callback, at_epoch_begin({1: gc.collect})])
    assert [outcome.state for outcome in callback.checkpoints] == ["offline"] * 6


def test_a_copy_saves_too(start_run: Any, tmp_path: Path) -> None:
    """A deep copy, of a callback that is saving in the background, starts anew."""
    start_run(mode="offline")
    first = WandbModelCheckpoint(tmp_path / "m.keras", save_on_background=True)
    copies: list[WandbModelCheckpoint] = []
    fit(keras, [first, at_epoch_begin({1: lambda: copies.append(copy.deepcopy(first))})])
    (second,) = copies
    assert second.checkpoints == ()
    fit(keras, [second], epochs=1)
    assert [outcome.state for outcome in second.checkpoints] == ["offline"]
    assert len(first.checkpoints) == 2


def test_no_thread_is_left(start_run: Any, tmp_path: Path) -> None:
    """After fit there is no saver thread."""
    start_run(mode="offline")
    fit(keras, [WandbModelCheckpoint(tmp_path / "m.keras", save_on_background=True)])
    for thread in threading.enumerate():
        if "wandb_ckpt_save" in thread.name:
            thread.join()
    assert np.isfinite(model_of(keras).predict(X, verbose=0)).all()
