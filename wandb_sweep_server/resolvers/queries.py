"""Where every query begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import QueryType

from wandb_sweep_server.listing import page_bounds, page_of
from wandb_sweep_server.records import Project

from .context import USER, connection, entity, store_of

if TYPE_CHECKING:
    from .context import Info


# What W&B's SDK asks for by name; everything else is absent, and said to be.
_FEATURES = {"SWEEPS_LOCAL_SCHEDULER": True}

_query = QueryType()


@_query.field("viewer")
def _viewer(*_: Any) -> dict[str, Any]:
    return USER


@_query.field("serverInfo")
def _server_info(*_: Any) -> dict[str, Any]:
    return {"features": [{"name": name, "isEnabled": on} for name, on in _FEATURES.items()]}


@_query.field("entity")
def _entity_by_name(_: Any, info: Info, name: str) -> dict[str, Any]:
    return entity(name)


@_query.field("project")
@_query.field("model")
def _project_by_name(_: Any, info: Info, name: str | None = None, entityName: str | None = None) -> Project | None:
    return store_of(info).projects.find(entityName, name)


@_query.field("models")
def _projects(
    _: Any,
    info: Info,
    entityName: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    found = store_of(info).projects.page(entityName, offset, count + 1)
    return connection(page_of(found, offset, count))


BINDABLES = (_query,)
