"""Models of every kind come back whole, and what does not fit is refused before anything changes."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

import wandb_ckpt
from training import X, Y, logs_of, model_of
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.saving.saveables import Saveables

STORED = [pytest.param("m.keras", False, id="keras"), pytest.param("m.weights.h5", True, id="weights.h5")]
layers = keras.layers


def values(*owners: Any) -> list[bytes]:
    """Every variable of some layers and optimizers, as bytes."""
    return [keras.ops.convert_to_numpy(each).tobytes() for owner in owners for each in owner.variables]


@keras.saving.register_keras_serializable("test_fit")
class NetLoss(keras.losses.Loss):  # type: ignore[misc]
    """A loss with a network of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = keras.Sequential([keras.Input((1,)), layers.Dense(2)])

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The distance of what the network makes of both."""
        return keras.ops.mean((self.net(y_true) - self.net(y_pred)) ** 2)


class NetMetric(keras.metrics.Mean):  # type: ignore[misc]
    """A metric with a network of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = keras.Sequential([keras.Input((1,)), layers.Dense(2)])


@keras.saving.register_keras_serializable("test_fit")
class Remembering(layers.Layer):  # type: ignore[misc]
    """A layer that saves more than its variables."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen = np.zeros(0)

    def call(self, inputs: Any) -> Any:
        """Its inputs."""
        return inputs

    def save_own_variables(self, store: Any) -> None:
        """Saves what was seen."""
        store["seen"] = self.seen

    def load_own_variables(self, store: Any) -> None:
        """Takes what was seen."""
        self.seen = np.array(store["seen"])


class Gan(keras.Model):  # type: ignore[misc]
    """Two networks, each with an optimizer; the one that `compile()` makes is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(4)])
        self.blocks = [[layers.Dense(2)], {"a": layers.Dense(2)}]

    def compile(self, d_optimizer: Any, g_optimizer: Any) -> None:
        """Takes both optimizers."""
        super().compile(loss="mse")
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer

    def call(self, inputs: Any) -> Any:
        """What the discriminator says of generated data."""
        return self.discriminator(self.generator(self.blocks[0][0](self.blocks[1]["a"](inputs))))


def gan_of(seed: int = 7) -> Gan:
    """A built GAN, compiled."""
    keras.utils.set_random_seed(seed)
    gan = Gan()
    gan.compile(keras.optimizers.Adam(), keras.optimizers.SGD(momentum=0.9))
    gan(np.ones((1, 2), "float32"))
    return gan


def trained_gan() -> Gan:
    """The same with state in its optimizers."""
    gan = gan_of()
    for optimizer, network in ((gan.d_optimizer, gan.discriminator), (gan.g_optimizer, gan.generator)):
        optimizer.build(network.trainable_variables)
        optimizer.apply([keras.ops.ones_like(each) for each in network.trainable_variables])
    return gan


def nets_of(optimizer: Any = "adam", seed: int = 7) -> Any:
    """A compiled model whose loss, metric and layer each save more than a model's weights."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), Remembering(), layers.Dense(1)])
    model.compile(optimizer, NetLoss())
    model.perceptual = NetMetric()
    model.second = keras.optimizers.Adam()
    return model


@pytest.fixture
def publish(start_run: Callable[..., Any]) -> Callable[..., str]:
    """Saves a model by the callback, as training does, and returns the ref of the version."""

    def publish(
        model: Any, filepath: str, *, weights_only: bool = False, checkpoint: Any = WandbModelCheckpoint
    ) -> str:
        with start_run() as run:
            callback = checkpoint(filepath, save_weights_only=weights_only)
            callback.set_model(model)
            callback.on_train_begin()
            callback.on_epoch_begin(0)
            callback.on_epoch_end(0, {"val_loss": 1.0})
            callback.on_train_end()
            return f"{run.entity}/{run.project}/run_{run.id}_model:latest"

    return publish


# ---- what is restored ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [trained_gan, nets_of])
def test_paths_are_those_of_keras(make: Callable[[], Any], tmp_path: Path) -> None:
    """Our walk through a model finds what Keras's saver goes through, by the same paths, whatever its version."""
    model = make()
    model.save_weights(tmp_path / "m.weights.h5")
    saved: set[str] = set()
    with h5py.File(tmp_path / "m.weights.h5") as file:
        file.visit(lambda name: saved.add(name[:-4].rstrip("/")) if name.rpartition("/")[2] == "vars" else None)
    parts = Saveables(model)
    assert {path for path, part in parts if hasattr(part, "save_own_variables")} == saved
    assert all(parts.at(path) is part for path, part in parts)


def test_a_gan_comes_back_with_both_optimizers(publish: Any) -> None:
    """Each optimizer is built for the network whose state the file has; the one that was never used is not."""
    gan = trained_gan()
    ref, fresh = publish(gan, "m.weights.h5", weights_only=True), gan_of(seed=8)
    wandb_ckpt.restore(fresh, ref)
    parts = ("discriminator", "generator", "d_optimizer", "g_optimizer")
    assert values(fresh, *(getattr(fresh, part) for part in parts)) == values(
        gan, *(getattr(gan, part) for part in parts)
    )
    assert not fresh.optimizer.built
    fresh.d_optimizer.apply([keras.ops.ones_like(each) for each in fresh.discriminator.trainable_variables])


@pytest.mark.parametrize(("filepath", "weights_only"), STORED)
def test_what_is_beside_the_weights_comes_back(publish: Any, filepath: str, weights_only: bool) -> None:
    """A loss and a metric with networks, a second optimizer and a layer's own state are restored."""
    model = nets_of()
    model.fit(X, Y, verbose=0)
    model.layers[1].seen = np.arange(5)
    model.second.build(model.layers[0].trainable_variables)
    ref, fresh = publish(model, filepath, weights_only=weights_only), nets_of(seed=8)
    wandb_ckpt.restore(fresh, ref)
    of = lambda each: values(each, each.optimizer, each.second, each.loss.net, each.perceptual.net)  # noqa: E731
    assert of(fresh) == of(model)
    assert list(fresh.layers[1].seen) == list(range(5))


# ---- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([layers.Dense(5), layers.Dense(1)], r"\(4, 3\), \(3,\) in the checkpoint, \(4, 5\), \(5,\) in the model"),
        ([layers.Dense(3), layers.Dense(1), layers.Dense(1, name="third")], r"'third' .* only in the model"),
        ([layers.Dense(3)], r"'last' .* only in the checkpoint"),
        ([layers.Dense(3, use_bias=False), layers.Dense(1)], r"\(3,\) in the checkpoint, \(4, 3\) in the model"),
    ],
)
def test_another_architecture_changes_nothing(publish: Any, others: list[Any], words: str) -> None:
    """The error names the layer, and every weight stays as it was."""
    ref = publish(keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1, name="last")]), "m.keras")
    model = keras.Sequential(
        [keras.Input((4,)), *map(type(others[0]).from_config, [each.get_config() for each in others])]
    )
    before = values(model)
    with pytest.raises(wandb_ckpt.RestoreError, match=rf"(?s)nothing was restored.*{words}"):
        wandb_ckpt.restore(model, ref)
    assert values(model) == before


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`")
def test_whole_numbers_are_no_weights(publish: Any) -> None:
    """A quantized layer's values, of the same shapes, do not become the kernel of one that is not."""
    quantized = keras.Sequential([keras.Input((4,)), layers.Dense(2, use_bias=False)])
    quantized.quantize("int8")
    ref = publish(quantized, "m.keras")
    with pytest.raises(wandb_ckpt.RestoreError, match=r"\(4, 2\) of integers, \(2,\) in the checkpoint"):
        wandb_ckpt.restore(keras.Sequential([keras.Input((4,)), layers.Dense(2)]), ref)


def test_a_missing_optimizer_is_refused(publish: Any) -> None:
    """A model without one of the optimizers is refused, by the name of its attribute."""
    ref, gan = publish(trained_gan(), "m.weights.h5", weights_only=True), gan_of()
    gan.d_optimizer = None
    with pytest.raises(
        wandb_ckpt.RestoreError, match=r"'d_optimizer', which this model does not have.*optimizer=False"
    ):
        wandb_ckpt.restore(gan, ref)


def test_an_optimizer_that_can_be_of_two_networks_is_asked_for(publish: Any) -> None:
    """Where two networks are alike, the error says how to build the optimizer first."""

    class Twins(Gan):
        def __init__(self) -> None:
            keras.Model.__init__(self)
            self.discriminator = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
            self.generator = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])

        def call(self, inputs: Any) -> Any:
            return self.discriminator(inputs) + self.generator(inputs)

    def twins_of() -> Any:
        twins = Twins()
        twins.compile(keras.optimizers.Adam(), keras.optimizers.Adam())
        twins(X)
        return twins

    twins = twins_of()
    twins.d_optimizer.build(twins.discriminator.trainable_variables)
    ref, fresh = publish(twins, "m.weights.h5", weights_only=True), twins_of()
    with pytest.raises(wandb_ckpt.RestoreError, match=r"model\.d_optimizer\.build\("):
        wandb_ckpt.restore(fresh, ref)
    fresh.d_optimizer.build(fresh.discriminator.trainable_variables)
    wandb_ckpt.restore(fresh, ref)
    assert values(fresh) == values(twins)


# ---- two phases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filepath", ["m.keras", "m.weights.h5", "m.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_weights_only(publish: Any, filepath: str) -> None:
    """With other layers frozen the error says how to take the weights; then the optimizer stays as it is."""
    model = model_of(keras)
    model.fit(X, Y, verbose=0)
    ref = publish(model, filepath, weights_only=filepath == "m.weights.h5")
    phase = model_of(keras)
    phase.layers[0].trainable = False
    phase.compile(keras.optimizers.Adam(0.5), "mse")
    with pytest.raises(wandb_ckpt.RestoreError, match=r"optimizer variables.*restore\(model, .*, optimizer=False\)"):
        wandb_ckpt.restore(phase, ref)
    for _ in range(2):  # of an optimizer that is not built, and of one that is
        before = values(phase.optimizer)
        wandb_ckpt.restore(phase, ref, optimizer=False)
        assert values(phase) == values(model)
        assert values(phase.optimizer) == before
        phase.optimizer.build(phase.trainable_variables)
    phase.fit(X, Y, verbose=0)


@pytest.mark.parametrize("filepath", ["m.keras", "m.h5", "m.weights.h5", "folder", "tf"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_weights_only_in_tf_keras(publish: Any, filepath: str) -> None:
    """The same in every format of legacy tf_keras."""
    tf_keras = pytest.importorskip("tf_keras")
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    model = model_of(tf_keras)
    model.fit(X, Y, verbose=0)
    ref = publish(model, filepath, weights_only=filepath in ("tf", "m.weights.h5"), checkpoint=ForTfKeras)
    phase = model_of(tf_keras)
    phase.compile(tf_keras.optimizers.SGD(0.5, momentum=0.9), "mse")
    phase.optimizer.build(phase.trainable_variables)
    before = [each.numpy().tobytes() for each in phase.optimizer.variables]
    weights = [each.tobytes() for each in phase.get_weights()]
    with pytest.raises(wandb_ckpt.RestoreError, match=r"optimizer variables.*restore\(model, .*, optimizer=False\)"):
        wandb_ckpt.restore(phase, ref)
    assert [each.tobytes() for each in phase.get_weights()] == weights
    wandb_ckpt.restore(phase, ref, optimizer=False)
    assert [each.tobytes() for each in phase.get_weights()] == [each.tobytes() for each in model.get_weights()]
    assert [each.numpy().tobytes() for each in phase.optimizer.variables] == before


@pytest.mark.parametrize("filepath", ["m.weights.h5", "tf"])
def test_a_second_optimizer_in_tf_keras(publish: Any, filepath: str) -> None:
    """Legacy tf_keras restores a second optimizer, and metrics that training built."""
    tf_keras = pytest.importorskip("tf_keras")
    from wandb_ckpt.tf_keras import WandbModelCheckpoint as ForTfKeras

    model, fresh = model_of(tf_keras), model_of(tf_keras)
    for each in (model, fresh):
        each.second = tf_keras.optimizers.Adam()
    model.fit(X, Y, verbose=0)
    model.second.build(model.layers[0].trainable_variables)
    model.second.apply_gradients((each, each) for each in model.layers[0].trainable_variables)
    wandb_ckpt.restore(fresh, publish(model, filepath, weights_only=True, checkpoint=ForTfKeras))
    of = lambda model: [*model.weights, *model.optimizer.variables, *model.second.variables]  # noqa: E731
    assert [each.numpy().tobytes() for each in of(fresh)] == [each.numpy().tobytes() for each in of(model)]


# ---- LoRA ------------------------------------------------------------------------------------------------------


def lora_of(*, quantized: bool = False) -> Any:
    """A compiled model whose layers learn by LoRA."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(1)])
    if quantized:
        model.quantize("int8")
    for layer in model.layers:
        layer.enable_lora(2)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`")
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(
    ("filepath", "arguments"),
    [
        ("m.keras", {}),
        ("m.keras", {"save_on_background": True}),
        ("m.keras", {"shard": "layer"}),
        ("m.weights.h5", {"save_weights_only": True}),
    ],
)
def test_lora_goes_on_as_if_it_had_not_stopped(
    start_run: Any, filepath: str, arguments: Any, quantized: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed training by LoRA ends as the whole one; Keras's own load lets it stand still."""
    fitting = {"batch_size": 8, "shuffle": False, "verbose": 0}
    with caplog.at_level(logging.WARNING, "wandb_ckpt"):
        for epochs in (2, 4):
            model, callback = (
                lora_of(quantized=quantized),
                WandbModelCheckpoint(filepath, monitor="loss", **arguments),
            )
            with start_run(id="r1", resume="allow"):
                first = callback.resume(model)
                model.fit(X, Y, epochs=epochs, initial_epoch=first, callbacks=[callback], **fitting)
    whole = lora_of(quantized=quantized)
    whole.fit(X, Y, epochs=4, **fitting)
    assert first == 2
    np.testing.assert_allclose(model.predict(X, verbose=0), whole.predict(X, verbose=0), rtol=1e-4)
    assert "LoRA" not in caplog.text
    keras.saving.load_model(filepath).evaluate(X, Y, verbose=0) if not arguments.get("save_weights_only") else None


def test_lora_that_is_merged_learns_on(tmp_path: Path, start_run: Any, caplog: pytest.LogCaptureFixture) -> None:
    """From a file of Keras alone, predictions are the same, training goes on, and a warning names the layers."""
    import wandb

    model = lora_of()
    model.fit(X, Y, epochs=2, verbose=0)
    model.save("m.keras")
    with start_run() as run:
        artifact = wandb.Artifact("m", type="model")
        artifact.add_file("m.keras")
        run.log_artifact(artifact).wait()
        fresh = lora_of()
        with caplog.at_level(logging.WARNING, "wandb_ckpt"):
            wandb_ckpt.restore(fresh, "m:v0")
    assert "'dense" in caplog.text
    np.testing.assert_allclose(fresh.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-4)
    slots = {each.name: keras.ops.convert_to_numpy(each) for each in fresh.optimizer.variables}
    assert not any(value.any() for name, value in slots.items() if "lora" in name)
    assert int(fresh.optimizer.iterations) == int(model.optimizer.iterations)
    before = fresh.evaluate(X, Y, verbose=0)
    fresh.fit(X, Y, epochs=20, verbose=0)
    assert fresh.evaluate(X, Y, verbose=0) < before


# ---- state outside of variables --------------------------------------------------------------------------------


def lookup_of(words: list[int], **arguments: Any) -> Any:
    """A model that looks numbers up, and sorts others into bins."""
    keras.utils.set_random_seed(7)
    lookup = layers.IntegerLookup(output_mode="multi_hot", max_tokens=5, name="words", **arguments)
    if not arguments:
        lookup.adapt(np.array([words]))
    bins = layers.Discretization(num_bins=3, output_mode="multi_hot", name="bins")
    bins.adapt(np.array(words, "float32"))
    inputs = [keras.Input((2,), dtype="int64"), keras.Input((2,))]
    floats = [layers.Rescaling(1.0)(each) for each in (lookup(inputs[0]), bins(inputs[1]))]
    model = keras.Model(inputs, layers.Dense(1)(layers.Concatenate()(floats)))
    model.compile("adam", "mse")
    return model


LOOKED_UP = [np.array([[1, 2], [9, 8]]), np.array([[1.0, 9.0], [3.0, 5.0]], "float32")]


def test_vocabularies_come_back(publish: Any, caplog: pytest.LogCaptureFixture) -> None:
    """From a `.keras` file a layer gets the vocabulary and the bins that it was trained with, without a warning."""
    model, fresh = lookup_of([1, 2, 3, 4]), lookup_of([9, 8, 7, 6])
    fresh.predict(LOOKED_UP, verbose=0)  # which traces a function with the other vocabulary in it
    with caplog.at_level(logging.WARNING, "wandb_ckpt"):
        wandb_ckpt.restore(fresh, publish(model, "m.keras"))
    assert fresh.get_layer("words").get_vocabulary() == model.get_layer("words").get_vocabulary()
    assert fresh.get_layer("bins").bin_boundaries == model.get_layer("bins").bin_boundaries
    assert (fresh.predict(LOOKED_UP, verbose=0) == model.predict(LOOKED_UP, verbose=0)).all()
    assert "outside of the weights" not in caplog.text


def test_a_vocabulary_that_a_layer_can_not_take_is_refused(publish: Any) -> None:
    """A layer that was made with another vocabulary is named; one that was made with the same is as good."""
    ref = publish(lookup_of([1, 2, 3, 4]), "m.keras")
    other = lookup_of([9, 8, 7, 6], vocabulary=[9, 8, 7, 6])
    with pytest.raises(
        wandb_ckpt.RestoreError, match=r"another vocabulary for the layer 'words'.*nothing was restored"
    ):
        wandb_ckpt.restore(other, ref)
    wandb_ckpt.restore(lookup_of([1, 2, 3, 4], vocabulary=[4, 3, 2, 1]), ref)


@pytest.mark.parametrize("filepath", ["m.weights.h5", "m.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_what_a_format_does_not_keep_is_said(publish: Any, filepath: str, caplog: pytest.LogCaptureFixture) -> None:
    """Other formats have no vocabulary: a warning names the layers that must be as they were."""
    model = lookup_of([1, 2, 3, 4])
    ref = publish(model, filepath, weights_only=filepath == "m.weights.h5")
    with caplog.at_level(logging.WARNING, "wandb_ckpt"):
        wandb_ckpt.restore(lookup_of([1, 2, 3, 4]), ref)
    assert "does not have the state of 'words' (layers/integer_lookup), 'bins' (layers/discretization)" in caplog.text


class Assets(layers.Layer):  # type: ignore[misc]
    """A layer of the user's that saves a file in a folder of its own."""

    def __init__(self, text: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text = text

    def call(self, inputs: Any) -> Any:
        """Its inputs."""
        return inputs

    def save_assets(self, dir_path: str) -> None:
        """Saves its text."""
        (Path(dir_path) / "sub").mkdir()
        (Path(dir_path) / "sub" / "text").write_text(self.text)

    def load_assets(self, dir_path: str) -> None:
        """Takes its text."""
        self.text = (Path(dir_path) / "sub" / "text").read_text()


def test_a_users_own_assets_come_back(publish: Any) -> None:
    """A layer's own files are given to its `load_assets`."""
    ref = publish(keras.Sequential([keras.Input((4,)), Assets("one"), layers.Dense(1)]), "m.keras")
    fresh = keras.Sequential([keras.Input((4,)), Assets("two"), layers.Dense(1)])
    wandb_ckpt.restore(fresh, ref)
    assert fresh.layers[0].text == "one"


# ---- values that are not finite --------------------------------------------------------------------------------


class Poison(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes a weight NaN at the end of an epoch, after its value was monitored."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Poisons one weight."""
        if epoch == self.epoch:
            kernel = self.model.layers[-1].kernel
            kernel.assign(keras.ops.full(kernel.shape, float("nan")))


def test_nan_is_told_with_the_newest_finite_one(start_run: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What became NaN is restored with a warning that names the newest version that is not, by its values."""
    callbacks = [
        logs_of(keras, [4.0, 3.0, 2.0, 1.0], "loss"),
        Poison(2),
        WandbModelCheckpoint("m.keras", monitor="loss"),
    ]
    with start_run(id="r1", resume="allow"):
        model_of(keras).fit(X, Y, epochs=4, verbose=0, callbacks=callbacks)
    with start_run(id="r1", resume="allow") as run, caplog.at_level(logging.WARNING, "wandb_ckpt"):
        assert WandbModelCheckpoint("m.keras", monitor="loss").resume(model_of(keras)) == 4
        name = f"{run.entity}/{run.project}/run_r1_model"
        assert f"{name}:v3 has NaN or infinite values, such as in layers/dense" in caplog.text
        assert f"without any is: {name}:v1." in caplog.text
        caplog.clear()
        wandb_ckpt.restore(model_of(keras), "v2")
        assert f"{name}:v2 has NaN" in caplog.text
        caplog.clear()
        wandb_ckpt.restore(model_of(keras), "v1")
        assert "NaN" not in caplog.text
