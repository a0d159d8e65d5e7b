"""The metadata of a version: the callback's own keys, and checks of the user's keys."""

import json
from collections.abc import Mapping
from typing import Any

from wandb_ckpt.checkpoint import METADATA_KEYS
from wandb_ckpt.errors import ArgumentError

# W&B's limit on top-level metadata keys (wandb/sdk/artifacts/_validators.py, 0.31).
_METADATA_MAX = 100

TEMPLATE_KEY, SHARD_KEY = "template", "shard"

OUR_KEYS = METADATA_KEYS | {TEMPLATE_KEY, SHARD_KEY}


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the user's metadata if W&B accepts it together with the callback's own.

    Raises:
        ArgumentError: It is not a mapping of JSON values, has a key of the callback, or has too many keys.
    """
    if not isinstance(metadata or {}, Mapping):
        raise ArgumentError(f"metadata={metadata!r} is not a mapping: expected a dict of JSON values.")
    metadata = dict(metadata or {})
    if clash := sorted(OUR_KEYS & set(metadata)):
        raise ArgumentError(f"metadata has the keys {clash}, which the callback itself sets. Rename these keys.")
    if len(metadata) + len(OUR_KEYS) > _METADATA_MAX:
        raise ArgumentError(
            f"metadata has {len(metadata)} keys: expected at most {_METADATA_MAX - len(OUR_KEYS)}, because W&B "
            f"accepts {_METADATA_MAX} and the callback sets {len(OUR_KEYS)}. Nest some of them: only the top level "
            "counts."
        )
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"metadata is not JSON ({error}): expected strings, finite numbers, lists and dicts."
        ) from error
    return metadata
