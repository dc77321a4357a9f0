"""The sweep server as this project sees it: W&B's GraphQL and file_stream protocol, nothing of Hydra.

The only module that speaks HTTP. W&B cloud, self-hosted W&B and the embedded server are the same thing here.
The operations are those that W&B's SDK sends (wandb 0.19 to 0.31).
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import requests
import tenacity

from ._errors import ServerError, ServerUnreachableError
from ._sweep_config import from_yaml

log = logging.getLogger(__name__)

_UPSERT_SWEEP = """
mutation UpsertSweep($id: ID, $config: String, $description: String, $entityName: String, $projectName: String,
                     $state: String) {
  upsertSweep(input: {id: $id, config: $config, description: $description, entityName: $entityName,
                      projectName: $projectName, state: $state}) {
    sweep { name project { name entity { name } } }
    configValidationWarnings
  }
}"""
_GET_SWEEP = """
query Sweep($entity: String, $project: String, $sweep: String!) {
  project(name: $project, entityName: $entity) {
    sweep(sweepName: $sweep) { id name state config }
  }
}"""
_GET_RUNS = """
query Runs($entity: String!, $project: String!, $filters: JSONString, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, after: $cursor, first: 200, order: "+created_at") {
      edges { node { name state config summaryMetrics } }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
_VIEWER = "query Viewer { viewer { id entity } }"
_CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id }
  }
}"""
_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""
_RUN_TAIL = """
query RunResumeStatus($entity: String, $project: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    bucket(name: $name, missingOk: true) { id name summaryMetrics logLineCount }
  }
}"""

_RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class ServerAccess:
    """Where a server is and how to be let in. url: of its API; app_url: of its pages."""

    url: str
    app_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class SweepRef:
    """A sweep on a server."""

    entity: str
    project: str
    sweep_id: str

    @property
    def path(self) -> str:
        """W&B's path of the sweep."""
        return f"{self.entity}/{self.project}/{self.sweep_id}"


@dataclass(frozen=True)
class SweepInfo:
    """What the server says of a sweep. node_id: its GraphQL id; state: upper case (RUNNING, FINISHED, …)."""

    ref: SweepRef
    node_id: str
    state: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class RunInfo:
    """What the server says of a run. state: lower case (running, finished, failed, crashed, …)."""

    run_id: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """One instruction of the server to an agent. kind: run | resume | stop | exit; args: name -> bare value.

    reason: why to stop, "" if the server doesn't say; only the embedded one does.
    """

    kind: str
    run_id: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


class SweepClient:
    """Calls of one process to one server.

    open_access: returns where the server is; asked again whenever it can't be reached there, since an embedded server
    may come back on another node. patience_s: how long a call is retried while the server can't be reached or says
    "later" (429, 5xx). The waits grow from 1 to 30 s with jitter, and obey Retry-After. is_given_up: asked before
    every retry; True ends the call as if patience were at its end. Errors of every method: ServerError for a lasting
    answer, ServerUnreachableError when patience is at its end, and those of open_access.
    """

    def __init__(
        self,
        open_access: Callable[[], ServerAccess],
        *,
        patience_s: float,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_access = open_access
        self._access: ServerAccess | None = None
        self._place = "the sweep server"
        self._patience_s = patience_s
        self._session = session or requests.Session()
        self._session.headers["User-Agent"] = "hydra-wandb-sweeper"
        self._sleep = sleep
        self._clock = clock
        self._is_given_up = is_given_up

    def default_entity(self) -> str:
        """Return the entity that the login stands for."""
        viewer = self._graphql(_VIEWER, {}).get("viewer")
        if not viewer or not viewer.get("entity"):
            raise ServerError(
                f"{self._place} doesn't accept the API key. Check WANDB_API_KEY or run `wandb login`.", 401
            )
        return str(viewer["entity"])

    def create_sweep(
        self, config_yaml: str, *, entity: str | None, project: str, description: str | None
    ) -> SweepRef:
        """Create a sweep from a W&B sweep config (YAML text)."""
        answer = self._graphql(
            _UPSERT_SWEEP,
            {"config": config_yaml, "description": description, "entityName": entity, "projectName": project},
        )["upsertSweep"]
        for warning in answer.get("configValidationWarnings") or ():
            log.warning("The server says of the sweep config: %s", warning)
        sweep = answer["sweep"]
        owner = sweep.get("project") or {}
        name_of_entity = (owner.get("entity") or {}).get("name") or entity or self.default_entity()
        return SweepRef(name_of_entity, owner.get("name") or project, sweep["name"])

    def get_sweep(self, ref: SweepRef) -> SweepInfo | None:
        """Return what the server knows of a sweep, None if there is no such sweep."""
        try:
            answer = self._graphql(_GET_SWEEP, {"entity": ref.entity, "project": ref.project, "sweep": ref.sweep_id})
        except ServerError as error:
            if error.status == 404:
                return None
            raise
        sweep = (answer.get("project") or {}).get("sweep")
        if not sweep:
            return None
        config = from_yaml(sweep.get("config") or "")
        return SweepInfo(ref, sweep["id"], str(sweep["state"]).upper(), config)

    def sweep_runs(self, ref: SweepRef) -> Iterator[RunInfo]:
        """Yield a sweep's runs, oldest first."""
        filters = json.dumps({"sweep": ref.sweep_id})
        variables = {"entity": ref.entity, "project": ref.project, "filters": filters, "cursor": None}
        while True:
            runs = self._graphql(_GET_RUNS, variables)["project"]["runs"]
            for node in (edge["node"] for edge in runs["edges"]):
                config = json.loads(node["config"] or "{}")
                values = {
                    key: item["value"] for key, item in config.items() if isinstance(item, dict) and "value" in item
                }
                yield RunInfo(node["name"], node["state"], values, json.loads(node["summaryMetrics"] or "{}"))
            if not runs["pageInfo"]["hasNextPage"]:
                return
            variables["cursor"] = runs["pageInfo"]["endCursor"]

    def pause_sweep(self, ref: SweepRef) -> None:
        """Let no new trial begin until it is resumed (W&B: `wandb sweep --pause`)."""
        self._set_state(ref, "PAUSED", ("PENDING", "RUNNING"))

    def resume_sweep(self, ref: SweepRef) -> None:
        """Let trials begin again (W&B: `wandb sweep --resume`)."""
        self._set_state(ref, "RUNNING", ("PAUSED",))

    def end_sweep(self, ref: SweepRef) -> None:
        """Let no new trial begin; what runs may end (W&B: `wandb sweep --stop`). Nothing if it has ended."""
        self._set_state(ref, "FINISHED")

    def cancel_sweep(self, ref: SweepRef) -> None:
        """Let no new trial begin and stop what runs (W&B: `wandb sweep --cancel`). Nothing if it has ended."""
        self._set_state(ref, "CANCELED")

    def _set_state(self, ref: SweepRef, state: str, before: Sequence[str] = ("PENDING", "RUNNING", "PAUSED")) -> None:
        info = self.get_sweep(ref)
        if info is None or info.state not in before:
            return
        self._graphql(
            _UPSERT_SWEEP,
            {"id": info.node_id, "state": state, "entityName": ref.entity, "projectName": ref.project},
        )

    def create_agent(self, ref: SweepRef, host: str) -> str | None:
        """Register an agent and return its id; None if the sweep is no longer running (a clean end)."""
        try:
            answer = self._graphql(
                _CREATE_AGENT,
                {"host": host, "entityName": ref.entity, "projectName": ref.project, "sweep": ref.sweep_id},
            )
        except ServerError as error:
            if error.status == 404 or (error.status in (200, 400, 409) and "is not running" in str(error)):
                return None
            raise
        return str(answer["createAgent"]["agent"]["id"])

    def heartbeat(self, agent_id: str, live_runs: tuple[str, ...], *, patient: bool = True) -> list[Command]:
        """Tell the server which runs are alive in this agent and return its commands.

        patient: False tries once, for use while a trial must be watched. A deleted sweep answers `exit`.
        """
        state = json.dumps(dict.fromkeys(live_runs, True))
        variables = {"id": agent_id, "metrics": "{}", "runState": state}
        try:
            answer = self._graphql(_HEARTBEAT, variables, patience_s=None if patient else 0.0)
        except ServerError as error:
            if error.status == 404:
                return [Command("exit")]
            raise
        return [_command(item) for item in json.loads(answer["agentHeartbeat"]["commands"] or "[]")]

    def record_death(self, ref: SweepRef, run_id: str, exit_code: int, reason: str) -> Mapping[str, Any]:
        """End a run whose process died without a word: reason in its log and summary, then its exit code.

        Returns the summary, as far as the process has sent it.
        """
        variables = {"entity": ref.entity, "project": ref.project, "name": run_id}
        bucket = (self._graphql(_RUN_TAIL, variables).get("model") or {}).get("bucket")
        if not bucket:
            return {}
        summary = json.loads(bucket.get("summaryMetrics") or "{}") or {}
        summary["trial_error"] = reason
        body: dict[str, Any] = {
            "files": {
                "output.log": {"offset": bucket.get("logLineCount") or 0, "content": [f"{reason}\n"]},
                "wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]},
            },
        }
        self._end_run(ref, run_id, exit_code, body)
        return summary

    def mark_preempting(self, ref: SweepRef, run_id: str) -> None:
        """Say that a run will be interrupted and shall go on elsewhere (W&B: run.mark_preempting()). Tried once."""
        path = f"/files/{ref.entity}/{ref.project}/{run_id}/file_stream"
        self._post(path, {"preempting": True}, 0.0)

    def record_end(self, ref: SweepRef, run_id: str, exit_code: int) -> None:
        """End a run on the server that has ended elsewhere."""
        self._end_run(ref, run_id, exit_code, {})

    def _end_run(self, ref: SweepRef, run_id: str, exit_code: int, body: Mapping[str, Any]) -> None:
        path = f"/files/{ref.entity}/{ref.project}/{run_id}/file_stream"
        self._post(path, {**body, "complete": True, "exitcode": exit_code}, self._patience_s)

    def _graphql(self, query: str, variables: Mapping[str, Any], patience_s: float | None = None) -> dict[str, Any]:
        body = {"query": query, "variables": dict(variables)}
        answer = self._post("/graphql", body, self._patience_s if patience_s is None else patience_s)
        if answer.get("errors"):
            raise ServerError(f"{self._place} says: {_messages(answer)}", 200)
        return answer.get("data") or {}

    def _post(self, path: str, body: Mapping[str, Any], patience_s: float) -> dict[str, Any]:
        retrying = tenacity.Retrying(
            sleep=self._sleep,
            stop=_StopAfter(patience_s, self._clock, self._is_given_up),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(_Later),
            before_sleep=_log_wait,
        )
        try:
            return retrying(self._post_once, path, body)
        except tenacity.RetryError as error:
            later = error.last_attempt.exception()
            within = f" within {patience_s:.0f} s" if patience_s else ""
            raise ServerUnreachableError(
                f"No usable answer from {self._place}{within}: {later}. "
                "Check that the server runs and can be reached from this machine."
            ) from later

    def _post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        access = self._current_access()
        try:
            response = self._session.post(
                access.url.rstrip("/") + path, json=body, auth=("api", access.api_key), timeout=60
            )
        except requests.RequestException as error:
            self._access = None
            raise _Later(str(error)) from error
        if response.status_code in _RETRIED_STATUS:
            raise _Later(f"HTTP {response.status_code}: {response.text[:500]}", _retry_after_s(response))
        if response.status_code >= 400:
            raise ServerError(
                f"{self._place} refused the request (HTTP {response.status_code}): {_messages_of(response)}",
                response.status_code,
            )
        try:
            return dict(response.json() or {})
        except ValueError as error:
            raise ServerError(
                f"{self._place} doesn't answer like a W&B server: {response.text[:200]!r}", response.status_code
            ) from error

    def _current_access(self) -> ServerAccess:
        if self._access is None:
            try:
                self._access = self._open_access()
            except ServerUnreachableError as error:  # it isn't anywhere now
                raise _Later(str(error)) from error
            self._place = self._access.url
        return self._access


class _Later(Exception):
    """An answer that means: try again. after_s: how long the server asks to wait, None if it doesn't say."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class _StopAfter(tenacity.stop.stop_base):
    """Stop once the next wait would end after the deadline, or the caller has given up."""

    def __init__(self, patience_s: float, clock: Callable[[], float], is_given_up: Callable[[], bool]) -> None:
        self._clock = clock
        self._is_given_up = is_given_up
        self._deadline = clock() + patience_s

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        return self._is_given_up() or self._clock() + (state.upcoming_sleep or 0) >= self._deadline


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _Later) and error.after_s is not None:
        return error.after_s
    # Jitter, so that 80 agents that lost the server together don't come back together.
    return min(30.0, 2.0 ** (state.attempt_number - 1)) * random.uniform(0.5, 1.0)


def _log_wait(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("The sweep server can't answer (%s); trying again in %.1f s.", error, state.upcoming_sleep)


def _retry_after_s(response: requests.Response) -> float | None:
    header = response.headers.get("Retry-After")
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _messages(answer: Mapping[str, Any]) -> str:
    return "; ".join(str(e.get("message", e)) if isinstance(e, dict) else str(e) for e in answer["errors"])


def _messages_of(response: requests.Response) -> str:
    try:
        answer = response.json()
        return _messages(answer) if answer.get("errors") else response.text[:500]
    except (ValueError, AttributeError, TypeError):
        return response.text[:500]


def _command(item: Mapping[str, Any]) -> Command:
    args = {name: wrapped["value"] for name, wrapped in (item.get("args") or {}).items()}
    args.pop("_wandb", None)
    return Command(str(item.get("type")), str(item.get("run_id", "")), args, str(item.get("reason") or ""))
