"""PathTemplate: the `filepath` of a callback with its placeholders."""

from dataclasses import dataclass
from pathlib import Path
from string import Formatter

_ENDINGS = (".keras", ".weights.h5", ".h5")


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """The `filepath` of a callback, with placeholders such as `{epoch:02d}`.

    Attributes:
        text: The path as the user passed it.

    >>> template = PathTemplate("out/acc-{epoch:02d}-{val_loss:.2f}.keras")
    >>> template.fields, template.name, template.stem, str(template.folder)
    (('epoch', 'val_loss'), 'acc-{epoch:02d}-{val_loss:.2f}.keras', 'acc--', 'out')
    """

    text: str

    @property
    def name(self) -> str:
        """The name of the file, with its placeholders."""
        return Path(self.text).name

    @property
    def stem(self) -> str:
        """The name of the file without its placeholders and its extension."""
        # In this order: a log's name may have a slash.
        name = Path("".join(literal for literal, *_ in Formatter().parse(self.text))).name
        return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the placeholders, in the order of the path."""
        return tuple(field for _, field, _, _ in Formatter().parse(self.text) if field)

    @property
    def folder(self) -> Path | None:
        """The folder on this disk for all files; `None` if it has placeholders or is in a remote store."""
        folder = Path(self.text).parent
        return None if is_remote(self.text) or "{" in str(folder) else folder


def is_remote(path: str) -> bool:
    """Return whether a path is in a remote store.

    >>> is_remote("gs://bucket/m.keras"), is_remote("out/m.keras")
    (True, False)
    """
    return "://" in path
