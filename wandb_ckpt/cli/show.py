"""`wandb-ckpt show`: everything about one version."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from wandb_ckpt.cli._failure import in_one_line
from wandb_ckpt.cli._output import Column, age, flat, number, say, say_facts, say_json, say_table, size

if TYPE_CHECKING:
    from wandb_ckpt.browsing.listing import Details
    from wandb_ckpt.checkpoint import Checkpoint

_FILES = (Column("FILE", fold=True), Column("SIZE", right=True), Column("DIGEST", fold=True))


@click.command("show")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all that is known.")
def command(ref: str, as_json: bool) -> None:
    """Show one version: what was monitored, where it comes from, its metadata and files.

    REF is such as digits/run_3j2t0k7n_model:best, or entity/project/name:v3.
    """
    with in_one_line():
        from wandb_ckpt.browsing.listing import look_up

        details = look_up(ref)
    if as_json:
        say_json({"ref": details.version.ref, **asdict(details)})
        return
    say_facts(_facts(details))
    say()
    say_table(_FILES, [(file.name, size(file.size), file.digest) for file in details.files])


def _facts(details: "Details") -> list[tuple[str, str]]:
    version, checkpoint = details.version, details.version.checkpoint
    return [
        ("version", version.ref),
        ("aliases", " ".join(version.aliases)),
        ("monitored", _monitored(checkpoint)),
        ("moment", _moment(checkpoint)),
        ("saved by", _saved_by(checkpoint)),
        ("logged by", details.run or ""),
        ("linked to", ", ".join(details.links)),
        ("created", f"{version.created_at} ({age(version.created_at)} ago)"),
        ("page", details.url),
        *((f"log {name}", number(value)) for name, value in sorted(checkpoint.logs.items())),
        *((f"metadata {name}", flat(value)) for name, value in _users_metadata(version.metadata).items()),
    ]


def _monitored(checkpoint: "Checkpoint") -> str:
    if checkpoint.value is None:
        return checkpoint.monitor and f"{checkpoint.monitor} had no finite value"
    text = f"{checkpoint.monitor} = {number(checkpoint.value)}"
    if checkpoint.best is None:
        return text
    return f"{text}, {'the best so far' if checkpoint.is_best else f'best so far {number(checkpoint.best)}'}"


def _moment(checkpoint: "Checkpoint") -> str:
    names = ("epoch", "batch", "step")
    numbers = ((name, getattr(checkpoint, name)) for name in names)
    return ", ".join(f"{name} {number}" for name, number in numbers if number is not None)


def _saved_by(checkpoint: "Checkpoint") -> str:
    keras = f"Keras {checkpoint.keras_version} ({checkpoint.backend})" if checkpoint.keras_version else ""
    return ", ".join(filter(None, (keras, checkpoint.format and f"format {checkpoint.format}", checkpoint.saved_at)))


def _users_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    from wandb_ckpt.browsing.listing import flattened
    from wandb_ckpt.policy.metadata import OUR_KEYS

    ours = OUR_KEYS if metadata.get("monitor") and "saved_at" in metadata else ()  # others may use these names, too
    return flattened({name: value for name, value in metadata.items() if name not in ours})
