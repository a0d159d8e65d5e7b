"""Binding: makes an executable schema of schema.graphql and the functions and nodes that answer it."""

# ruff: noqa: ARG001 (graphql-core calls with these arguments)
from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
)

from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.graphql.mutations import collection_changes as collections
from wandb_ckpt.server.graphql.mutations import key_changes as account_mutations
from wandb_ckpt.server.graphql.mutations import multipart, uploads
from wandb_ckpt.server.graphql.mutations import project_changes as projects
from wandb_ckpt.server.graphql.mutations import run_changes as runs
from wandb_ckpt.server.graphql.mutations import version_changes as artifacts
from wandb_ckpt.server.graphql.nodes.query_fields import QUERIES

__all__ = ["load_schema", "snake_case"]

_MUTATIONS: dict[str, Any] = {
    **runs.MUTATIONS,
    **projects.MUTATIONS,
    **account_mutations.MUTATIONS,
    **artifacts.MUTATIONS,
    **uploads.MUTATIONS,
    **multipart.MUTATIONS,
    **collections.MUTATIONS,
}
_LARGEST = 2**63


@functools.cache
def load_schema() -> GraphQLSchema:
    """The schema, ready to execute; the root value is the `Context`."""
    schema = build_schema(resources.files(__package__).joinpath("schema.graphql").read_text("utf-8"))
    for graphql_type in schema.type_map.values():
        _bind(graphql_type)
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    for name, field in schema.query_type.fields.items():
        field.resolve = _query(QUERIES[name])
    for name, field in schema.mutation_type.fields.items():
        field.resolve = _mutation(_MUTATIONS[name])
    return schema


def _bind(graphql_type: Any) -> None:
    if isinstance(graphql_type, GraphQLObjectType):
        for field in graphql_type.fields.values():
            field.resolve = field.resolve or _resolve
            for name, argument in field.args.items():
                argument.out_name = snake_case(name)
    elif isinstance(graphql_type, GraphQLInputObjectType):
        for name, input_field in graphql_type.fields.items():
            input_field.out_name = snake_case(name)
    elif isinstance(graphql_type, GraphQLInterfaceType | GraphQLUnionType):
        graphql_type.resolve_type = _typename
    elif isinstance(graphql_type, GraphQLScalarType) and graphql_type.name in _PARSERS:
        # graphql-core 3.2 calls it by the first name, 3.3 by the second.
        for method in ("parse_value", "coerce_input_value"):
            setattr(graphql_type, method, _PARSERS[graphql_type.name])


def _typename(value: Any, info: GraphQLResolveInfo[Any], abstract_type: GraphQLAbstractType) -> str:
    name: str = value.typename
    return name


@functools.cache
def snake_case(name: str) -> str:
    """`directUrl` as `direct_url`, `clientIDMapping` as `client_id_mapping`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    name = snake_case(info.field_name)
    value = source.get(name) if isinstance(source, Mapping) else getattr(source, name)
    return value(**arguments) if callable(value) else value


def _query(function: Any) -> Any:
    def resolve(context: Context, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        return function(context, **arguments)

    return resolve


def _mutation(function: Any) -> Any:
    def resolve(context: Context, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        context.forget()
        return function(context, arguments["input"])

    return resolve


# Scalars. graphql-core's own Int has 32 bits; sizes and steps need more.


def _parse_int64(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise GraphQLError(f"Int64 cannot represent {value!r}: expected an integer.")
    if not -_LARGEST <= value < _LARGEST:
        raise GraphQLError(f"Int64 cannot represent {value!r}: more than 64 bits.")
    return int(value)


def _parse_json_string(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError("JSONString cannot represent a value that is not a string.")
    try:
        json.loads(value)
    except (ValueError, RecursionError) as error:
        raise GraphQLError(f"JSONString cannot represent a string without JSON in it: {error}.") from error
    return value


_PARSERS = {"Int64": _parse_int64, "JSONString": _parse_json_string}
