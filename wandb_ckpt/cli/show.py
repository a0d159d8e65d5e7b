"""`wandb-ckpt show`: show all facts about one version."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from wandb_ckpt.cli._failure import errors_in_one_line
from wandb_ckpt.cli._output import (
    Column,
    age,
    number,
    one_line,
    print_facts,
    print_json,
    print_line,
    print_table,
    size,
)

if TYPE_CHECKING:
    from wandb_ckpt.browsing.listing import Details
    from wandb_ckpt.checkpoint import Checkpoint

_FILES = (Column("FILE", fold=True), Column("SIZE", right=True), Column("DIGEST", fold=True))


@click.command("show")
@click.argument("ref")
@click.option("--json", "as_json", is_flag=True, help="Print all facts as JSON.")
def command(ref: str, as_json: bool) -> None:
    """Show all facts about one version.

    These are its monitored value, the run that logged it, its metadata and its files. REF names a version, for
    example digits/run_3j2t0k7n_model:best or entity/project/name:v3.
    """
    with errors_in_one_line():
        from wandb_ckpt.browsing.listing import details_of

        details = details_of(ref)
    if as_json:
        print_json({"ref": details.version.ref, **asdict(details)})
        return
    print_facts(_facts(details))
    print_line()
    print_table(_FILES, [(file.name, size(file.size), file.digest) for file in details.files])


def _facts(details: "Details") -> list[tuple[str, str]]:
    version, checkpoint = details.version, details.version.checkpoint
    return [
        ("version", version.ref),
        ("aliases", " ".join(version.aliases)),
        ("monitored", _monitored(checkpoint)),
        ("epoch", _epoch(checkpoint)),
        ("saved at", checkpoint.saved_at),
        ("saved by", _saved_by(checkpoint)),
        ("logged by", details.run or ""),
        ("linked to", ", ".join(details.links)),
        ("created", f"{version.created_at} ({age(version.created_at)} ago)"),
        ("page", details.url),
        *((f"log {name}", number(value)) for name, value in sorted(checkpoint.logs.items())),
        *((f"metadata {name}", one_line(value)) for name, value in _users_metadata(version.metadata).items()),
    ]


def _monitored(checkpoint: "Checkpoint") -> str:
    if checkpoint.value is None:
        return checkpoint.monitor and f"{checkpoint.monitor} has no finite value"
    text = f"{checkpoint.monitor} = {number(checkpoint.value)}"
    if checkpoint.best is None:
        return text
    return f"{text}, {'the best so far' if checkpoint.is_best else f'best so far {number(checkpoint.best)}'}"


def _epoch(checkpoint: "Checkpoint") -> str:
    numbers = (("batch", checkpoint.batch), ("step", checkpoint.step))
    epoch = "" if checkpoint.epoch is None else str(checkpoint.epoch)
    return ", ".join(filter(None, (epoch, *(f"{name} {count}" for name, count in numbers if count is not None))))


def _saved_by(checkpoint: "Checkpoint") -> str:
    keras = f"Keras {checkpoint.keras_version} ({checkpoint.backend})" if checkpoint.keras_version else ""
    return ", ".join(filter(None, (keras, checkpoint.format and f"format {checkpoint.format}")))


def _users_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    from wandb_ckpt.browsing.listing import flattened
    from wandb_ckpt.policy.metadata import OUR_KEYS

    # Only if the callback logged the version: other programs may use these keys for something else.
    ours = OUR_KEYS if metadata.get("monitor") and "saved_at" in metadata else ()
    return flattened({name: value for name, value in metadata.items() if name not in ours})
