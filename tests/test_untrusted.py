"""Files that are made to do harm: published as real versions, refused before any value or code in them is used."""

import ctypes
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import h5py
import keras
import numpy as np
import pytest
from test_restore import state_of

import wandb_ckpt
from scripts import run_script
from training import X, Y, fit, model_of
from wandb_ckpt.browsing.diff import compare
from wandb_ckpt.formats.safe_reading import check
from wandb_ckpt.keras import WandbModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

Hostile = Callable[[h5py.Group, str, Path], None]

FORMS = ("keras", "weights.h5", "h5")


# ---- what is done to a file: each takes the place of one variable -----------------------------------------------


def soft_link(group: h5py.Group, name: str, canary: Path) -> None:
    """Another name for what is elsewhere in the file."""
    group.file.move(f"{group.name}/{name}", "elsewhere")
    group[name] = h5py.SoftLink("/elsewhere")


def external_link(group: h5py.Group, name: str, canary: Path) -> None:
    """A name for what is in another file."""
    del group[name]
    group[name] = h5py.ExternalLink(str(canary), "/secret")


def intermediate_link(group: h5py.Group, name: str, canary: Path) -> None:
    """The group of the variable is in another file."""
    parent, own = group.parent, group.name.rpartition("/")[2]
    with h5py.File(canary, "a") as file:
        file.require_group("group")[name] = np.ones(group[name].shape, group[name].dtype)
    del parent[own]
    parent[own] = h5py.ExternalLink(str(canary), "/group")


def external_storage(group: h5py.Group, name: str, canary: Path) -> None:
    """The values are bytes of another file."""
    shape, dtype = _take(group, name)
    group.create_dataset(name, shape, dtype, external=[(str(canary), 0, h5py.h5f.UNLIMITED)])


def virtual(group: h5py.Group, name: str, canary: Path) -> None:
    """The values are those of a data set in another file."""
    shape, dtype = _take(group, name)
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(canary), "secret", shape=shape)
    group.create_virtual_dataset(name, layout)


def shape_bomb(group: h5py.Group, name: str, canary: Path) -> None:
    """A gigabyte that was never written; Keras itself refuses more than four."""
    _take(group, name)
    group.create_dataset(name, (1 << 28,), "float32", chunks=(1 << 20,), compression="gzip")


def zeros_bomb(group: h5py.Group, name: str, canary: Path) -> None:
    """A gigabyte of zeros, well compressed."""
    _take(group, name)
    chunk = 1 << 22
    data = group.create_dataset(name, (1 << 28,), "float32", chunks=(chunk,), compression="gzip")
    packed = zlib.compress(bytes(4 * chunk))
    for start in range(0, 1 << 28, chunk):
        data.id.write_direct_chunk((start,), packed)


def chunk_bomb(group: h5py.Group, name: str, canary: Path) -> None:
    """A few values in a chunk of a gigabyte, which is read whole."""
    _take(group, name)
    data = group.create_dataset(name, (3,), "float32", chunks=(1 << 28,), maxshape=(None,), compression="gzip")
    data.id.write_direct_chunk((0,), zlib.compress(bytes(100)))


def text_bomb(group: h5py.Group, name: str, canary: Path) -> None:
    """A text of a gigabyte."""
    _take(group, name)
    group.create_dataset(name, (1,), "S1000000000")


def many_bombs(group: h5py.Group, name: str, canary: Path) -> None:
    """Many that are little enough each."""
    _take(group, name)
    for number in range(300):
        group.create_dataset(f"{name}{number}", (1 << 20,), "float32", chunks=(1 << 20,))


def long_texts(group: h5py.Group, name: str, canary: Path) -> None:
    """Texts of any length, of which all may be one piece of the file."""
    _take(group, name)
    group.create_dataset(name, data=["x" * 10_000] * 1000, dtype=h5py.string_dtype())


def cycle(group: h5py.Group, name: str, canary: Path) -> None:
    """A group that has itself in it."""
    group["again"] = group.file["/"]


def second_name(group: h5py.Group, name: str, canary: Path) -> None:
    """Two names for the same values."""
    group["again"] = group[name]


def references(group: h5py.Group, name: str, canary: Path) -> None:
    """References to objects in place of numbers."""
    _take(group, name)
    group.create_dataset(name, data=np.array([group.ref] * 3, h5py.ref_dtype), dtype=h5py.ref_dtype)


def attribute_with_references(group: h5py.Group, name: str, canary: Path) -> None:
    """The same in an attribute."""
    group[name].attrs["to"] = group.ref


def named_type(group: h5py.Group, name: str, canary: Path) -> None:
    """A type in place of values."""
    _take(group, name)
    group[name] = np.dtype("float32")


def _take(group: h5py.Group, name: str) -> tuple[Any, Any]:
    shape, dtype = group[name].shape, group[name].dtype
    del group[name]
    return shape, dtype


HOSTILE = {
    soft_link: "a soft or external link",
    external_link: "a soft or external link",
    intermediate_link: "a soft or external link",
    external_storage: "external storage",
    virtual: "virtual dataset",
    shape_bomb: "unpacks to at least 1,07",
    zeros_bomb: "unpacks to at least 1,07",
    chunk_bomb: "unpacks to at least 1,07",
    text_bomb: "unpacks to at least 1,000,",
    many_bombs: "unpacks to at least",
    long_texts: "unpacks to at least",
    cycle: "two names for the same object",
    second_name: "two names for the same object",
    references: "references to other objects",
    attribute_with_references: "references to other objects",
    named_type: "neither a group nor a dataset",
}
PLACES = ("weight", "optimizer")


def save(folder: Path, form: str, model: Any = None) -> Path:
    """A file as Keras saves it, of a model that was trained."""
    model = model or fit(keras, []).model
    folder.mkdir(exist_ok=True)
    path = folder / f"m.{form}"
    model.save_weights(path) if form == "weights.h5" else model.save(path)
    return path


def spoil(path: Path, hostile: Hostile, place: str, canary: Path) -> None:
    """Does something to one variable in a file, or in the HDF5 file within it."""
    if not path.name.endswith(".keras"):
        _spoil_hdf5(path, hostile, place, canary)
        return
    inner = path.with_name("model.weights.h5")
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    inner.write_bytes(contents[inner.name])
    _spoil_hdf5(inner, hostile, place, canary)
    with ZipFile(path, "w") as archive:
        for name, content in {**contents, inner.name: inner.read_bytes()}.items():
            archive.writestr(name, content)
    inner.unlink()


def _spoil_hdf5(path: Path, hostile: Hostile, place: str, canary: Path) -> None:
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "shape", ()) else None)
        name = next(name for name in names if name.startswith("optimizer") == (place == "optimizer"))
        group, _, own = name.rpartition("/")
        hostile(file[group], own, canary)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of this host that no version is to read."""
    path = tmp_path / "canary.h5"
    with h5py.File(path, "w") as file:
        file["secret"] = np.full((4, 3), 42.0, "float32")
    return path


@contextmanager
def unopened(path: Path) -> Iterator[None]:
    """Sees to it that a file is not even opened, by whatever library."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watch, os.fsencode(path), 0x20) >= 0  # IN_OPEN
    try:
        yield
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
    finally:
        os.close(watch)


def publish(start_run: Any, *paths: Path, **metadata: Any) -> list[str]:
    """Publishes each file as a version of its own, and returns their refs."""
    import wandb

    refs = []
    with start_run() as run:
        for number, path in enumerate(paths):
            artifact = wandb.Artifact(f"m{number}", type="model", metadata=metadata)
            artifact.add_file(str(path), path.name)
            run.log_artifact(artifact).wait()
            refs.append(str(artifact.qualified_name).replace(":latest", ":v0"))
    return refs


def check_refused(ref: str, other: str, match: str) -> None:
    """`restore`, `load_model` and `diff` each refuse a version, and change no model."""
    model = model_of(keras)
    before = state_of(model)
    for use in (partial(wandb_ckpt.restore, model), wandb_ckpt.load_model, partial(compare, other)):
        with pytest.raises(wandb_ckpt.RestoreError, match=match) as caught:
            use(ref)
        assert ref in str(caught.value)
    assert state_of(model) == before


# ---- HDF5 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_restore_load_model_and_diff_refuse(start_run: Any, tmp_path: Path, canary: Path, form: str) -> None:
    """Links, storage elsewhere and bombs are refused by each, and no other file is opened."""
    trained = fit(keras, []).model
    kinds = [soft_link, external_link, intermediate_link, external_storage, virtual, shape_bomb]
    paths = [save(tmp_path / kind.__name__, form, trained) for kind in kinds]
    for number, (kind, path) in enumerate(zip(kinds, paths, strict=True)):
        spoil(path, kind, PLACES[number % 2], canary)
    *refs, other = publish(start_run, *paths, save(tmp_path / "good", form, trained))
    with unopened(canary):
        for kind, ref in zip(kinds, refs, strict=True):
            check_refused(ref, other, HOSTILE[kind])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", FORMS)
def test_what_keras_never_writes_is_refused(tmp_path: Path, canary: Path, form: str, place: str) -> None:
    """Every kind, in every format, among the weights and in the optimizer: the error says what and where."""
    trained = fit(keras, []).model
    check(save(tmp_path / "good", form, trained), form, "e/p/m:v0")
    for kind, match in HOSTILE.items():
        path = save(tmp_path / kind.__name__, form, trained)
        spoil(path, kind, place, canary)
        with unopened(canary), pytest.raises(wandb_ckpt.RestoreError, match=f"^e/p/m:v0 is refused.*{match}"):
            check(path, form, "e/p/m:v0")


def test_resume_refuses_it_too(start_run: Any, tmp_path: Path, canary: Path) -> None:
    """A run's own newest checkpoint is checked in the same way."""
    import wandb

    path = save(tmp_path / "out", "h5")
    spoil(path, external_link, "optimizer", canary)
    model = model_of(keras)
    before = state_of(model)
    with start_run() as run, unopened(canary):
        artifact = wandb.Artifact(f"run_{run.id}_model", type="model", metadata={"epoch": 0})
        artifact.add_file(str(path))
        run.log_artifact(artifact).wait()
        with pytest.raises(wandb_ckpt.RestoreError, match="a soft or external link, 'optimizer_weights/"):
            WandbModelCheckpoint(tmp_path / "again" / "m.h5").resume(model)
    assert state_of(model) == before


def test_a_hostile_file_in_shards_is_refused(start_run: Any, tmp_path: Path, canary: Path) -> None:
    """Shards are checked when they are joined."""
    import wandb

    path = save(tmp_path, "weights.h5")
    spoil(path, external_storage, "weight", canary)
    whole = path.read_bytes()
    with start_run() as run:
        artifact = wandb.Artifact("m", type="model")
        for number, content in enumerate((whole[:1000], whole[1000:])):
            with artifact.new_file(f"m.weights.h5.shards/{number:04}-x", mode="wb") as file:
                file.write(content)
        run.log_artifact(artifact).wait()
        with unopened(canary), pytest.raises(wandb_ckpt.RestoreError, match="external storage"):
            wandb_ckpt.restore(model_of(keras), "m:v0")


MEMORY = """
import resource
from functools import partial
import wandb_ckpt
from wandb_ckpt.browsing.diff import compare
from wandb_ckpt.formats.safe_reading import check

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

good, *bombs = os.environ["REFS"].split()
wandb_ckpt.restore(model, good)
before = peak()
for bomb in bombs:
    for use in (partial(wandb_ckpt.restore, model), wandb_ckpt.load_model, partial(compare, good)):
        try:
            use(bomb)
        except wandb_ckpt.RestoreError as error:
            assert "unpacks to at least" in str(error), error
        else:
            raise AssertionError(bomb)
print("added", peak() - before)
"""


def test_a_bomb_takes_no_memory(start_run: Any, tmp_path: Path, canary: Path, project: str) -> None:
    """What would unpack to a gigabyte adds less than 300 MB to the peak of a process that refuses it."""
    trained = fit(keras, []).model
    paths = [save(tmp_path / "good", "keras", trained)]
    for hostile in (shape_bomb, zeros_bomb, chunk_bomb, text_bomb, many_bombs):
        paths.append(save(tmp_path / hostile.__name__, "keras", trained))
        spoil(paths[-1], hostile, "weight", canary)
    paths.append(save(tmp_path / "config", "keras", trained))
    replace_entry(paths[-1], "config.json", b"[" + b"[]," * (1 << 26) + b"[]]")
    refs = publish(start_run, *paths)
    code, output = run_script(MEMORY, tmp_path, project, "r1", REFS=" ".join(refs))
    assert code == 0, output
    assert int(output.rpartition("added ")[2].split()[0]) < 300


# ---- zip ---------------------------------------------------------------------------------------------------


def replace_entry(path: Path, name: str, content: bytes) -> None:
    """Writes an archive anew, compressed, with other content for one entry."""
    with ZipFile(path) as archive:
        contents = {each: archive.read(each) for each in archive.namelist()}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for each, old in contents.items():
            archive.writestr(each, content if each == name else old)


def truncated(path: Path) -> None:
    """The first half of it."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def two_of_a_name(path: Path) -> None:
    """Two entries with one name, of which readers may take either."""
    with ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("model.weights.h5", b"")


def outside(path: Path) -> None:
    """An entry that unpacks to another folder."""
    with ZipFile(path, "a") as archive:
        archive.writestr("assets/../../../canary.txt", b"x")


def absolute(path: Path) -> None:
    """The same by a path from the root."""
    with ZipFile(path, "a") as archive:
        archive.writestr("/tmp/canary.txt", b"x")


def bomb(path: Path) -> None:
    """A vocabulary of many zeros."""
    with ZipFile(path, "a", ZIP_DEFLATED) as archive:
        archive.writestr("assets/vocabulary.txt", bytes(1 << 26))


def two_sizes(path: Path) -> None:
    """A list of entries that says another size than what is stored."""
    data = bytearray(path.read_bytes())
    entry = data.rfind(b"PK\x01\x02")
    struct.pack_into("<L", data, entry + 24, struct.unpack_from("<L", data, entry + 24)[0] - 8)
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    """An entry that says it is encrypted."""
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def no_weights(path: Path) -> None:
    """Weights in a format that Keras reads, but never writes by itself."""
    with ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist() if name != "model.weights.h5"}
    with ZipFile(path, "w") as archive:
        for name, content in {**contents, "model.weights.npz": b""}.items():
            archive.writestr(name, content)


ARCHIVES = {
    truncated: "can't be read as a checkpoint of Keras",
    two_of_a_name: "2 entries with the name 'model.weights.h5'",
    outside: r"unpacked outside of the folder: 'assets/\.\./",
    absolute: "unpacked outside of the folder: '/tmp/canary.txt'",
    bomb: "unpacks to at least .* with 'assets/vocabulary.txt'",
    two_sizes: "two different sizes for the entry 'model.weights.h5'",
    encrypted: "encrypted",
    no_weights: "model.weights.h5",
}


@pytest.mark.parametrize("spoil_archive", ARCHIVES, ids=lambda each: each.__name__)
def test_a_hostile_archive_is_refused(start_run: Any, tmp_path: Path, spoil_archive: Callable[[Path], None]) -> None:
    """A `.keras` file that is cut off, or whose list of entries can be read in two ways, is not read at all."""
    trained = fit(keras, []).model
    good, bad = (save(tmp_path / name, "keras", trained) for name in ("good", "bad"))
    spoil_archive(bad)
    ref, other = publish(start_run, bad, good)
    check_refused(ref, other, ARCHIVES[spoil_archive])


@pytest.mark.parametrize("kind", [external_link, virtual, external_storage, chunk_bomb, shape_bomb])
def test_what_is_kept_for_lora_is_checked(start_run: Any, tmp_path: Path, canary: Path, kind: Hostile) -> None:
    """The file with the matrices of LoRA, which lies beside the weights, is checked as these are."""
    model, aside = with_lora(), tmp_path / "aside.h5"
    with start_run():
        model.fit(X, Y, verbose=0, callbacks=[WandbModelCheckpoint("good.keras", monitor="loss")])
    with ZipFile("good.keras") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    aside.write_bytes(entries["wandb_ckpt_lora.h5"])
    with h5py.File(aside, "a") as file:
        group = file["wandb_ckpt_lora/layers/dense"]
        kind(group, next(iter(group)), canary)
    with ZipFile("bad.keras", "w") as archive:
        for name, content in {**entries, "wandb_ckpt_lora.h5": aside.read_bytes()}.items():
            archive.writestr(name, content)
    (ref,) = publish(start_run, Path("bad.keras"))
    fresh = with_lora()
    before = state_of(fresh)
    with unopened(canary), pytest.raises(wandb_ckpt.RestoreError, match=HOSTILE[kind]):
        wandb_ckpt.restore(fresh, ref)
    assert state_of(fresh) == before


def with_lora() -> Any:
    """A model with a LoRA layer."""
    keras.utils.set_random_seed(7)
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((4,)), dense, keras.layers.Dense(1)])
    dense.enable_lora(2)
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize("form", ["h5", "weights.h5"])
def test_a_cut_off_hdf5_file_is_refused(start_run: Any, tmp_path: Path, form: str) -> None:
    """The first half of an HDF5 file."""
    trained = fit(keras, []).model
    good, bad = (save(tmp_path / name, form, trained) for name in ("good", "bad"))
    truncated(bad)
    ref, other = publish(start_run, bad, good)
    check_refused(ref, other, "can't be read as a checkpoint of Keras")


# ---- what is no harm ---------------------------------------------------------------------------------------


def test_a_file_that_was_compressed_is_restored(start_run: Any, tmp_path: Path) -> None:
    """What others have compressed in earnest is no bomb: chunks, gzip, a deflated archive, zeros in the optimizer."""
    model = model_of(keras)
    model.optimizer.build(model.trainable_variables)
    paths = [save(tmp_path, form, model) for form in FORMS]
    for path in paths:
        for place in PLACES:
            spoil(path, compressed, place, path)
    replace_entry(paths[0], "metadata.json", b"{}")
    for ref in publish(start_run, *paths):
        other = model_of(keras)
        other.set_weights([weight + 1 for weight in other.get_weights()])
        wandb_ckpt.restore(other, ref)
        assert state_of(other) == state_of(model)


def compressed(group: h5py.Group, name: str, _: Path) -> None:
    """The same values, compressed."""
    value = group[name][()]
    if value.shape:
        del group[name]
        group.create_dataset(name, data=value, chunks=value.shape, compression="gzip")


# ---- TensorFlow's formats ----------------------------------------------------------------------------------


def publish_folder(start_run: Any, folder: Path) -> str:
    """Publishes what is in a folder as one version, and returns its ref."""
    import wandb

    with start_run() as run:
        artifact = wandb.Artifact("m", type="model")
        artifact.add_dir(str(folder))
        run.log_artifact(artifact).wait()
    return str(artifact.qualified_name).replace(":latest", ":v0")


def test_a_tensorflow_checkpoint_that_names_another_is_refused(start_run: Any, tmp_path: Path) -> None:
    """A folder with a `checkpoint` file, where a SavedModel has its variables, leads nowhere else."""
    tf_keras = pytest.importorskip("tf_keras")
    model_of(tf_keras).save_weights(tmp_path / "secret")
    folder = tmp_path / "out" / "variables" / "variables"
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{tmp_path / "secret"}"')
    (tmp_path / "out" / "saved_model.pb").write_bytes(b"")
    model = model_of(tf_keras)
    with pytest.raises(wandb_ckpt.RestoreError, match="a folder 'variables', whose `checkpoint` file may name other"):
        wandb_ckpt.restore(model, publish_folder(start_run, tmp_path / "out"))


def test_a_tensorflow_checkpoint_without_its_data_is_refused(start_run: Any, tmp_path: Path) -> None:
    """An index that promises megabytes which the other file does not have."""
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.Input((2048,)), tf_keras.layers.Dense(2048)])
    model.save_weights(tmp_path / "out" / "tf")
    (tmp_path / "out" / "tf.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(wandb_ckpt.RestoreError, match=r"unpacks to at least .* with 'layer_with_weights-0/kernel/"):
        wandb_ckpt.restore(model, publish_folder(start_run, tmp_path / "out"))


def test_what_is_no_tensorflow_checkpoint_is_refused(start_run: Any, tmp_path: Path) -> None:
    """An index that is none is told like any damaged file."""
    tf_keras = pytest.importorskip("tf_keras")
    (tmp_path / "out").mkdir()
    for name in ("checkpoint", "tf.index", "tf.data-00000-of-00001"):
        (tmp_path / "out" / name).write_bytes(b"nothing")
    with pytest.raises(wandb_ckpt.RestoreError, match="v0 can't be read as a checkpoint of Keras: tf"):
        wandb_ckpt.restore(model_of(tf_keras), publish_folder(start_run, tmp_path / "out"))


# ---- safe_mode ---------------------------------------------------------------------------------------------


def lambda_model(family: Any, mark: Path) -> Any:
    """A model that leaves a mark on the disk when it is built."""
    layers = [family.Input((4,)), family.layers.Lambda(lambda x, mark=str(mark): [open(mark, "w").close(), x][1])]
    return family.Sequential([*layers, family.layers.Dense(1)])


@pytest.mark.parametrize("version", ["2.15.0", "3.15.1", "", None])
def test_metadata_chooses_no_unguarded_loader(start_run: Any, tmp_path: Path, version: str | None) -> None:
    """Whatever version a hostile `.h5` says it is of, its code does not run, and `safe_mode=False` is named."""
    tf_keras = pytest.importorskip("tf_keras")
    mark = tmp_path / "mark"
    path = save(tmp_path / "out", "h5", lambda_model(tf_keras, mark))
    mark.unlink()
    (ref,) = publish(start_run, path, keras_version=version)
    with pytest.raises(ValueError, match="safe_mode=False"):
        wandb_ckpt.load_model(ref)
    assert not mark.exists()
    if version == "2.15.0":
        wandb_ckpt.load_model(ref, safe_mode=False)
        assert mark.exists()


@pytest.mark.parametrize("name", ["m.h5", "folder"])
def test_what_tf_keras_can_t_guard_needs_a_word(start_run: Any, tmp_path: Path, name: str) -> None:
    """A `.h5` and a SavedModel of tf_keras are loaded with `safe_mode=False` only: said, with the reason."""
    tf_keras = pytest.importorskip("tf_keras")
    trained = fit(tf_keras, []).model
    trained.save(tmp_path / "out" / name)
    folder = tmp_path / "out" / name
    ref = publish_folder(start_run, folder if folder.is_dir() else folder.parent)
    with pytest.raises(
        wandb_ckpt.RestoreError, match=r"no code in it runs: .*pass safe_mode=False. Otherwise build the model"
    ):
        wandb_ckpt.load_model(ref) if name == "folder" else load_as_tf_keras(ref)


def load_as_tf_keras(ref: str) -> Any:
    """Loads a version as a user of legacy Keras does."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    try:
        return wandb_ckpt.load_model(ref)
    finally:
        del os.environ["TF_USE_LEGACY_KERAS"]


MODULE = "import pathlib; pathlib.Path(__file__).with_suffix('.mark').touch()\nclass Evil: pass\ndef evil(*_): pass\n"


def in_place_of_the_model(config: Any, module: str) -> None:
    """A class in its place."""
    config |= {"module": module, "class_name": "Evil", "registered_name": None}


def in_the_loss(config: Any, module: str) -> None:
    """A function for the loss."""
    config["compile_config"]["loss"] = {"module": module, "class_name": "function", "config": "evil"}


def in_a_layer(config: Any, module: str) -> None:
    """A function as an argument of a layer."""
    evil = {"module": module, "class_name": "function", "config": "evil", "registered_name": "function"}
    nothing = {"output_shape": None, "output_shape_type": "raw"}
    config["config"]["layers"][1]["config"] = {"name": "l", "function": evil, "function_type": "function", **nothing}
    config["config"]["layers"][1] |= {"class_name": "Lambda"}


def in_a_nested_model(config: Any, module: str) -> None:
    """The same, deeper."""
    config["config"]["layers"].append(json.loads(json.dumps(config)))
    in_a_layer(config["config"]["layers"][-1], module)


@pytest.mark.parametrize("place", [in_place_of_the_model, in_the_loss, in_a_layer, in_a_nested_model])
def test_no_module_is_imported(start_run: Any, tmp_path: Path, monkeypatch: Any, place: Any) -> None:
    """tf_keras imports whatever module a `.keras` file names: such a file is refused before."""
    tf_keras = pytest.importorskip("tf_keras")
    monkeypatch.syspath_prepend(tmp_path)
    name, mark = f"evil_{place.__name__}", tmp_path / f"evil_{place.__name__}.mark"
    (tmp_path / f"{name}.py").write_text(MODULE)
    path = save(tmp_path / "out", "keras", fit(tf_keras, []).model)
    edit_config(path, lambda config: place(config, name))
    (ref,) = publish(start_run, path, keras_version="2.21.0")
    with pytest.raises(wandb_ckpt.RestoreError, match=f"it names {name}.*safe_mode=False"):
        wandb_ckpt.load_model(ref)
    assert not mark.exists()
    with suppress(TypeError, AttributeError, ValueError):  # it is no model
        wandb_ckpt.load_model(ref, safe_mode=False)
    assert mark.exists()


def edit_config(path: Path, edit: Callable[[Any], None]) -> None:
    """Changes the configuration in a `.keras` file."""
    with ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    edit(config)
    replace_entry(path, "config.json", json.dumps(config).encode())


def with_builtin(config: Any) -> None:
    """A function of Python itself."""
    in_a_layer(config, "builtins")
    config["config"]["layers"][1]["config"]["function"]["config"] = "exec"


def with_file(config: Any) -> None:
    """A vocabulary in a file of the host."""
    config["config"]["layers"].insert(
        1, {"module": "keras.layers", "class_name": "StringLookup", "registered_name": None}
    )
    config["config"]["layers"][1]["config"] = {"vocabulary": "/etc/hostname"}


def with_tensorflow(config: Any) -> None:
    """A function of TensorFlow that writes files."""
    config["config"]["layers"][1] = {"module": "keras.layers", "class_name": "TFOpLambda", "registered_name": None}
    config["config"]["layers"][1]["config"] = {"name": "w", "function": "io.write_file"}


def with_loader(config: Any) -> None:
    """A function of Keras that loads other files, named as a class."""
    config["config"]["layers"][1] = {"module": "keras.models", "class_name": "X", "registered_name": "load_model"}
    config["config"]["layers"][1]["config"] = {}


@pytest.mark.parametrize("edit", [with_builtin, with_file, with_tensorflow, with_loader])
def test_what_reaches_out_of_keras_is_refused(start_run: Any, tmp_path: Path, edit: Any) -> None:
    """What tf_keras itself or Python has is no better, where it can read, write or run what a file names."""
    tf_keras = pytest.importorskip("tf_keras")
    path = save(tmp_path / "out", "keras", fit(tf_keras, []).model)
    edit_config(path, edit)
    (ref,) = publish(start_run, path, keras_version="2.21.0")
    with pytest.raises(wandb_ckpt.RestoreError, match="safe_mode=False"):
        wandb_ckpt.load_model(ref)


def layers_of_all_kinds(family: Any) -> Any:
    """A model with much of what models have."""
    layers = family.layers
    inputs = family.Input((4,))
    dense = layers.Dense(3, "relu", kernel_regularizer=family.regularizers.L2(0.1), bias_constraint="non_neg")(inputs)
    steps = layers.Bidirectional(layers.LSTM(2))(layers.Reshape((3, 1))(dense * 2.0 + 1.0))
    inner = family.Sequential([family.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5)])
    outputs = layers.Dense(1, activation=family.activations.gelu)(layers.Concatenate()([steps, inner(inputs)]))
    model = family.Model(inputs, outputs)
    schedule = family.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    model.compile(family.optimizers.Adam(schedule), family.losses.Huber(), metrics=["mae", family.metrics.AUC()])
    model.fit(X, Y > 2, verbose=0)
    return model


def words(family: Any) -> Any:
    """A model with a vocabulary."""
    text = family.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    return family.Sequential([family.Input((1,), dtype="string"), text, family.layers.Embedding(5, 2)])


@pytest.mark.parametrize("make", [layers_of_all_kinds, words])
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_what_keras_has_is_loaded_in_safe_mode(start_run: Any, tmp_path: Path, make: Any, name: str) -> None:
    """Models of layers, losses, metrics and schedules of either Keras need no word."""
    family = pytest.importorskip(name)
    made = make(family)
    (ref,) = publish(start_run, save(tmp_path / "out", "keras", made), keras_version=family.__version__)
    model = wandb_ckpt.load_model(ref)
    assert isinstance(model, family.Model)
    assert [each.tobytes() for each in model.get_weights()] == [each.tobytes() for each in made.get_weights()]


def test_tf_keras_takes_what_the_user_gives(start_run: Any, tmp_path: Path) -> None:
    """A class in `custom_objects` needs no word; the same file without it does."""
    tf_keras = pytest.importorskip("tf_keras")

    class Twice(tf_keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    model = tf_keras.Sequential([tf_keras.Input((4,)), Twice()])
    (ref,) = publish(start_run, save(tmp_path / "out", "keras", model), keras_version="2.21.0")
    assert (wandb_ckpt.load_model(ref, custom_objects={"Twice": Twice}).predict(X, verbose=0) == X * 2).all()
    with pytest.raises(wandb_ckpt.RestoreError, match=r"it names .*Twice"):
        wandb_ckpt.load_model(ref)


# ---- references -------------------------------------------------------------------------------------------


def test_a_reference_to_a_file_here(start_run: Any, tmp_path: Path) -> None:
    """A version may refer to a file of this host only if it knows its content: wandb compares the MD5."""
    import wandb

    path = save(tmp_path / "out", "keras")
    with start_run() as run:
        artifact = wandb.Artifact("m", type="model")
        artifact.add_reference(path.as_uri())
        run.log_artifact(artifact).wait()
        path.write_bytes(save(tmp_path / "other", "keras").read_bytes())
        with pytest.raises(ValueError, match="Digest mismatch"):
            wandb_ckpt.download("m:v0", root=tmp_path / "root")
    assert not list((tmp_path / "root").rglob("*"))
