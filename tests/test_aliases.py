"""`best` is always true, `latest` follows the newest, and the monitored value is in the metadata."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training import Seen, X, Y, fit, logs_of, versions
from wandb_ckpt.keras import WandbModelCheckpoint
from wandb_ckpt.publishing.artifact_target import EarlierBest
from wandb_ckpt.wandb_api.errors import UnreachableError

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def train(start_run: Callable[..., Any], tmp_path: Path) -> Callable[..., list[Seen]]:
    """Trains with given values of val_loss, one an epoch, and returns the versions."""

    def train(values: list[float], **arguments: Any) -> list[Seen]:
        run = start_run()
        callback = WandbModelCheckpoint("m-{epoch}.keras", **arguments)
        monitor = arguments.get("monitor", "val_loss")
        fit(keras, [logs_of(keras, values, monitor), callback], epochs=len(values))
        return versions(run.path, tmp_path / "fetched", arguments.get("artifact_name"))

    return train


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([3.0, 1.0, 2.0], "auto", 1),
        ([3.0, 1.0, 2.0], "max", 0),
        ([1.0, 2.0, 3.0], "min", 0),
        ([2.0, 2.0, 2.0], "min", 0),
        ([NAN, 2.0, 1.0, NAN], "min", 2),
        ([INF, 2.0, -INF], "min", 1),
        ([NAN, NAN], "min", None),
    ],
)
def test_best_is_on_the_best_of_all_saves(train: Any, values: list[float], mode: str, best: int | None) -> None:
    """Without save_best_only `best` sits on the version with the best value, never on NaN; `latest` on the last."""
    seen = train(values, mode=mode)
    assert [number for number, version in enumerate(seen) if "best" in version.aliases] == [best][: best is not None]
    assert [number for number, version in enumerate(seen) if "latest" in version.aliases] == [len(values) - 1]
    assert [version.aliases & {f"epoch_{n}" for n in range(9)} for version in seen] == [
        {f"epoch_{number}"} for number in range(len(values))
    ]


def test_save_best_only_publishes_improvements_only(train: Any) -> None:
    """wandb's callback dies here: epochs that do not improve save nothing and publish nothing."""
    seen = train([3.0, 4.0, 1.0, 2.0], save_best_only=True)
    assert [version.aliases for version in seen] == [{"epoch_0"}, {"latest", "best", "epoch_2"}]
    assert [list(version.files) for version in seen] == [["m-1.keras"], ["m-3.keras"]]


@pytest.mark.parametrize("first", [NAN, INF])
def test_a_first_nan_does_not_become_the_best(train: Any, first: float) -> None:
    """In Keras 3.15 a first NaN is the best for ever; here the first number that can be compared is saved."""
    seen = train([first, 1.0, 2.0, 0.5], save_best_only=True)
    assert seen[-1].aliases == {"latest", "best", "epoch_3"}
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]
    assert "epoch_2" not in {alias for version in seen for alias in version.aliases}


def test_metadata_and_description_carry_the_facts(train: Any) -> None:
    """The monitored value, best so far, epoch, step, all logs, format and Keras are in the metadata."""
    first, second = train([0.5, 0.75], metadata={"dataset": "lines"}, aliases=["mine"], artifact_name="own-name")
    facts = second.metadata
    expected = {
        "monitor": "val_loss",
        "mode": "min",
        "value": 0.75,
        "best": 0.5,
        "epoch": 1,
        "batch": None,
        "step": 8,
    }
    assert expected.items() <= facts.items()
    assert (facts["format"], facts["file"], facts["keras_version"]) == ("keras", "m-2.keras", keras.__version__)
    assert facts["backend"] == keras.backend.backend()
    assert facts["logs"].keys() == {"loss", "mae", "val_loss", "val_mae"}
    assert facts["dataset"] == "lines"
    assert "**val\\_loss = 0.5**, the best so far" in first.description
    assert "**val\\_loss = 0.75** (best so far: 0.5)" in second.description
    assert "mine" in second.aliases


def test_missing_monitor_is_published_without_best(start_run: Any, tmp_path: Path) -> None:
    """A monitor that is not in the logs has no value and no best, and does not end training."""
    run = start_run()
    fit(keras, [WandbModelCheckpoint("m.keras", monitor="val_f1", mode="max")])
    seen = versions(run.path, tmp_path / "fetched")
    assert [version.metadata["value"] for version in seen] == [None, None]
    assert [version.aliases for version in seen] == [{"epoch_0"}, {"latest", "epoch_1"}]
    assert "**val\\_f1** has no finite value" in seen[0].description


def test_equal_weights_with_a_better_value(start_run: Any, tmp_path: Path) -> None:
    """W&B makes no new version of the same content: the one that it has says what is true of it as the best."""
    run = start_run()

    class Same(keras.Sequential):
        def save(self, filepath: Any, **kwargs: Any) -> None:
            Path(filepath).write_text("weights")

    model = Same([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    callbacks = [logs_of(keras, [3.0, 1.0, 2.0]), WandbModelCheckpoint("m.keras")]
    model.fit(X, Y, epochs=3, verbose=0, validation_split=0.5, callbacks=callbacks)
    (seen,) = versions(run.path, tmp_path / "fetched")
    assert (seen.metadata["value"], seen.metadata["epoch"]) == (1.0, 1)
    assert "**val\\_loss = 1**, the best so far" in seen.description
    assert seen.aliases == {"latest", "best", "epoch_0", "epoch_1", "epoch_2"}


def test_equal_weights_with_another_value(start_run: Any, tmp_path: Path) -> None:
    """A version that two checkpoints share has the facts of the newer one, unless it is `best` as the older one."""
    run = start_run()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    class Weights(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.set_weights([np.full((4, 1), float(epoch > 0), "float32"), np.zeros(1, "float32")])
            self.model.optimizer.iterations.assign(0)

    values = [1.0, 4.0, 3.0, 5.0]
    callbacks = [Weights(), logs_of(keras, values), WandbModelCheckpoint("m.weights.h5", save_weights_only=True)]
    model.fit(X, Y, epochs=4, verbose=0, validation_split=0.5, callbacks=callbacks)
    first, second = versions(run.path, tmp_path / "fetched")
    assert (first.metadata["value"], first.aliases) == (1.0, {"best", "epoch_0"})
    assert (second.metadata["value"], second.metadata["epoch"]) == (5.0, 3)
    assert second.aliases == {"latest", "epoch_1", "epoch_2", "epoch_3"}
    assert "val\\_loss = 5" in second.description


def test_the_runs_summary_has_the_best(start_run: Any, tmp_path: Path) -> None:
    """`best_<monitor>` and `best_epoch` are in the run's summary, as the old WandbCallback wrote them."""
    import wandb

    with start_run() as run:
        fit(keras, [logs_of(keras, [3.0, 1.0, 2.0]), WandbModelCheckpoint("m.keras")], epochs=3)
        path = run.path
    summary = wandb.Api().run(path).summary
    assert (summary["best_val_loss"], summary["best_epoch"]) == (1.0, 1)


def test_two_callbacks_do_not_steal_each_others_aliases(start_run: Any, tmp_path: Path) -> None:
    """A second callback with another path or monitor has an artifact of its own."""
    run = start_run()
    callbacks = [
        WandbModelCheckpoint("all-{epoch}.keras"),
        WandbModelCheckpoint("mae-{epoch}.weights.h5", monitor="val_mae", mode="max", save_weights_only=True),
        WandbModelCheckpoint("all-{epoch}.keras", monitor="loss"),
    ]
    fit(keras, [logs_of(keras, [1.0, 2.0]), logs_of(keras, [1.0, 2.0], "val_mae"), *callbacks])
    base = f"run_{run.id}_model"
    names = [callback.checkpoints[0].artifact for callback in callbacks]
    assert names == [base, f"{base}-mae", f"{base}-all"]
    first, second, third = (versions(run.path, tmp_path / name, name) for name in names)
    assert [version.aliases for version in first] == [{"best", "epoch_0"}, {"latest", "epoch_1"}]
    assert [version.aliases for version in second] == [{"epoch_0"}, {"latest", "best", "epoch_1"}]
    assert len(third) == 2


def test_a_cell_that_is_run_again(start_run: Any, tmp_path: Path) -> None:
    """A new callback saves what is the best of its own training; `best` stays on the best of the whole run."""
    run = start_run()
    for values in ([1.0, 2.0], [3.0, 0.5], [0.75, 4.0]):
        fit(keras, [logs_of(keras, values), WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True)])
    seen = versions(run.path, tmp_path / "fetched")
    assert [version.metadata["value"] for version in seen] == [1.0, 3.0, 0.5, 0.75]
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]
    assert [version.metadata["best"] for version in seen] == [1.0, 1.0, 0.5, 0.5]
    assert "latest" in seen[-1].aliases


def test_a_run_id_that_was_used_before(start_run: Any, tmp_path: Path) -> None:
    """Without `resume` a second run of an id does not take `best` from a better version of the first one."""
    for values in ([3.0, 1.0], [2.0, 4.0], [5.0, 0.5]):
        with start_run(id="again") as run:
            callback = WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True)
            fit(keras, [logs_of(keras, values), callback])
    seen = versions(run.path, tmp_path / "fetched")
    assert [version.metadata["value"] for version in seen] == [3.0, 1.0, 2.0, 5.0, 0.5]
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]
    assert [version.metadata["best"] for version in seen] == [3.0, 1.0, 1.0, 1.0, 0.5]
    assert [outcome.checkpoint.is_best for outcome in callback.checkpoints] == [False, True]


def test_an_answer_that_does_not_come(caplog: pytest.LogCaptureFixture) -> None:
    """W&B is asked some times for the best so far; then checkpoints are published without the answer."""
    asked: list[str] = []

    def question() -> float | None:
        asked.append("best")
        raise UnreachableError("permission denied")

    earlier = EarlierBest("m", question)
    while not caplog.records:
        try:
            assert earlier.ask() is None
        except UnreachableError:
            assert len(asked) < 10
    assert earlier.ask() is None
    assert (len(asked), caplog.text.count("permission denied")) == (2, 1)


def test_a_name_that_runs_share(start_run: Any, tmp_path: Path) -> None:
    """Under one `artifact_name` the second run saves its own best locally, and `best` stays with the better one."""
    for values in ([1.0], [2.0], [0.5]):
        with start_run() as run:
            callback = WandbModelCheckpoint("m.keras", artifact_name="shared", save_best_only=True)
            fit(keras, [logs_of(keras, values), callback], epochs=1)
        Path("m.keras").unlink()  # what this run has saved
    seen = versions(run.path, tmp_path / "fetched", "shared")
    assert [version.metadata["value"] for version in seen] == [1.0, 2.0, 0.5]
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]


def test_a_resumed_run_goes_on(start_run: Any, tmp_path: Path) -> None:
    """The first callback of a resumed run saves only what is better than before; a second one begins anew."""
    parts = [[[1.0]], [[2.0, 0.5], [3.0]]]
    for trainings in parts:
        with start_run(id="r1", resume="allow") as run:
            for values in trainings:
                callback = WandbModelCheckpoint("m-{epoch}.keras", save_best_only=True)
                fit(keras, [logs_of(keras, values), callback], epochs=len(values))
    seen = versions(run.path, tmp_path / "fetched")
    assert [version.metadata["value"] for version in seen] == [1.0, 0.5, 3.0]
    assert [version.metadata["value"] for version in seen if "best" in version.aliases] == [0.5]


@pytest.mark.parametrize(
    ("folds", "best", "epoch"), [(([0.5, 0.1], [0.9, 0.8]), 0.1, 1), (([0.9, 0.8], [0.1, 0.5]), 0.1, 0)]
)
def test_folds_in_one_run(
    start_run: Any, caplog: pytest.LogCaptureFixture, folds: Any, best: float, epoch: int
) -> None:
    """The summary has the best value of all callbacks with one monitor, and its epoch; a vague name is told."""
    import wandb

    with start_run() as run:
        for fold, values in enumerate(folds):
            fit(keras, [logs_of(keras, values), WandbModelCheckpoint(f"fold{fold}/model.keras")])
        fit(keras, [WandbModelCheckpoint("mae.keras", monitor="val_mae")], epochs=1)
    summary = wandb.Api().run(run.path).summary
    assert (summary["best_val_loss"], summary["best_epoch"], summary["best_val_mae_epoch"]) == (best, epoch, 0)
    (told,) = [record.getMessage() for record in caplog.records if "artifact_name" in record.getMessage()]
    assert "fold1/model.keras" in told
    assert f"run_{run.id}_model-model" in told


@pytest.mark.parametrize("value", [None, np.array([1.0, 2.0])])
def test_a_monitor_that_can_not_be_compared(
    start_run: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path, value: Any
) -> None:
    """A monitor that is not logged, or is no number, is told once, and `keep_best` deletes nothing."""
    run = start_run()
    logs = [logs_of(keras, [value] * 3, "val_f1")] if value is not None else []
    fit(keras, [*logs, WandbModelCheckpoint("m.keras", monitor="val_f1", mode="max", keep_best=1)], epochs=3)
    assert len(versions(run.path, tmp_path / "fetched")) == 3
    first, second = (record.getMessage() for record in caplog.records if record.name == "wandb_ckpt")
    assert first.startswith("The logs have no")
    assert "loss, mae, val_loss, val_mae" in first
    assert second.startswith("Nothing is deleted: keep_best=1")
