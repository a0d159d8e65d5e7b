"""Where the Keras parent itself ends training, it goes on; where an argument can't work, it says so early."""

import re
from pathlib import Path
from typing import Any

import keras
import pytest

import wandb_ckpt
from training import fit, logs_of, versions
from wandb_ckpt.keras import WandbModelCheckpoint


@pytest.mark.parametrize("mode", ["auto", "min"])
def test_integer_save_freq_with_save_best_only(start_run: Any, tmp_path: Path, mode: str) -> None:
    """Keras 3.15 raises a TypeError at the second save of the first epoch; here each improvement is a version."""
    run = start_run()
    callback = WandbModelCheckpoint("m.keras", monitor="loss", mode=mode, save_best_only=True, save_freq=1)
    fit(keras, [callback], epochs=1)
    seen = versions(run.path, tmp_path / "fetched")
    values = [version.metadata["value"] for version in seen]
    assert values == sorted(values, reverse=True)
    assert seen[0].aliases >= {"epoch_0_batch_0"}
    assert "best" in seen[-1].aliases


def test_a_metric_of_unknown_direction(start_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keras 3.15 raises a ValueError although nothing is to be compared; here versions just have no `best`."""
    run = start_run()
    fit(keras, [logs_of(keras, [1.0, 2.0], "custom"), WandbModelCheckpoint("m.keras", monitor="custom")])
    seen = versions(run.path, tmp_path / "fetched")
    assert [version.aliases for version in seen] == [{"epoch_0"}, {"latest", "epoch_1"}]
    assert [version.metadata["value"] for version in seen] == [1.0, 2.0]
    assert caplog.text.count("Pass mode='min' or mode='max'") == 1


def test_a_metric_of_unknown_direction_to_compare(start_run: Any) -> None:
    """With save_best_only Keras's own error comes through: there is nothing that could be done."""
    start_run()
    callback = WandbModelCheckpoint("m.keras", monitor="custom", save_best_only=True)
    if callback.monitor_op is not None:
        pytest.skip(f"Keras {keras.__version__} takes any metric as better when lower")
    with pytest.raises(ValueError, match="mode='max'"):
        fit(keras, [logs_of(keras, [1.0], "custom"), callback])


def test_a_metric_of_unknown_direction_to_compare_within_epochs(start_run: Any) -> None:
    """Keras 3.15 says nothing of use at the second batch; here the first one says which argument to pass."""
    start_run()
    callback = WandbModelCheckpoint("m.keras", monitor="custom", save_best_only=True, save_freq=1)
    if callback.monitor_op is not None:
        pytest.skip(f"Keras {keras.__version__} takes any metric as better when lower")
    with pytest.raises(wandb_ckpt.ArgumentError, match="mode='min' or mode='max'"):
        fit(keras, [callback])


def test_batch_in_the_path_of_epoch_saves(start_run: Any, tmp_path: Path) -> None:
    """Keras raises a KeyError for `{batch}` with save_freq="epoch"; here it is the epoch's last batch."""
    run = start_run()
    fit(keras, [WandbModelCheckpoint("m-{epoch}-{batch:03d}.keras")])
    seen = versions(run.path, tmp_path / "fetched")
    assert [list(version.files) for version in seen] == [["m-1-004.keras"], ["m-2-004.keras"]]


def test_a_metric_named_epoch(start_run: Any, tmp_path: Path) -> None:
    """Keras passes it to str.format beside its own epoch, a TypeError; here the path has Keras's epoch."""
    run = start_run()
    fit(keras, [logs_of(keras, [7.0, 8.0], "epoch"), WandbModelCheckpoint("m-{epoch}.keras", monitor="val_loss")])
    seen = versions(run.path, tmp_path / "fetched")
    assert [list(version.files) for version in seen] == [["m-1.keras"], ["m-2.keras"]]
    assert seen[0].metadata["logs"]["epoch"] == 7.0


def test_an_array_as_monitor(start_run: Any, tmp_path: Path) -> None:
    """Keras warns and saves; the version has no value and no `best`."""
    run = start_run()
    callback = WandbModelCheckpoint("m.keras", monitor="loss", save_best_only=True)
    callback.set_model(model := keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    model.compile("adam", "mse")
    with pytest.warns(UserWarning, match="scalar value"):
        callback.on_epoch_end(0, {"loss": keras.ops.convert_to_numpy([1.0, 2.0])})
    callback.on_train_end()
    (seen,) = versions(run.path, tmp_path / "fetched")
    assert seen.metadata["value"] is None
    assert "best" not in seen.aliases


def test_a_leftover_file_is_not_published(start_run: Any, tmp_path: Path) -> None:
    """wandb's callback uploads another job's file at the same path once an epoch."""
    run = start_run()
    Path("m.keras").write_bytes(b"another job's")
    fit(keras, [WandbModelCheckpoint("m.keras", save_best_only=True, initial_value_threshold=-1.0)])
    assert versions(run.path, tmp_path / "fetched") == []
    assert Path("m.keras").read_bytes() == b"another job's"


BAD = {
    "save_freq=True": ({"save_freq": True}, "every batch"),
    "save_freq=0": ({"save_freq": 0}, "1 or more"),
    "options on Keras 3": ({"options": object()}, r"wandb_ckpt\.tf_keras"),
    "period on Keras 3": ({"period": 2}, r"wandb_ckpt\.tf_keras"),
    "a NaN threshold": ({"initial_value_threshold": float("nan")}, "NaN"),
    "aliases": ({"aliases": ["a/b"]}, "without '/'"),
    "an alias that is ours": ({"aliases": ["best"]}, "sets on one version"),
    "artifact_name": ({"artifact_name": "a/b"}, "128 characters"),
    "metadata": ({"metadata": {"x": object()}}, "not JSON"),
    "infinite metadata": ({"metadata": {"x": float("inf")}}, "not JSON"),
    "reserved metadata": ({"metadata": {"epoch": 1}}, "itself sets"),
    "too much metadata": ({"metadata": {str(n): n for n in range(99)}}, "Nest some"),
    "metadata that is a list": ({"metadata": [1]}, "a dict of JSON values"),
    "on_error": ({"on_error": "ignore"}, "'warn' or 'raise'"),
    "policy": ({"policy": "copy"}, "'immutable' or 'mutable'"),
    "run": ({"run": "r1"}, r"wandb\.init\(\) returns"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_when_the_callback_is_made(case: str) -> None:
    """The error is a ValueError and says what was expected."""
    arguments, words = BAD[case]
    with pytest.raises(wandb_ckpt.ArgumentError, match=words):
        WandbModelCheckpoint("m.keras", **arguments)
    assert issubclass(wandb_ckpt.ArgumentError, ValueError)


@pytest.mark.parametrize("path", ["a{b.keras", "a}.keras", "{}.keras", "{0}.keras"])
def test_a_path_that_can_not_be_filled_in(path: str) -> None:
    """Keras would fail at the first save; it is refused when the callback is made."""
    with pytest.raises(wandb_ckpt.ArgumentError, match=r"filepath=.*'\{epoch:02d\}'"):
        WandbModelCheckpoint(path)
    WandbModelCheckpoint("{{a}}-{epoch}.keras")


def test_a_log_whose_name_has_a_slash(start_run: Any, tmp_path: Path) -> None:
    """Keras fills it in, though it looks like a folder."""
    run = start_run()
    logs = logs_of(keras, [2.0, 1.0], "acc/top1")
    fit(keras, [logs, WandbModelCheckpoint("m-{acc/top1:.1f}.keras", monitor="acc/top1", mode="min")])
    assert [list(version.files) for version in versions(run.path, tmp_path / "f")] == [
        ["m-2.0.keras"],
        ["m-1.0.keras"],
    ]


def test_unused_legacy_arguments_are_no_error() -> None:
    """wandb's documentation lists `options=None`; it does no harm."""
    assert WandbModelCheckpoint("m.keras", options=None).filepath == "m.keras"


def test_verbose_prints_what_the_parent_prints(start_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines are those of ModelCheckpoint with the same arguments, to the letter."""
    printed = []
    for callback_class in (keras.callbacks.ModelCheckpoint, WandbModelCheckpoint):
        start_run(mode="disabled")
        callback = callback_class("m-{epoch}.keras", verbose=1, save_best_only=True)
        fit(keras, [logs_of(keras, [3.0, 4.0, 1.0]), callback], epochs=3)
        printed.append(re.sub(r"wandb_ckpt.*\n", "", capsys.readouterr().out))
    assert printed[0] == printed[1] != ""
