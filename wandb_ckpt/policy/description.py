"""The Markdown description of a version: the most important facts about a checkpoint. Pure."""

from wandb_ckpt.checkpoint import Checkpoint

_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>|#"})


def describe(checkpoint: Checkpoint) -> str:
    """Return the description: the monitored value, the epoch, and all logs as a table.

    >>> print(describe(Checkpoint(path="m.keras", format="keras", epoch=2, monitor="loss", value=0.5,
    ...                           best=0.5, is_best=True, keras_version="3.15.1", backend="jax")).split(chr(10))[0])
    **loss = 0.5**, the best so far · epoch 2 (zero-based)
    """
    lines = [" · ".join(_headline(checkpoint))]
    if checkpoint.logs:
        lines += ["", "| log | value |", "| --- | ---: |"]
        lines += [f"| {_escaped(name)} | {value:.6g} |" for name, value in sorted(checkpoint.logs.items())]
    lines += ["", f"Saved as {checkpoint.format} by Keras {checkpoint.keras_version} ({checkpoint.backend})."]
    return "\n".join(lines)


def _headline(checkpoint: Checkpoint) -> list[str]:
    parts = [_monitored(checkpoint), f"epoch {checkpoint.epoch} (zero-based)"]
    if checkpoint.batch is not None:
        parts.append(f"batch {checkpoint.batch}")
    if checkpoint.step is not None:
        parts.append(f"step {checkpoint.step}")
    return parts


def _monitored(checkpoint: Checkpoint) -> str:
    name = _escaped(checkpoint.monitor)
    if checkpoint.value is None:
        return f"**{name}** has no finite value"
    text = f"**{name} = {checkpoint.value:.6g}**"
    if checkpoint.is_best:
        return f"{text}, the best so far"
    return text if checkpoint.best is None else f"{text} (best so far: {checkpoint.best:.6g})"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPED)
