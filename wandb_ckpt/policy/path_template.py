"""PathTemplate: the `filepath` of a callback, read once."""

from dataclasses import dataclass
from pathlib import Path
from string import Formatter

_ENDINGS = (".keras", ".weights.h5", ".h5")


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """Where a callback saves, with placeholders such as `{epoch:02d}`.

    Attributes:
        text: As the user gave it.

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
        """The name of the file without its placeholders and its ending."""
        name = next((self.name.removesuffix(end) for end in _ENDINGS if self.name.endswith(end)), self.name)
        return "".join(literal for literal, *_ in Formatter().parse(name))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the placeholders in the path, in their order."""
        return tuple(field for _, field, _, _ in Formatter().parse(self.text) if field)

    @property
    def folder(self) -> Path | None:
        """The folder on this disk that all files go to; `None` if it has placeholders or is in a remote store."""
        folder = Path(self.text).parent
        return None if is_remote(self.text) or "{" in str(folder) else folder


def is_remote(path: str) -> bool:
    """Return whether a path is in a remote store.

    >>> is_remote("gs://bucket/m.keras"), is_remote("out/m.keras")
    (True, False)
    """
    return "://" in path
