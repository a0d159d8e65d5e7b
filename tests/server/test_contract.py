"""The contract: the client's documents on runs and artifacts fit our schema, and every field is answered."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLObjectType, OperationDefinitionNode, parse, validate

from wandb_ckpt.server.graphql.binding import FIELDS, load_schema
from wandb_ckpt.server.graphql.complexity import check_complexity
from wandb_ckpt.server.graphql.context import Fields, snake_case
from wandb_ckpt.server.graphql.endpoint import _MOST_TOKENS
from wandb_ckpt.server.graphql.files import File
from wandb_ckpt.server.graphql.paging import Edge
from wandb_ckpt.server.store.records import (
    Alias,
    Artifact,
    ArtifactType,
    Collection,
    Membership,
    Project,
    Run,
    User,
)

# What this server is not for, by name.
OUT_OF_SCOPE = {
    # teams, invitations and users are administered on W&B itself
    "CreateInvite", "CreateServiceAccount", "CreateTeam", "CreateUserFromAdmin", "DeleteInvite",
    # roles in registries
    "CreateRegistryMembers", "DeleteRegistryMembers", "RegistryTeamMembers", "RegistryUserMembers",
    "UpdateTeamRegistryRole", "UpdateUserRegistryRole",
    # sweeps
    "GetAgentRuns", "GetSweep", "GetSweepAgent", "GetSweepAgents", "GetSweepLegacy", "GetSweeps",
}  # fmt: skip
GENERATED = (
    "wandb.sdk.artifacts._generated.operations",
    "wandb.apis._generated.operations",
    "wandb.sdk.internal._generated.operations",
)
# Modules that build their documents by hand; those of launch, sweeps, reports and automations are out of scope.
HAND_WRITTEN = (
    "wandb.apis.public.api",
    "wandb.apis.public.files",
    "wandb.apis.public.runs",
    "wandb.apis.public.summary",
    "wandb.sdk.artifacts._gqlutils",
)
CORE = Path(__file__).with_name("wandb_core_operations.graphql")


def generated_documents() -> list[Any]:
    """The documents that the installed client was generated with."""
    found = []
    for module in map(importlib.import_module, GENERATED):
        for name, value in vars(module).items():
            if name.endswith("_GQL"):
                operation = re.search(r"(?:query|mutation) (\w+)", value)[1]
                found += [] if operation in OUT_OF_SCOPE else [pytest.param(value, id=operation)]
    return found


def core_documents() -> list[Any]:
    """The recorded documents of wandb-core, each with the fragments behind it."""
    text = "".join(line for line in CORE.read_text().splitlines(keepends=True) if not line.startswith("#"))
    documents = re.split(r"^(?=query|mutation)", text, flags=re.MULTILINE)[1:]
    return [pytest.param(each, id=re.search(r"\w+ (\w+)", each)[1]) for each in documents]


@pytest.mark.parametrize("document", generated_documents() + core_documents())
def test_a_document_of_the_client_fits_the_schema(document: str) -> None:
    """The client's document is valid against our schema, and within our limits."""
    node = parse(document, max_tokens=_MOST_TOKENS)
    check_complexity(node)
    assert validate(load_schema(), node) == []
    assert any(isinstance(each, OperationDefinitionNode) for each in node.definitions)


@pytest.mark.parametrize("module", HAND_WRITTEN)
def test_fields_in_hand_written_documents_are_known(module: str) -> None:
    """The root fields of documents that the client writes by hand are in our schema."""
    source = inspect.getsource(importlib.import_module(module))
    roots = {
        field
        for kind, body in re.findall(r'"""(?:#graphql)?\s*(query|mutation)\b[^"]*?\)\s*\{+\s*(\w+)', source)
        for field in [(kind, body)]
    }
    schema = load_schema()
    assert schema.query_type
    assert schema.mutation_type
    known = {"query": schema.query_type.fields, "mutation": schema.mutation_type.fields}
    assert {(kind, field) for kind, field in roots if field not in known[kind]} == set()


RECORDS = {
    "User": User,
    "Entity": User,
    "Organization": User,
    "Project": Project,
    "ArtifactType": ArtifactType,
    "ArtifactSequence": Collection,
    "ArtifactPortfolio": Collection,
    "VersionedArtifactEdge": Edge,
    "ArtifactCollectionMembership": Membership,
    "ArtifactAlias": Alias,
    "Artifact": Artifact,
    "File": File,
    "Run": Run,
    "Query": object,
}


def test_every_type_with_fields_of_its_own_is_checked() -> None:
    """No class of fields is left out."""
    assert FIELDS.keys() <= RECORDS.keys()


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_type_is_answered(name: str) -> None:
    """Each field is one of the class or an attribute of the record, and methods take the arguments of their field."""
    graphql_type = load_schema().type_map[name]
    assert isinstance(graphql_type, GraphQLObjectType)
    fields = FIELDS.get(name, Fields)
    for field_name, field in graphql_type.fields.items():
        attribute = snake_case(field_name)
        method = getattr(fields, attribute, None)
        assert hasattr(fields, attribute) or hasattr(RECORDS[name], attribute), f"{name}.{field_name} is not answered"
        if inspect.isfunction(method):
            paging = {"first", "after"} if str(field.type).rstrip("!").endswith("Connection") else set()
            arguments = {snake_case(each) for each in field.args} - paging
            assert arguments == set(inspect.signature(method).parameters) - {"self"}
