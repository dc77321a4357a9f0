"""The fields of an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import ObjectType

from wandb_sweep_server import scheduling
from wandb_sweep_server.filters import Condition
from wandb_sweep_server.records import Agent, global_id

from .context import connection, lists_of, store_of, time_text

if TYPE_CHECKING:
    from .context import Info


class SeenAgent:
    """All that an answer to a heartbeat says of the agent."""

    def __init__(self, node_id: str) -> None:
        self.id = node_id


_agent = ObjectType("Agent")
_agent.set_field("id", lambda a, _: a.id if isinstance(a, SeenAgent) else global_id("Agent", a.id))
_agent.set_field("totalRuns", lambda a, _: a.run_count)
_agent.set_field("createdAt", lambda a, _: time_text(a.created_at))
_agent.set_field("heartbeatAt", lambda a, _: time_text(a.heartbeat_at))


@_agent.field("state")
def _agent_state(agent: Agent, info: Info) -> str:
    sweep = store_of(info).sweeps.by_id(agent.sweep_id)
    return "RUNNING" if sweep is not None and sweep.state in scheduling.OPEN else "FINISHED"


@_agent.field("runs")
def _runs_of_agent(
    agent: Agent,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    return connection(lists_of(info).page(Condition("agent_id = ?", (agent.id,)), None, order, after, first))


BINDABLES = (_agent,)
