"""Checks of inputs that several mutations share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wandb_ckpt.server.names import check_alias, check_tag

__all__ = ["Input", "alias_names", "tag_names"]

Input = Mapping[str, Any]


def alias_names(aliases: Sequence[Input] | None) -> list[str]:
    """Return the checked names in a list of alias inputs."""
    return [check_alias(each["alias"]) for each in aliases or []]


def tag_names(tags: Sequence[Input] | None) -> list[str]:
    """Return the checked names in a list of tag inputs."""
    return [check_tag(each["tag_name"]) for each in tags or []]
