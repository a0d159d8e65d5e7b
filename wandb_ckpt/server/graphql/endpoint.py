"""`POST /graphql`: parse, check size and depth, validate, execute, and map errors to HTTP statuses."""

from __future__ import annotations

import functools
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLType,
    OperationDefinitionNode,
    execute_sync,
    parse,
    type_from_ast,
    validate,
)
from starlette.requests import Request
from starlette.responses import Response

from wandb_ckpt.server import json_text
from wandb_ckpt.server.errors import InvalidRequestError, ServerError
from wandb_ckpt.server.graphql.binding import load_schema
from wandb_ckpt.server.graphql.complexity import check_complexity
from wandb_ckpt.server.graphql.context import Context
from wandb_ckpt.server.http.access import key_user
from wandb_ckpt.server.http.bodies import read_json
from wandb_ckpt.server.http.services import Services, services_of
from wandb_ckpt.server.store.user_view import UserView

__all__ = ["answer", "endpoint"]

_log = logging.getLogger("wandb_ckpt.server")
_MOST_BYTES = 64 * 2**20
_MOST_QUERY_CHARACTERS = 200_000
_MOST_TOKENS = 5000


async def endpoint(request: Request) -> Response:
    """Answer `POST /graphql`."""
    services = services_of(request)
    user = await to_thread.run_sync(key_user, request)
    body = await read_json(request, _MOST_BYTES)
    context = Context(services, UserView(services.db, user), services.urls(request))
    status, payload = await to_thread.run_sync(answer, context, body)
    return Response(json_text.dump(payload), status, media_type="application/json")


@dataclass(frozen=True, slots=True)
class _Document:
    node: DocumentNode | None
    errors: Sequence[GraphQLError]


def answer(context: Context, body: Any) -> tuple[int, Mapping[str, Any]]:
    """Return the HTTP status and the JSON of the answer to a GraphQL request."""
    query, variables, name = _parts(body)
    document = _document(query)
    operation = None if document.node is None else _operation(document.node, name)
    if document.node is None or operation is None:
        errors = document.errors or [GraphQLError(f"The request has no operation named {name!r}.")]
        return _refuse(context.services, name, variables, errors)
    shown_name = operation.name.value if operation.name else ""
    if document.errors:
        return _refuse(context.services, shown_name, variables, document.errors)
    variables = _pruned(context.services, operation, variables)
    result = execute_sync(
        load_schema(),
        document.node,
        context_value=context,
        variable_values=variables,
        operation_name=shown_name or None,
    )
    return _outcome(result)


def _parts(body: Any) -> tuple[str, dict[str, Any], str]:
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise InvalidRequestError('Expected a JSON object with a "query" in it.')
    variables, name = body.get("variables") or {}, body.get("operationName") or ""
    if not isinstance(variables, dict) or not isinstance(name, str):
        raise InvalidRequestError('"variables" must be a JSON object and "operationName" a string.')
    if len(body["query"]) > _MOST_QUERY_CHARACTERS:
        raise InvalidRequestError(f"The query is longer than {_MOST_QUERY_CHARACTERS} characters.")
    return body["query"], variables, name


# Clients send the same few dozen documents again and again. To validate one costs more than to execute it.
@functools.lru_cache(maxsize=256)
def _document(query: str) -> _Document:
    try:
        node = parse(query, max_tokens=_MOST_TOKENS)
        check_complexity(node)
    except GraphQLError as error:
        return _Document(None, [error])
    except RecursionError:
        return _Document(None, [GraphQLError("The query is nested too deeply.")])
    return _Document(node, validate(load_schema(), node, max_errors=5))


def _operation(document: DocumentNode, name: str) -> OperationDefinitionNode | None:
    # Documents that the client passes on from Python have an empty operationName.
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    if not name:
        return operations[0] if len(operations) == 1 else None
    named = [each for each in operations if each.name and each.name.value == name]
    return named[0] if named else None


def _refuse(
    services: Services, name: str, variables: Mapping[str, Any], errors: Sequence[GraphQLError]
) -> tuple[int, Mapping[str, Any]]:
    what = "; ".join(error.message for error in errors)
    services.unhandled.add(name, what, variables)
    _log.warning("GraphQL operation %r is not known to this server: %s", name, what)
    listed = [{**error.formatted, "extensions": {"operation": name}} for error in errors]
    summary = {"message": f"The embedded W&B server does not know the operation {name!r} as sent: {what}"}
    return 400, {"data": None, "errors": [summary, *listed]}


# Unknown input fields


def _pruned(services: Services, operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables without the input fields that are not in the schema.

    wandb-core sends all input fields of its own version of the schema, unused ones as null. Refusing unknown fields
    would shut out all newer clients. Fields that are not null are noted.
    """
    dropped: list[str] = []
    pruned = dict(variables)
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        graphql_type = type_from_ast(load_schema(), definition.type)
        if name in variables and graphql_type is not None:
            pruned[name] = _prune(variables[name], graphql_type, name, dropped)
    for field in dropped:
        operation_name = operation.name.value if operation.name else ""
        services.unhandled.add(operation_name, f"unknown input field {field}", variables)
        _log.warning("GraphQL operation %r: the input field %s is unknown and was ignored", operation_name, field)
    return pruned


def _prune(value: Any, graphql_type: GraphQLType, path: str, dropped: list[str]) -> Any:
    if isinstance(graphql_type, GraphQLNonNull):
        return _prune(value, graphql_type.of_type, path, dropped)
    if isinstance(graphql_type, GraphQLList) and isinstance(value, list):
        return [_prune(each, graphql_type.of_type, path, dropped) for each in value]
    if not isinstance(graphql_type, GraphQLInputObjectType) or not isinstance(value, dict):
        return value
    fields = graphql_type.fields
    dropped += [f"{path}.{key}" for key, each in value.items() if key not in fields and each is not None]
    return {
        key: _prune(each, fields[key].type, f"{path}.{key}", dropped) for key, each in value.items() if key in fields
    }


# Outcome


def _outcome(result: ExecutionResult) -> tuple[int, Mapping[str, Any]]:
    errors = result.errors or []
    payload: dict[str, Any] = {"data": result.data}
    if errors:
        payload["errors"] = [_formatted(error) for error in errors]
    return max((_status(error) for error in errors), default=200), payload


def _formatted(error: GraphQLError) -> Mapping[str, Any]:
    cause = error.original_error
    if cause is None or isinstance(cause, ServerError | GraphQLError):
        return error.formatted
    _log.error("GraphQL: error at %s", error.path, exc_info=cause)
    message = f"The embedded W&B server failed: {type(cause).__name__}: {cause}. Its log has the details."
    return {**error.formatted, "message": message}


def _status(error: GraphQLError) -> int:
    # With 200 the client shows the message as it is. After 507 it tries again: by then, a full or failing disk or a
    # busy database may work again.
    transient = isinstance(error.original_error, sqlite3.OperationalError | OSError)
    return 507 if transient and not isinstance(error.original_error, ServerError) else 200
