"""The sweep server as this project sees it: W&B's GraphQL and file_stream protocol, nothing of Hydra.

W&B cloud, self-hosted W&B and the embedded server are the same thing here.
The operations are those that W&B's SDK sends (wandb 0.19 to 0.31).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._errors import ServerError
from ._sweep_config import from_yaml
from ._times import epoch_s
from ._transport import TIMEOUT_S, ServerAccess, Transport

if TYPE_CHECKING:
    import requests

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
    sweep(sweepName: $sweep) { id name state config description createdAt }
  }
}"""
_GET_RUNS = """
query Runs($entity: String!, $project: String!, $filters: JSONString, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, after: $cursor, first: 200, order: "+created_at") {
      edges { node {
        name displayName state config summaryMetrics createdAt heartbeatAt group jobType notes tags
      } }
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
# The same in words that only embedded servers know.
_CREATE_OWN_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!, $label: String,
                     $job: String) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep,
                      label: $label, job: $job}) {
    agent { id }
  }
}"""
_HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""
_END_AGENT = """
mutation EndAgent($id: ID!, $how: String!) {
  endAgent(input: {id: $id, how: $how}) { success }
}"""
_RUN_TAIL = """
query RunResumeStatus($entity: String, $project: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    bucket(name: $name, missingOk: true) { id name summaryMetrics logLineCount }
  }
}"""


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
    """What the server says of a sweep. node_id: its GraphQL id; state: upper case (RUNNING, FINISHED, …).

    created_at: in seconds since the epoch, None if the server doesn't say.
    """

    ref: SweepRef
    node_id: str
    state: str
    config: Mapping[str, Any]
    description: str | None = None
    created_at: float | None = None


@dataclass(frozen=True)
class RunInfo:
    """What the server says of a run. state: lower case (running, finished, failed, crashed, …).

    name: which people see. created_at, heard_at: its beginning and its last sign of life, in seconds since the epoch,
    None if the server doesn't say. group, job_type, notes: None if it has none.
    """

    run_id: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    name: str = ""
    created_at: float | None = None
    heard_at: float | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """One instruction of the server to an agent. kind: run | resume | stop | exit; args: name -> bare value.

    reason: why to stop, "" if the server doesn't say. is_retry: somebody wants the run to be tried again, however it
    ended. Only the embedded server says either.
    """

    kind: str
    run_id: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    is_retry: bool = False


class SweepClient:
    """Calls of one process to one server.

    For the arguments see Transport. Errors of every method: those of Transport.
    """

    def __init__(
        self,
        open_access: Callable[[], ServerAccess],
        *,
        patience_s: float,
        timeout_s: float = TIMEOUT_S,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._transport = Transport(
            open_access,
            patience_s=patience_s,
            timeout_s=timeout_s,
            session=session,
            sleep=sleep,
            clock=clock,
            is_given_up=is_given_up,
        )

    def default_entity(self, patience_s: float | None = None) -> str:
        """Return the entity that the login stands for. patience_s: for this request."""
        viewer = self._transport.graphql(_VIEWER, {}, patience_s).get("viewer")
        if not viewer or not viewer.get("entity"):
            raise ServerError(
                f"{self._transport.place} doesn't accept the API key. Check WANDB_API_KEY or run `wandb login`.", 401
            )
        return str(viewer["entity"])

    def create_sweep(
        self,
        config_yaml: str,
        *,
        entity: str | None,
        project: str,
        description: str | None,
        patience_s: float | None = None,
    ) -> SweepRef:
        """Create a sweep from a W&B sweep config (YAML text). patience_s: for this call; None is the client's."""
        answer = self._transport.graphql(
            _UPSERT_SWEEP,
            {"config": config_yaml, "description": description, "entityName": entity, "projectName": project},
            patience_s,
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
            answer = self._transport.graphql(
                _GET_SWEEP, {"entity": ref.entity, "project": ref.project, "sweep": ref.sweep_id}
            )
        except ServerError as error:
            if error.status == 404:
                return None
            raise
        sweep = (answer.get("project") or {}).get("sweep")
        if not sweep:
            return None
        config, created_at = from_yaml(sweep.get("config") or ""), epoch_s(sweep.get("createdAt"))
        return SweepInfo(ref, sweep["id"], str(sweep["state"]).upper(), config, sweep.get("description"), created_at)

    def sweep_runs(self, ref: SweepRef) -> Iterator[RunInfo]:
        """Yield a sweep's runs, oldest first."""
        return _runs(self._transport, ref, {"sweep": ref.sweep_id})

    def get_run(self, ref: SweepRef, run_id: str) -> RunInfo | None:
        """Return a run of the sweep's project, None if the server shows none (yet)."""
        return find_run(self._transport, ref, run_id)

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
        self._transport.graphql(
            _UPSERT_SWEEP,
            {"id": info.node_id, "state": state, "entityName": ref.entity, "projectName": ref.project},
        )

    def create_agent(self, ref: SweepRef, host: str) -> str | None:
        """Register an agent and return its id; None if the sweep is no longer running (a clean end)."""
        return self._create_agent(_CREATE_AGENT, ref, {"host": host})

    def create_own_agent(self, ref: SweepRef, host: str, label: str, job: str | None) -> str | None:
        """The same at an embedded server, whose pages then call the agent by its label, and name the job it is in."""
        try:
            return self._create_agent(_CREATE_OWN_AGENT, ref, {"host": host, "label": label, "job": job})
        except ServerError as error:
            if error.status != 400:
                raise
            # One of an earlier version, elsewhere. What is only shown keeps nobody from working.
            return self.create_agent(ref, host)

    def _create_agent(self, mutation: str, ref: SweepRef, agent: Mapping[str, str | None]) -> str | None:
        sweep = {"entityName": ref.entity, "projectName": ref.project, "sweep": ref.sweep_id}
        try:
            answer = self._transport.graphql(mutation, {**sweep, **agent})
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
            answer = self._transport.graphql(_HEARTBEAT, variables, patience_s=None if patient else 0.0)
        except ServerError as error:
            if error.status == 404:
                return [Command("exit")]
            raise
        return [_command(item) for item in json.loads(answer["agentHeartbeat"]["commands"] or "[]")]

    def end_agent(self, agent_id: str, how: str) -> None:
        """Tell an embedded server that an agent has `finished` or `died`; W&B's have no word for that. Tried once."""
        self._transport.graphql(_END_AGENT, {"id": agent_id, "how": how}, patience_s=0.0)

    def record_death(
        self, ref: SweepRef, run_id: str, exit_code: int, reason: str, log_lines: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """End a run whose process died without a word: reason in its log and summary, then its exit code.

        log_lines: what it printed, with line ends; sent if the process hasn't sent any of it. Returns the summary, as
        far as the process has sent it.
        """
        variables = {"entity": ref.entity, "project": ref.project, "name": run_id}
        bucket = (self._transport.graphql(_RUN_TAIL, variables).get("model") or {}).get("bucket")
        if not bucket:
            return {}
        summary = json.loads(bucket.get("summaryMetrics") or "{}") or {}
        summary["trial_error"] = reason
        sent = bucket.get("logLineCount") or 0
        lines = [f"{reason}\n"] if sent else [*log_lines, f"{reason}\n"]
        body: dict[str, Any] = {
            "files": {
                "output.log": {"offset": sent, "content": lines},
                "wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]},
            },
        }
        self._end_run(ref, run_id, exit_code, body)
        return summary

    def mark_preempting(self, ref: SweepRef, run_id: str) -> None:
        """Say that a run will be interrupted and shall go on elsewhere (W&B: run.mark_preempting()). Tried once."""
        path = f"/files/{ref.entity}/{ref.project}/{run_id}/file_stream"
        self._transport.post(path, {"preempting": True}, 0.0)

    def record_end(self, ref: SweepRef, run_id: str, exit_code: int) -> None:
        """End a run on the server that has ended elsewhere."""
        self._end_run(ref, run_id, exit_code, {})

    def _end_run(self, ref: SweepRef, run_id: str, exit_code: int, body: Mapping[str, Any]) -> None:
        path = f"/files/{ref.entity}/{ref.project}/{run_id}/file_stream"
        self._transport.post(path, {**body, "complete": True, "exitcode": exit_code})


def find_run(transport: Transport, ref: SweepRef, run_id: str, patience_s: float | None = None) -> RunInfo | None:
    """SweepClient.get_run over another client's connection. patience_s: as of Transport.graphql."""
    return next(_runs(transport, ref, {"name": run_id}, patience_s), None)


def _runs(
    transport: Transport, ref: SweepRef, filters: Mapping[str, str], patience_s: float | None = None
) -> Iterator[RunInfo]:
    variables = {"entity": ref.entity, "project": ref.project, "filters": json.dumps(filters), "cursor": None}
    while True:
        runs = transport.graphql(_GET_RUNS, variables, patience_s)["project"]["runs"]
        for node in (edge["node"] for edge in runs["edges"]):
            yield _run(node)
        if not runs["pageInfo"]["hasNextPage"]:
            return
        variables["cursor"] = runs["pageInfo"]["endCursor"]


def _run(node: Mapping[str, Any]) -> RunInfo:
    config = json.loads(node["config"] or "{}")
    return RunInfo(
        run_id=node["name"],
        state=node["state"],
        config={k: item["value"] for k, item in config.items() if isinstance(item, dict) and "value" in item},
        summary=json.loads(node["summaryMetrics"] or "{}"),
        name=node.get("displayName") or node["name"],
        created_at=epoch_s(node.get("createdAt")),
        heard_at=epoch_s(node.get("heartbeatAt")),
        group=node.get("group") or None,
        job_type=node.get("jobType") or None,
        notes=node.get("notes") or None,
        tags=tuple(node.get("tags") or ()),
    )


def _command(item: Mapping[str, Any]) -> Command:
    args = {name: wrapped["value"] for name, wrapped in (item.get("args") or {}).items()}
    args.pop("_wandb", None)
    kind, run_id, reason = (str(item.get(key) or "") for key in ("type", "run_id", "reason"))
    return Command(kind, run_id, args, reason, is_retry=item.get("retry") is True)
