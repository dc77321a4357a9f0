"""The fields of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import ObjectType

from wandb_sweep_server import jsontext
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.listing import page_bounds, page_of
from wandb_sweep_server.records import Project, Run, Sweep, global_id

from .context import USER, connection, entity, lists_of, store_of, time_text

if TYPE_CHECKING:
    from .context import Info


_project = ObjectType("Project")
_project.set_field("id", lambda p, _: global_id("Project", p.id))
_project.set_field("internalId", lambda p, _: global_id("ProjectInternalId", p.id))
_project.set_field("entityName", lambda p, _: p.entity)
_project.set_field("entity", lambda p, _: entity(p.entity))
_project.set_field("createdAt", lambda p, _: time_text(p.created_at))
_project.set_field("user", lambda *_: USER)
_project.set_field("access", lambda *_: "PRIVATE")
_project.set_field("isBenchmark", lambda *_: False)  # wandb 0.31 takes no null here
_project.set_field("readOnly", lambda *_: False)


@_project.field("runCount")
def _run_count(project: Project, info: Info, filters: str | None = None) -> int:
    return lists_of(info).count_of_project(project, filters)


@_project.field("runs")
def _runs_of_project(
    project: Project,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    return connection(lists_of(info).page_of_project(project, filters, order, after, first))


@_project.field("run")
def _run_of_project(project: Project, info: Info, name: str) -> Run | None:
    return store_of(info).runs.by_name(project.id, name)


@_project.field("bucket")
def _bucket(project: Project, info: Info, name: str, missingOk: bool = False) -> Run | None:
    run = store_of(info).runs.by_name(project.id, name)
    if run is None and not missingOk:
        raise NotFoundError(f"run {name!r} does not exist in {project.entity}/{project.name}")
    return run


@_project.field("totalSweeps")
def _total_sweeps(project: Project, info: Info) -> int:
    return store_of(info).sweeps.count(project.id)


@_project.field("sweeps")
def _sweeps(
    project: Project, info: Info, after: str | None = None, first: int | None = None, filters: str | None = None
) -> dict[str, Any]:
    if filters and jsontext.loads(filters):
        raise ClientError("filters of sweeps are not available in this server")
    offset, count = page_bounds(after, first)
    return connection(page_of(store_of(info).sweeps.page(project.id, offset, count + 1), offset, count))


@_project.field("sweep")
def _sweep_of_project(project: Project, info: Info, sweepName: str) -> Sweep | None:
    return store_of(info).sweeps.by_name(project.id, sweepName)


BINDABLES = (_project,)
