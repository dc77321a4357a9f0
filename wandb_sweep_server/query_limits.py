"""How large a GraphQL query may be. Pure."""

from __future__ import annotations

from functools import cache

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
)

from .errors import ClientError

# W&B's SDK (0.19 to 0.31) asks for about 100 fields on 12 levels at most, with two lists within one another.
_MAX_TOKENS = 20_000
_MAX_FIELDS = 2_000
_MAX_DEPTH = 30
_MAX_LISTS = 4
_LIST_ITEMS = "edges"


def parse_query(query: str) -> DocumentNode:
    """Read a query.

    Raises:
        ClientError: It can't be read, or is too long or nested too deeply for that.
    """
    try:
        return parse(query, max_tokens=_MAX_TOKENS)
    except GraphQLError as error:
        raise ClientError(f"the query can't be read: {error.message}") from error
    except RecursionError:
        raise ClientError("the query can't be read: it is nested too deeply") from None


def check_size(document: DocumentNode) -> None:
    """Refuse a query that would take too long. document: valid, so no fragment contains itself.

    Raises:
        ClientError: It names the limit.
    """
    fragments = {part.name.value: part for part in document.definitions if isinstance(part, FragmentDefinitionNode)}

    @cache
    def of_fragment(name: str) -> tuple[int, int, int]:
        return measure(fragments[name].selection_set)

    def measure(selection: SelectionSetNode | None) -> tuple[int, int, int]:
        """The number of fields, levels, and lists within one another."""
        fields = depth = lists = 0
        for node in selection.selections if selection else ():
            if isinstance(node, FragmentSpreadNode):
                inner = of_fragment(node.name.value)
            elif isinstance(node, FieldNode):
                below = measure(node.selection_set)
                inner = (below[0] + 1, below[1] + 1, below[2] + (node.name.value == _LIST_ITEMS))
            else:
                assert isinstance(node, InlineFragmentNode)
                inner = measure(node.selection_set)
            fields, depth, lists = fields + inner[0], max(depth, inner[1]), max(lists, inner[2])
        return fields, depth, lists

    for operation in document.definitions:
        if isinstance(operation, OperationDefinitionNode):
            try:
                sizes = measure(operation.selection_set)
            except RecursionError:
                raise ClientError(f"the query has more than {_MAX_DEPTH} levels") from None
            rules = ("fields", _MAX_FIELDS), ("levels", _MAX_DEPTH), ("lists within one another", _MAX_LISTS)
            for size, (what, most) in zip(sizes, rules, strict=True):
                if size > most:
                    raise ClientError(
                        f"the query has {size} {what}, at most {most} are answered; ask for less at once"
                    )
