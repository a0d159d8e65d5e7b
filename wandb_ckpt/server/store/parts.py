"""Parts: the pieces of objects that are uploaded in parts, until they are put together."""

from __future__ import annotations

from collections.abc import Iterable

from wandb_ckpt.server.store.database import Database
from wandb_ckpt.server.store.records import Part, optional, record

__all__ = ["announce", "forget", "of_object", "part", "set_blob"]


def announce(db: Database, object_id: int, parts: Iterable[tuple[int, str]]) -> None:
    """Parts (number, MD5) are going to be uploaded; those with the same content as before are kept."""
    with db.atomic():
        db.run_many(
            "INSERT INTO parts (object_id, number, md5) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
            "blob = CASE WHEN md5 = excluded.md5 THEN blob END, md5 = excluded.md5",
            [(object_id, number, md5) for number, md5 in parts],
        )


def part(db: Database, object_id: int, number: int) -> Part | None:
    """One part."""
    return optional(Part, db.row("SELECT * FROM parts WHERE object_id = ? AND number = ?", object_id, number))


def of_object(db: Database, object_id: int) -> list[Part]:
    """The parts of an object in order."""
    rows = db.rows("SELECT * FROM parts WHERE object_id = ? ORDER BY number", object_id)
    return [record(Part, row) for row in rows]


def set_blob(db: Database, object_id: int, number: int, blob: str, size: int) -> None:
    """The part was uploaded."""
    with db.atomic():
        db.run(
            "UPDATE parts SET blob = ?, size = ? WHERE object_id = ? AND number = ?", blob, size, object_id, number
        )


def forget(db: Database, object_id: int) -> None:
    """The parts were put together, or given up."""
    with db.atomic():
        db.run("DELETE FROM parts WHERE object_id = ?", object_id)
