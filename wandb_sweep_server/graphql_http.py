"""GraphQL requests: parse, execute in one transaction, answer with a status that W&B's SDK understands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    execute_sync,
    validate,
)
from starlette.concurrency import run_in_threadpool

from . import jsontext
from .blobs import Blob
from .errors import ClientError
from .manifests import Entry, parse_manifest
from .query_limits import check_size, parse_query
from .resolvers import build_schema, client_error
from .resolvers.context import Context, UnreadManifestError
from .store import Store
from .suggestions import Suggester

_MOST_DOCUMENTS = 512


class _Failed(Exception):
    """Carries the errors of an operation out of its transaction, which is then undone."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(str(errors[0]))
        self.errors = errors


class GraphQLEndpoint:
    """Executes operations of W&B's SDK against the store."""

    def __init__(self, store: Store, suggester: Suggester) -> None:
        self._store = store
        self._suggester = suggester
        self._schema = build_schema()
        # SDKs send the same few dozen texts again and again; parsing and checking them is most of the work. In order
        # of their latest use.
        self._documents: dict[str, DocumentNode] = {}
        # One manifest at a time: what it lists takes ten times its size in memory.
        self._manifest_memory = asyncio.Lock()

    async def _document(self, query: str) -> DocumentNode:
        # In this thread: the way to another one and back takes longer than to look it up.
        document = self._documents.pop(query, None)
        if document is None:
            document = await run_in_threadpool(self._check, query)
        if len(self._documents) >= _MOST_DOCUMENTS:
            self._documents.pop(next(iter(self._documents)))
        self._documents[query] = document
        return document

    def _check(self, query: str) -> DocumentNode:
        document = parse_query(query)
        absent = _absent_operations(self._schema, document)
        if absent:
            raise ClientError(f"{', '.join(absent)}: not available in this server")
        errors = validate(self._schema, document)
        if errors:
            raise ClientError("; ".join(error.message for error in errors))
        check_size(document)
        return document

    async def answer(self, body: bytes, base_url: str) -> dict[str, Any]:
        """Return the JSON answer to a request body. Raises: ClientError for every lasting error."""
        query, variables, operation = _request(body)
        document = await self._document(query)
        context = Context(self._store, base_url)

        def work() -> dict[str, Any]:
            context.awaited_sweep_id = None  # the store may do work more than once
            result = execute_sync(
                self._schema, document, context_value=context, variable_values=variables, operation_name=operation
            )
            return _data(result)

        try:
            data = await self._execute(work, context)
            if context.awaited_sweep_id is not None:
                # Answered at once, the agent would come again by itself; W&B's take 5 s to do so.
                await self._suggester.wait_for_trial(context.awaited_sweep_id)
                data = await self._store.run(work)
            return {"data": data}
        except _Failed as failed:
            raise _lasting(failed.errors) from failed

    async def _execute(self, work: Callable[[], dict[str, Any]], context: Context) -> dict[str, Any]:
        """Do work in the store, and read the manifests that it asks for beside the store, which goes on meanwhile."""
        async with AsyncExitStack() as stack:
            while True:
                try:
                    return await self._store.run(work)
                except UnreadManifestError as unread:
                    if not context.manifests:
                        await stack.enter_async_context(self._manifest_memory)
                    entries = await run_in_threadpool(self._read_manifest, unread.blob)
                    context.manifests[unread.blob.id] = entries

    def _read_manifest(self, blob: Blob) -> list[Entry]:
        return parse_manifest(self._store.blobs.path(blob).read_bytes())


def _absent_operations(schema: GraphQLSchema, document: DocumentNode) -> list[str]:
    """Root fields that the schema lacks: to users more telling than the types missing with them."""
    absent = []
    for definition in document.definitions:
        if not isinstance(definition, OperationDefinitionNode):
            continue
        root = schema.get_root_type(definition.operation)
        fields = [node for node in definition.selection_set.selections if isinstance(node, FieldNode)]
        known = root.fields if root else {}
        absent += [f.name.value for f in fields if f.name.value not in known and not f.name.value.startswith("__")]
    return absent


def _request(body: bytes) -> tuple[str, dict[str, Any], str | None]:
    try:
        message = jsontext.loads(body)
    except ValueError as error:
        raise ClientError(f"the request is not valid JSON: {error}") from error
    query = message.get("query") if isinstance(message, dict) else None
    if not isinstance(query, str):
        raise ClientError("the request must be a JSON object with a text 'query'")
    variables = message.get("variables") or {}
    if not isinstance(variables, dict):
        raise ClientError(f"variables must be a JSON object, not {type(variables).__name__}")
    operation = message.get("operationName")
    return query, variables, operation if isinstance(operation, str) and operation else None


def _data(result: ExecutionResult) -> dict[str, Any]:
    for error in result.errors or ():
        if isinstance(error.original_error, UnreadManifestError):
            raise error.original_error
    if result.errors:
        raise _Failed(list(result.errors))
    return result.data or {}


def _lasting(errors: list[GraphQLError]) -> Exception:
    """The error to answer with: a client's mistake as such, a fault of ours as itself (HTTP 500)."""
    for error in errors:
        lasting = client_error(error)
        if lasting is not None:
            return lasting
    for error in errors:
        # Only an error with a path comes from a resolver; the others are about variables and the operation's name.
        cause = error.original_error
        if error.path and cause is not None and not isinstance(cause, GraphQLError):
            return cause
    return ClientError("; ".join(error.message for error in errors))
