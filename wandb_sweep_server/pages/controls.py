"""What a page's buttons do: as GraphQL's upsertSweep, and runs that are offered once more. In the store's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wandb_sweep_server import run_states, scheduling
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.records import Run, Sweep
from wandb_sweep_server.store import Store
from wandb_sweep_server.sweeps import SweepChange

RETRY = "retry"
_STATES = {
    "pause": scheduling.PAUSED,
    "resume": scheduling.RUNNING,
    "stop": scheduling.FINISHED,
    "cancel": scheduling.CANCELED,
}
ACTIONS = (*_STATES, RETRY)

_RETRIED = (run_states.FAILED, run_states.CRASHED)
# What was stopped, by early_terminate or by a person, is run again only if that very run is meant.
_RETRIED_BY_NAME = (*_RETRIED, run_states.KILLED)


def act(store: Store, sweep: Sweep, action: str, body: Any) -> dict[str, Any]:
    """Do what a button says; returns the answer.

    body: of the request, as JSON; only retry has something in it.

    Raises:
        ClientError: It can't be done to a sweep, or to runs, in this state.
        NotFoundError: There is no such action or run.
    """
    if action == RETRY:
        return _retry(store, sweep, body)
    if action not in _STATES:
        raise NotFoundError(f"action {action!r} does not exist; there are {', '.join(ACTIONS)}")
    if not _may(store, sweep, action):
        raise ClientError(f"the sweep is {sweep.state}: there is nothing to {action}")
    return {"state": store.sweeps.change(sweep, SweepChange(state=_STATES[action])).state}


def _may(store: Store, sweep: Sweep, action: str) -> bool:
    if sweep.state in scheduling.OPEN or action == "resume":
        return True
    # Of a sweep that was stopped, runs may go on.
    return action == "cancel" and sweep.state != scheduling.CANCELED and store.sweeps.situation(sweep).has_live


def _retry(store: Store, sweep: Sweep, body: Any) -> dict[str, Any]:
    names = body.get("runs") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not (names is None or _are_texts(names)):
        raise ClientError(f'retry takes {{}} or {{"runs": ["id", …]}}, not {body!r}')
    runs = _all_failed(store, sweep) if names is None else [_named(store, sweep, name) for name in names]
    for run in runs:
        store.runs.offer_again(run)
    if runs and sweep.state not in scheduling.OPEN:
        store.sweeps.set_state(sweep, scheduling.RUNNING)
    answer: dict[str, Any] = {"runs": len(runs)}
    if runs and not store.agents.any_at_work(sweep):
        answer["message"] = (
            "No agent is at work: they are offered to the next one. For a sweep of hydra-wandb-sweeper, "
            "`hydra-sweep retry DIR` brings agents; for others `wandb agent`."
        )
    return answer


def _are_texts(names: object) -> bool:
    return isinstance(names, Sequence) and not isinstance(names, str) and all(isinstance(n, str) for n in names)


def _all_failed(store: Store, sweep: Sweep) -> list[Run]:
    """Those that an agent can be given, and are not on offer already."""
    return [run for state in _RETRIED for run in store.runs.of_sweep(sweep.id, state) if _can_be_offered(run)]


def _can_be_offered(run: Run) -> bool:
    return run.state in _RETRIED_BY_NAME and run.args is not None and run.queued_at is None


def _named(store: Store, sweep: Sweep, name: str) -> Run:
    run = store.runs.by_name(sweep.project_id, name)
    if run is None or run.sweep_id != sweep.id:
        raise NotFoundError(f"run {name!r} does not exist in sweep {sweep.name}")
    if not _can_be_offered(run):
        why = "is on offer already" if run.queued_at is not None else f"is {run.state}"
        if run.args is None:
            why = "was started by no agent"
        states = ", ".join(_RETRIED_BY_NAME)
        raise ClientError(f"run {name} {why}: only runs of agents that are {states} can be tried again")
    return run
