"""The executable schema: `schema.graphql` with the classes and functions that answer it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    get_named_type,
)

from wandb_ckpt.server import ids
from wandb_ckpt.server.graphql.context import Context, Fields, snake_case
from wandb_ckpt.server.graphql.mutations import (
    collection_changes,
    project_changes,
    run_changes,
    uploads,
    version_changes,
)
from wandb_ckpt.server.graphql.nodes.artifact_fields import ArtifactFields
from wandb_ckpt.server.graphql.nodes.collection_fields import (
    AliasFields,
    CollectionFields,
    MembershipFields,
    VersionedEdgeFields,
)
from wandb_ckpt.server.graphql.nodes.project_fields import ArtifactTypeFields, ProjectFields
from wandb_ckpt.server.graphql.nodes.query_fields import QueryFields
from wandb_ckpt.server.graphql.nodes.run_fields import RunFields
from wandb_ckpt.server.graphql.nodes.user_fields import EntityFields, OrganizationFields, UserFields
from wandb_ckpt.server.graphql.paging import connect
from wandb_ckpt.server.store.records import Collection

__all__ = ["FIELDS", "load_schema"]

FIELDS: Mapping[str, type[Fields[Any]]] = {
    "Query": QueryFields,
    "User": UserFields,
    "Entity": EntityFields,
    "Organization": OrganizationFields,
    "Project": ProjectFields,
    "ArtifactType": ArtifactTypeFields,
    "Run": RunFields,
    "ArtifactSequence": CollectionFields,
    "ArtifactPortfolio": CollectionFields,
    "VersionedArtifactEdge": VersionedEdgeFields,
    "ArtifactCollectionMembership": MembershipFields,
    "ArtifactAlias": AliasFields,
    "Artifact": ArtifactFields,
}
_MUTATIONS: Mapping[str, Callable[[Context, Mapping[str, Any]], Any]] = {
    name: getattr(module, name)
    for module in (run_changes, project_changes, version_changes, uploads, collection_changes)
    for name in module.__all__
}
_LARGEST = 2**63


@functools.cache
def load_schema() -> GraphQLSchema:
    """Return the schema, ready to execute with a `Context` as the context value."""
    schema = build_schema(resources.files(__package__).joinpath("schema.graphql").read_text("utf-8"))
    for graphql_type in schema.type_map.values():
        _bind(graphql_type)
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        field.resolve = _mutation(_MUTATIONS[snake_case(name)])
    return schema


def _bind(graphql_type: Any) -> None:
    if isinstance(graphql_type, GraphQLObjectType):
        for name, field in graphql_type.fields.items():
            field.resolve = _resolver(FIELDS.get(graphql_type.name, Fields), snake_case(name), field)
            for argument_name, argument in field.args.items():
                argument.out_name = snake_case(argument_name)
    elif isinstance(graphql_type, GraphQLInputObjectType):
        for name, input_field in graphql_type.fields.items():
            input_field.out_name = snake_case(name)
    elif isinstance(graphql_type, GraphQLInterfaceType | GraphQLUnionType):
        graphql_type.resolve_type = _type_name
    elif isinstance(graphql_type, GraphQLScalarType) and graphql_type.name in _PARSERS:
        # graphql-core 3.2 calls the first name, 3.3 the second.
        for method in ("parse_value", "coerce_input_value"):
            setattr(graphql_type, method, _PARSERS[graphql_type.name])


def _resolver(fields: type[Fields[Any]], name: str, field: GraphQLField) -> Callable[..., Any]:
    is_answered_by_class = hasattr(fields, name)

    def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        if is_answered_by_class:
            value = getattr(fields(info.context, source), name)
            return value(**arguments) if callable(value) else value
        value = source.get(name) if isinstance(source, Mapping) else getattr(source, name)
        return ids.encode(info.parent_type.name, value) if name == "id" and isinstance(value, int) else value

    def resolve_page(
        source: Any,
        info: GraphQLResolveInfo[Any],
        first: int | None = None,
        after: str | None = None,
        **arguments: Any,
    ) -> Any:
        found = resolve(source, info, **arguments)
        return None if found is None else connect(found, first, after)

    return resolve_page if get_named_type(field.type).name.endswith("Connection") else resolve


def _mutation(change: Callable[[Context, Mapping[str, Any]], Any]) -> Callable[..., Any]:
    def resolve(_: None, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        context: Context = info.context
        context.view.forget()
        payload = change(context, arguments["input"])
        context.view.forget()
        return payload

    return resolve


def _type_name(value: Any, _info: GraphQLResolveInfo[Any], _abstract_type: GraphQLAbstractType) -> str:
    if isinstance(value, Collection):
        return "ArtifactSequence" if value.kind == "SEQUENCE" else "ArtifactPortfolio"
    return type(value).__name__


# Scalars. The Int of GraphQL has 32 bits. Sizes and steps need more.


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
