"""Where every query begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import QueryType

from wandb_sweep_server.listing import page_bounds, page_of
from wandb_sweep_server.records import Project

from .context import USER, connection, entity, store_of

if TYPE_CHECKING:
    from .context import Info


# What W&B's SDK asks for by name and this server has. Whatever is not listed is absent to the SDK.
FEATURES = (
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "FILESTREAM_GZIP",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "SWEEPS_LOCAL_SCHEDULER",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
)
# The versions that the tests run.
OLDEST_SDK, NEWEST_SDK = "0.19.11", "0.31.0"

_query = QueryType()


@_query.field("viewer")
def _viewer(*_: Any) -> dict[str, Any]:
    return USER


@_query.field("serverInfo")
def _server_info(*_: Any) -> dict[str, Any]:
    return {
        "features": [{"name": name, "isEnabled": True} for name in FEATURES],
        "cliVersionInfo": {"min_cli_version": OLDEST_SDK, "max_cli_version": NEWEST_SDK},
    }


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


@_query.field("sweeps")
def _all_sweeps(_: Any, info: Info, after: str | None = None, first: int | None = None) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    return connection(page_of(store_of(info).sweeps.page(None, offset, count + 1), offset, count))


BINDABLES = (_query,)
