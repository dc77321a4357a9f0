"""What all resolvers work with, and the shapes that recur in answers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from wandb_sweep_server.blobs import Blob
from wandb_sweep_server.listing import Page, RunLists
from wandb_sweep_server.manifests import Entry
from wandb_sweep_server.projects import DEFAULT_ENTITY
from wandb_sweep_server.records import Sweep, global_id
from wandb_sweep_server.store import Store

if TYPE_CHECKING:
    from typing import TypeAlias

    from graphql import GraphQLResolveInfo

    Info: TypeAlias = GraphQLResolveInfo["Context"]  # not generic at run time in graphql-core 3.2


class UnreadManifestError(Exception):
    """A resolver needs a manifest that was not read yet: it is to be read, and the operation to be executed anew."""

    def __init__(self, blob: Blob) -> None:
        super().__init__(f"the manifest {blob.md5} has yet to be read")
        self.blob = blob


class Context:
    """What resolvers work with.

    base_url: as the client sees this server. awaited_sweep_id: row of the sweep that owes the client a trial which is
    yet to be chosen, None if there is none. manifests: what those that were read list, by row of the blob.
    """

    def __init__(self, store: Store, base_url: str) -> None:
        self.store = store
        self.lists = RunLists(store.database, store.runs)
        self.base_url = base_url
        self.awaited_sweep_id: int | None = None
        self.manifests: dict[int, list[Entry]] = {}

    def entries_of(self, manifest: Blob) -> list[Entry]:
        """What a manifest lists. Raises: UnreadManifestError if it was not read yet."""
        if manifest.id not in self.manifests:
            raise UnreadManifestError(manifest)
        return self.manifests[manifest.id]

    def await_trial(self, sweep: Sweep) -> None:
        """Note that the sweep owes a trial."""
        self.awaited_sweep_id = sweep.id


def store_of(info: Info) -> Store:
    """The store behind a request."""
    return info.context.store


def lists_of(info: Info) -> RunLists:
    """Lists of runs, as clients ask for them."""
    return info.context.lists


def time_text(seconds: float | None) -> str | None:
    """A time as W&B writes it: ISO 8601, UTC, milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def connection(page: Page[Any]) -> dict[str, Any]:
    """A page in GraphQL's form of lists, with a cursor for each item."""
    edges = [{"node": item, "cursor": page.cursor(index)} for index, item in enumerate(page.items)]
    end = edges[-1]["cursor"] if edges else None
    return {"edges": edges, "pageInfo": {"endCursor": end, "hasNextPage": page.has_next}}


def entity(name: str) -> dict[str, Any]:
    """An entity, of which this server keeps nothing but the name."""
    return {"id": global_id("Entity", 1), "name": name, "organization": {"coreWeaveOrganizationId": None}}


USER: dict[str, Any] = {
    "id": global_id("User", 1),
    "name": DEFAULT_ENTITY,
    "username": DEFAULT_ENTITY,
    "email": None,
    "admin": False,
    "entity": DEFAULT_ENTITY,
    "flags": "{}",
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": []},
}
