"""Mutations: API keys."""

from __future__ import annotations

from typing import Any

from wandb_ckpt.server import ids
from wandb_ckpt.server.errors import ForbiddenError
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations.version_changes import Input
from wandb_ckpt.server.store import accounts

__all__ = ["MUTATIONS"]


def generate_api_key(context: Context, data: Input) -> dict[str, Any]:
    """A further key for the user. This answer is the only place where it can be seen."""
    description = data.get("description")
    key_id, key = context.services.accounts.add_key(context.user, description)
    return {"api_key": {"id": ids.encode("ApiKey", key_id), "name": key, "description": description}}


def delete_api_key(context: Context, data: Input) -> dict[str, Any]:
    """Take a key of the user away; the last one stays, or nobody could enter again."""
    if len(accounts.keys(context.db, context.user.id)) <= 1:
        raise ForbiddenError("This is the only API key of the account: make another one first.")
    return {"success": accounts.remove_key(context.db, context.user.id, ids.decode("ApiKey", data["id"]))}


MUTATIONS = {"generateApiKey": generate_api_key, "deleteApiKey": delete_api_key}
