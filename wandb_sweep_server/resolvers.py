"""From GraphQL fields to the store. Each field is read from the row of its object; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ariadne import MutationType, ObjectType, QueryType, ScalarType, make_executable_schema
from graphql import GraphQLSchema

from . import jsontext, run_states, scheduling
from .errors import ClientError, NotFoundError
from .filters import Condition
from .listing import Page, RunLists, page_bounds, page_of
from .projects import DEFAULT_ENTITY
from .records import Agent, Project, Run, RunFile, Sweep, global_id
from .runs import RunFields, parsed_object
from .search.space import plain_args
from .store import Store
from .sweeps import SweepChange

if TYPE_CHECKING:
    from typing import TypeAlias

    from graphql import GraphQLResolveInfo

    Info: TypeAlias = GraphQLResolveInfo["Context"]  # not generic at run time in graphql-core 3.2

# What W&B's SDK asks for by name; everything else is absent, and said to be.
_FEATURES = {"SWEEPS_LOCAL_SCHEDULER": True}


class Context:
    """What resolvers work with. base_url: as the client sees this server."""

    def __init__(self, store: Store, base_url: str) -> None:
        self.store = store
        self.lists = RunLists(store.database, store.runs)
        self.base_url = base_url


def build_schema() -> GraphQLSchema:
    """Return the executable schema."""
    text = files("wandb_sweep_server").joinpath("schema.graphql").read_text(encoding="utf-8")
    bound = (_json_string, _int64, _query, _mutation, _bucket_payload, _project, _run, _sweep, _agent, _file)
    return make_executable_schema(text, *bound, convert_names_case=False)


def _store(info: Info) -> Store:
    return info.context.store


def _lists(info: Info) -> RunLists:
    return info.context.lists


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _connection(page: Page[Any]) -> dict[str, Any]:
    edges = [{"node": item, "cursor": page.cursor(index)} for index, item in enumerate(page.items)]
    end = edges[-1]["cursor"] if edges else None
    return {"edges": edges, "pageInfo": {"endCursor": end, "hasNextPage": page.has_next}}


def _entity(name: str) -> dict[str, Any]:
    return {"id": global_id("Entity", 1), "name": name, "organization": {"coreWeaveOrganizationId": None}}


_USER: dict[str, Any] = {
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

# --- scalars ---

_json_string = ScalarType("JSONString")
_int64 = ScalarType("Int64")


@_json_string.value_parser
def _text_of_json(value: Any) -> str:
    # What it holds is read where it is used.
    if not isinstance(value, str):
        raise ValueError("It must be a text that holds JSON.")
    return value


@_int64.value_parser
def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("It must be an integer of at most 64 bits.")
    return value


# --- queries ---

_query = QueryType()


@_query.field("viewer")
def _viewer(*_: Any) -> dict[str, Any]:
    return _USER


@_query.field("serverInfo")
def _server_info(*_: Any) -> dict[str, Any]:
    return {"features": [{"name": name, "isEnabled": on} for name, on in _FEATURES.items()]}


@_query.field("entity")
def _entity_by_name(_: Any, info: Info, name: str) -> dict[str, Any]:
    return _entity(name)


@_query.field("project")
@_query.field("model")
def _project_by_name(_: Any, info: Info, name: str | None = None, entityName: str | None = None) -> Project | None:
    return _store(info).projects.find(entityName, name)


@_query.field("models")
def _projects(
    _: Any,
    info: Info,
    entityName: str | None = None,
    after: str | None = None,
    first: int | None = None,
) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    found = _store(info).projects.page(entityName, offset, count + 1)
    return _connection(page_of(found, offset, count))


# --- mutations ---

_mutation = MutationType()


@_mutation.field("upsertModel")
def _upsert_model(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    projects = _store(info).projects
    known = projects.find(input.get("entityName"), input.get("name"))
    project = known or projects.require(input.get("entityName"), input.get("name"))
    return {"model": project, "project": project, "inserted": known is None}


_bucket_payload = ObjectType("UpsertBucketPayload")
_bucket_payload.set_field("serverSettings", lambda *_: {"serverMessages": []})


@_mutation.field("upsertBucket")
def _upsert_bucket(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = _store(info)
    fields = RunFields(
        display_name=input.get("displayName"),
        description=input.get("description"),
        notes=input.get("notes"),
        group_name=input.get("groupName"),
        job_type=input.get("jobType"),
        host=input.get("host"),
        program=input.get("jobProgram"),
        repo=input.get("jobRepo"),
        commit_hash=input.get("commit"),
        tags=input.get("tags"),
        config=parsed_object("config", input.get("config")),
        summary=parsed_object("summaryMetrics", input.get("summaryMetrics")),
    )
    if input.get("id") and not input.get("name"):
        # The public API changes a run by its opaque id alone; that doesn't mean that a process runs. A process that
        # resumes its run gives both.
        return {"bucket": store.runs.edit(store.runs.require(input["id"]), fields), "inserted": False}
    project = store.projects.require(input.get("entityName"), input.get("modelName"))
    starts = input.get("state") != run_states.PENDING
    run, inserted = store.runs.announce(project, input.get("name"), input.get("sweep"), fields, starts=starts)
    return {"bucket": run, "inserted": inserted}


@_mutation.field("upsertSweep")
def _upsert_sweep(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = _store(info)
    change = SweepChange(
        config=input.get("config"),
        state=input.get("state"),
        display_name=input.get("displayName"),
        description=input.get("description"),
        controller=input.get("controller"),
        scheduler=input.get("scheduler"),
    )
    if input.get("id"):
        sweep = store.sweeps.change(_sweep_of_input(store, input), change)
    else:
        project = store.projects.require(input.get("entityName"), input.get("projectName"))
        sweep = store.sweeps.create(project, change)
    return {"sweep": sweep, "configValidationWarnings": list(store.sweeps.config(sweep).warnings)}


def _sweep_of_input(store: Store, input: dict[str, Any]) -> Sweep:
    """The SDK gives the opaque id, W&B's scheduler the short one."""
    project = store.projects.find(input.get("entityName"), input.get("projectName"))
    by_name = store.sweeps.by_name(project.id, input["id"]) if project else None
    return by_name or store.sweeps.require(input["id"])


@_mutation.field("createAgent")
def _create_agent(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = _store(info)
    project = store.projects.find(input.get("entityName"), input.get("projectName"))
    sweep = store.sweeps.by_name(project.id, input["sweep"]) if project else None
    if sweep is None:
        raise NotFoundError(f"sweep {input['sweep']!r} does not exist in project {input.get('projectName')!r}")
    return {"agent": store.agents.register(sweep, input["host"])}


@_mutation.field("agentHeartbeat")
def _agent_heartbeat(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    commands = _store(info).agents.heartbeat(input["id"], input.get("runState"))
    return {"agent": _SeenAgent(input["id"]), "commands": jsontext.dumps(commands)}


class _SeenAgent:
    """All that an answer to a heartbeat says of the agent."""

    def __init__(self, node_id: str) -> None:
        self.id = node_id


@_mutation.field("createRunFiles")
def _create_run_files(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    run = _run_of_input(info, input)
    announced = _store(info).files.announce(run, input["files"])
    base_url = info.context.base_url
    places = [{"name": file.name, "uploadUrl": f"{base_url}/upload/{file.token}"} for file in announced]
    return {"runID": global_id("Run", run.id), "uploadHeaders": [], "files": places}


@_mutation.field("markRunFilesUploaded")
def _mark_uploaded(*_: Any, **__: Any) -> dict[str, Any]:
    return {"success": True}


def _run_of_input(info: Info, input: dict[str, Any]) -> Run:
    store = _store(info)
    project = store.projects.find(input.get("entityName"), input.get("projectName"))
    run = store.runs.by_name(project.id, input["runName"]) if project else None
    if run is None:
        raise NotFoundError(f"run {input['runName']!r} does not exist in project {input.get('projectName')!r}")
    return run


@_mutation.field("stopRun")
def _stop_run(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    runs = _store(info).runs
    runs.request_stop(runs.require(input["id"]))
    return {"success": True}


@_mutation.field("enqueueSweepRun")
def _enqueue(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = _store(info)
    sweep = store.sweeps.require(input["id"])
    args = plain_args(parsed_object("config", input["config"]) or {})
    run = store.agents.enqueue(sweep, store.projects.by_id(sweep.project_id), args, input.get("displayName"))
    return {"id": run.name, "runQueueItemId": global_id("RunQueueItem", run.id)}


# --- projects ---

_project = ObjectType("Project")
_project.set_field("id", lambda p, _: global_id("Project", p.id))
_project.set_field("internalId", lambda p, _: global_id("ProjectInternalId", p.id))
_project.set_field("entityName", lambda p, _: p.entity)
_project.set_field("entity", lambda p, _: _entity(p.entity))
_project.set_field("createdAt", lambda p, _: _time(p.created_at))
_project.set_field("user", lambda *_: _USER)
_project.set_field("access", lambda *_: "PRIVATE")
_project.set_field("isBenchmark", lambda *_: False)  # wandb 0.31 takes no null here
_project.set_field("readOnly", lambda *_: False)


def _in_project(project: Project) -> Condition:
    return Condition("project_id = ?", (project.id,))


@_project.field("runCount")
def _run_count(project: Project, info: Info, filters: str | None = None) -> int:
    return _lists(info).count(_in_project(project), filters)


@_project.field("runs")
def _runs_of_project(
    project: Project,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    return _connection(_lists(info).page(_in_project(project), filters, order, after, first))


@_project.field("run")
def _run_of_project(project: Project, info: Info, name: str) -> Run | None:
    return _store(info).runs.by_name(project.id, name)


@_project.field("bucket")
def _bucket(project: Project, info: Info, name: str, missingOk: bool = False) -> Run | None:
    run = _store(info).runs.by_name(project.id, name)
    if run is None and not missingOk:
        raise NotFoundError(f"run {name!r} does not exist in {project.entity}/{project.name}")
    return run


@_project.field("totalSweeps")
def _total_sweeps(project: Project, info: Info) -> int:
    return _store(info).sweeps.count(project.id)


@_project.field("sweeps")
def _sweeps(
    project: Project, info: Info, after: str | None = None, first: int | None = None, **_: Any
) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    return _connection(page_of(_store(info).sweeps.page(project.id, offset, count + 1), offset, count))


@_project.field("sweep")
def _sweep_of_project(project: Project, info: Info, sweepName: str) -> Sweep | None:
    return _store(info).sweeps.by_name(project.id, sweepName)


# --- runs ---

_run = ObjectType("Run")


def _run_field(name: str, read: Callable[[Run], Any]) -> None:
    _run.set_field(name, lambda run, _: read(run))


for _name, _read in {
    "id": lambda run: global_id("Run", run.id),
    "internalId": lambda run: global_id("RunInternalId", run.id),
    "projectId": lambda run: str(run.project_id),
    "displayName": lambda run: run.display_name or run.name,
    "tags": lambda run: jsontext.loads(run.tags),
    "group": lambda run: run.group_name,
    "jobType": lambda run: run.job_type,
    "commit": lambda run: run.commit_hash,
    "user": lambda _: _USER,
    "readOnly": lambda _: False,
    "createdAt": lambda run: _time(run.created_at),
    "heartbeatAt": lambda run: _time(run.heartbeat_at),
    "exitcode": lambda run: run.exit_code,
    "shouldStop": lambda run: bool(run.stop_requested),
    "stopped": lambda run: bool(run.stop_requested),
    "failed": lambda run: run.state in (run_states.FAILED, run_states.CRASHED),
    "running": lambda run: run.state in run_states.LIVE,
    "summaryMetrics": lambda run: run.summary,
    "historyLineCount": lambda run: run.history_lines,
    "eventsLineCount": lambda run: run.events_lines,
    "logLineCount": lambda run: run.log_lines,
}.items():
    _run_field(_name, _read)


@_run.field("project")
def _project_of_run(run: Run, info: Info) -> Project:
    return _store(info).projects.by_id(run.project_id)


@_run.field("sweepName")
def _sweep_name(run: Run, info: Info) -> str | None:
    sweep = _store(info).sweeps.by_id(run.sweep_id) if run.sweep_id is not None else None
    return sweep.name if sweep else None


@_run.field("wandbConfig")
def _wandb_config(run: Run, _: Info, keys: list[str] | None = None) -> str:
    """The SDK's own part of the config; without a `t` in it the SDK takes the run for one that never started."""
    own = jsontext.loads(run.config).get("_wandb") or {}
    value = own.get("value") or {}
    return jsontext.dumps({key: value[key] for key in keys or value if key in value})


@_run.field("systemMetrics")
def _system_metrics(run: Run, info: Info) -> str:
    return _store(info).runs.last_line(run, "events") or "{}"


@_run.field("historyKeys")
def _history_keys(run: Run, info: Info) -> dict[str, Any]:
    last = jsontext.loads(_store(info).runs.last_line(run, "history") or "{}")
    keys = {key: {"typeCounts": [{"type": _json_type(value)}]} for key, value in last.items()}
    return {"sets": [], "keys": keys, "lastStep": last.get("_step", -1)}


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "string" if isinstance(value, str) else "object"


@_run.field("historyTail")
def _history_tail(run: Run, info: Info) -> str:
    line = _store(info).runs.last_line(run, "history")
    return jsontext.dumps([line] if line is not None else [])


@_run.field("eventsTail")
def _events_tail(run: Run, info: Info) -> str:
    line = _store(info).runs.last_line(run, "events")
    return jsontext.dumps([line] if line is not None else [])


@_run.field("history")
def _history(
    run: Run,
    info: Info,
    samples: int | None = None,
    minStep: int | None = None,
    maxStep: int | None = None,
) -> list[str]:
    if minStep is None and maxStep is None:
        return _lists(info).sampled_lines(run, "history", samples)
    return _lists(info).history_lines(run, minStep, maxStep)


@_run.field("events")
def _events(run: Run, info: Info, samples: int | None = None) -> list[str]:
    return _lists(info).sampled_lines(run, "events", samples)


@_run.field("sampledHistory")
def _sampled_history(run: Run, info: Info, specs: list[str]) -> list[list[dict[str, Any]]]:
    return [_lists(info).sampled_history(run, spec) for spec in specs]


@_run.field("logLines")
def _log_lines(
    run: Run,
    info: Info,
    first: int | None = None,
    last: int | None = None,
    after: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    if last is not None:
        offset, count = max(0, run.log_lines - last), last
    else:
        offset, count = page_bounds(after, first)
    found = _store(info).runs.lines(run, "log", offset, count + 1)
    return _connection(page_of([{"number": n, "line": text} for n, text in found], offset, count))


@_run.field("fileCount")
def _file_count(run: Run, info: Info) -> int:
    return len(_store(info).files.of_run(run, None))


@_run.field("files")
def _files(
    run: Run,
    info: Info,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
    **_: Any,
) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    found = _store(info).files.of_run(run, names)
    return _connection(page_of([(run, file) for file in found[offset : offset + count + 1]], offset, count))


# A file is (run, row): its address needs both.
_file = ObjectType("File")
_file.set_field("id", lambda item, _: global_id("File", item[1].id))
_file.set_field("name", lambda item, _: item[1].name)
_file.set_field("sizeBytes", lambda item, _: item[1].size_bytes)
_file.set_field("updatedAt", lambda item, _: _time(item[1].updated_at))


@_file.field("url")
@_file.field("directUrl")
def _file_url(item: tuple[Run, RunFile], info: Info, upload: bool = False) -> str:
    run, file = item
    if upload:
        return f"{info.context.base_url}/upload/{file.token}"
    project = _store(info).projects.by_id(run.project_id)
    return f"{info.context.base_url}/files/{project.entity}/{project.name}/{run.name}/{file.name}"


# --- sweeps ---

_sweep = ObjectType("Sweep")
_sweep.set_field("id", lambda s, _: global_id("Sweep", s.id))
_sweep.set_field("displayName", lambda s, _: s.display_name)
_sweep.set_field("controllerRunName", lambda s, _: s.controller_run_name)
_sweep.set_field("createdAt", lambda s, _: _time(s.created_at))
_sweep.set_field("updatedAt", lambda s, _: _time(s.updated_at))
_sweep.set_field("heartbeatAt", lambda s, _: _time(s.updated_at))
_sweep.set_field("earlyStopJobRunning", lambda *_: False)
_sweep.set_field("runCount", lambda s, _: s.run_count)


@_sweep.field("runCountExpected")
def _expected(sweep: Sweep, info: Info) -> int | None:
    count = _store(info).sweeps.config(sweep).trial_count
    # Clients have no larger integers; to them such a grid is without end.
    return count if count is not None and count < 2**63 else None


@_sweep.field("project")
def _project_of_sweep(sweep: Sweep, info: Info) -> Project:
    return _store(info).projects.by_id(sweep.project_id)


@_sweep.field("runs")
def _runs_of_sweep(
    sweep: Sweep,
    info: Info,
    filters: str | None = None,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
) -> dict[str, Any]:
    return _connection(_lists(info).page(Condition("sweep_id = ?", (sweep.id,)), filters, order, after, first))


@_sweep.field("agents")
def _agents_of_sweep(sweep: Sweep, info: Info) -> dict[str, Any]:
    return {"edges": [{"node": agent} for agent in _store(info).agents.of_sweep(sweep)]}


@_sweep.field("agent")
def _agent_of_sweep(sweep: Sweep, info: Info, agentName: str) -> Agent | None:
    agents = _store(info).agents.of_sweep(sweep)
    return next((a for a in agents if agentName in (a.name, global_id("Agent", a.id))), None)


# --- agents ---

_agent = ObjectType("Agent")
_agent.set_field("id", lambda a, _: a.id if isinstance(a, _SeenAgent) else global_id("Agent", a.id))
_agent.set_field("totalRuns", lambda a, _: a.run_count)
_agent.set_field("createdAt", lambda a, _: _time(a.created_at))
_agent.set_field("heartbeatAt", lambda a, _: _time(a.heartbeat_at))


@_agent.field("state")
def _agent_state(agent: Agent, info: Info) -> str:
    sweep = _store(info).sweeps.by_id(agent.sweep_id)
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
    return _connection(_lists(info).page(Condition("agent_id = ?", (agent.id,)), None, order, after, first))


def client_error(error: Any) -> ClientError | None:
    """The lasting error behind a GraphQL error, None if there is none."""
    original = getattr(error, "original_error", None)
    return original if isinstance(original, ClientError) else None
