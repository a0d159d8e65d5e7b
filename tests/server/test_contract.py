"""The contract: the client's documents on runs and artifacts fit our schema, and every field is answered."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLObjectType, OperationDefinitionNode, parse, validate

from wandb_ckpt.server.graphql import files
from wandb_ckpt.server.graphql.binding import load_schema, snake_case
from wandb_ckpt.server.graphql.complexity import check_complexity
from wandb_ckpt.server.graphql.endpoint import _MOST_TOKENS
from wandb_ckpt.server.graphql.nodes import artifact_fields as artifacts
from wandb_ckpt.server.graphql.nodes import collection_fields as collections
from wandb_ckpt.server.graphql.nodes import project_fields as projects
from wandb_ckpt.server.graphql.nodes import run_fields as runs
from wandb_ckpt.server.graphql.nodes import user_fields as accounts

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


NODES = {
    "User": accounts.UserNode,
    "Entity": accounts.EntityNode,
    "Organization": accounts.OrganizationNode,
    "Project": projects.ProjectNode,
    "ArtifactType": projects.ArtifactTypeNode,
    "ArtifactSequence": collections.SequenceNode,
    "ArtifactPortfolio": collections.PortfolioNode,
    "ArtifactCollectionMembership": collections.MembershipNode,
    "ArtifactAlias": collections.AliasNode,
    "Artifact": artifacts.ArtifactNode,
    "File": files.FileNode,
    "Run": runs.RunNode,
}


@pytest.mark.parametrize("name", NODES)
def test_every_field_of_a_type_is_answered(name: str) -> None:
    """The node of a type has an attribute or a method for each of its fields, and methods take their arguments."""
    graphql_type = load_schema().type_map[name]
    assert isinstance(graphql_type, GraphQLObjectType)
    node = NODES[name]
    attributes = set(re.findall(r"self\.(\w+)[^\n]*?(?= =|:)", inspect.getsource(node)))
    attributes |= set(
        re.findall(r"(?:= |    )self\.(\w+) = ", "".join(inspect.getsource(each) for each in node.__mro__[:-1]))
    )
    for field_name, field in graphql_type.fields.items():
        attribute = snake_case(field_name)
        method = getattr(node, attribute, None)
        assert method is not None or attribute in attributes, f"{name}.{field_name} is not answered"
        if inspect.isfunction(method):
            assert {snake_case(each) for each in field.args} <= set(inspect.signature(method).parameters)
