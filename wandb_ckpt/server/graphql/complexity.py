"""Refuses GraphQL documents that are small to send, but huge to answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    SelectionSetNode,
)

__all__ = ["check_complexity"]

_DEEPEST = 20
_MOST_FIELDS = 2000


def check_complexity(document: DocumentNode) -> None:
    """Measure a document as if all fragments were expanded.

    Raises:
        GraphQLError: It is deeper than 20 fields, or has more than 2,000 fields.
    """
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    measured: dict[str, tuple[int, int]] = {}
    for definition in document.definitions:
        selection = getattr(definition, "selection_set", None)
        if selection is not None:
            _check(*_measure(selection, fragments, measured, frozenset()))


def _check(depth: int, fields: int) -> None:
    if depth > _DEEPEST or fields > _MOST_FIELDS:
        raise GraphQLError(
            f"The query is too large: {fields} fields, {depth} deep. The limits are {_MOST_FIELDS} and {_DEEPEST}."
        )


def _measure(
    selection: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    measured: dict[str, tuple[int, int]],
    open_fragments: frozenset[str],
) -> tuple[int, int]:
    depth = fields = 0
    for node in selection.selections:
        below = (0, 0)
        if isinstance(node, FragmentSpreadNode):
            below = _measure_fragment(node.name.value, fragments, measured, open_fragments)
        elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
            below = _measure(node.selection_set, fragments, measured, open_fragments)
        own = 1 if isinstance(node, FieldNode) else 0
        depth, fields = max(depth, below[0] + own), fields + below[1] + own
    return depth, fields


def _measure_fragment(
    name: str,
    fragments: Mapping[str, FragmentDefinitionNode],
    measured: dict[str, tuple[int, int]],
    open_fragments: frozenset[str],
) -> tuple[int, int]:
    # The validation names unknown fragments and circles.
    if name not in fragments or name in open_fragments:
        return 0, 0
    if name not in measured:
        inner = fragments[name].selection_set
        measured[name] = _measure(inner, fragments, measured, open_fragments | {name})
    return measured[name]
