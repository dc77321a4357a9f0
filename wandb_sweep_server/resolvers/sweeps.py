"""The fields of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import ObjectType

from wandb_sweep_server.filters import Condition
from wandb_sweep_server.records import Agent, Project, Sweep, global_id

from .context import connection, lists_of, store_of, time_text

if TYPE_CHECKING:
    from .context import Info


_sweep = ObjectType("Sweep")
_sweep.set_field("id", lambda s, _: global_id("Sweep", s.id))
_sweep.set_field("displayName", lambda s, _: s.display_name)
_sweep.set_field("controllerRunName", lambda s, _: s.controller_run_name)
_sweep.set_field("createdAt", lambda s, _: time_text(s.created_at))
_sweep.set_field("updatedAt", lambda s, _: time_text(s.updated_at))
_sweep.set_field("heartbeatAt", lambda s, _: time_text(s.updated_at))
_sweep.set_field("earlyStopJobRunning", lambda *_: False)


@_sweep.field("config")
def _config(sweep: Sweep, info: Info) -> str:
    return store_of(info).sweeps.config_text(sweep)


@_sweep.field("runCount")
def _run_count(sweep: Sweep, info: Info) -> int:
    return sweep.run_count - store_of(info).runs.deleted.count_of_sweep(sweep.id)


@_sweep.field("runCountExpected")
def _expected(sweep: Sweep, info: Info) -> int | None:
    count = store_of(info).sweeps.config(sweep).trial_count
    # Clients have no larger integers; to them such a grid is without end.
    return count if count is not None and count < 2**63 else None


@_sweep.field("project")
def _project_of_sweep(sweep: Sweep, info: Info) -> Project:
    return store_of(info).projects.by_id(sweep.project_id)


@_sweep.field("runs")
def _runs_of_sweep(
    sweep: Sweep,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    return connection(lists_of(info).page(Condition("sweep_id = ?", (sweep.id,)), filters, order, after, first))


@_sweep.field("agents")
def _agents_of_sweep(sweep: Sweep, info: Info) -> dict[str, Any]:
    return {"edges": [{"node": agent} for agent in store_of(info).agents.of_sweep(sweep)]}


@_sweep.field("agent")
def _agent_of_sweep(sweep: Sweep, info: Info, agentName: str) -> Agent | None:
    agents = store_of(info).agents.of_sweep(sweep)
    return next((a for a in agents if agentName in (a.name, global_id("Agent", a.id))), None)


BINDABLES = (_sweep,)
