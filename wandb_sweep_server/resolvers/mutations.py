"""What clients change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ariadne import MutationType, ObjectType

from wandb_sweep_server import jsontext, run_states
from wandb_sweep_server.errors import ClientError, NotFoundError
from wandb_sweep_server.records import Run, Sweep, global_id
from wandb_sweep_server.runs import RunFields, parsed_object
from wandb_sweep_server.search.space import plain_args
from wandb_sweep_server.store import Store
from wandb_sweep_server.sweeps import SweepChange

from .agents import SeenAgent
from .context import store_of

if TYPE_CHECKING:
    from .context import Info


_mutation = MutationType()


@_mutation.field("upsertModel")
def _upsert_model(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    projects = store_of(info).projects
    known = projects.find(input.get("entityName"), input.get("name"))
    project = known or projects.require(input.get("entityName"), input.get("name"))
    return {"model": project, "project": project, "inserted": known is None}


_bucket_payload = ObjectType("UpsertBucketPayload")
_bucket_payload.set_field("serverSettings", lambda *_: {"serverMessages": []})


@_mutation.field("upsertBucket")
def _upsert_bucket(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = store_of(info)
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
    if _branch_point(fields.config):
        raise ClientError("fork_from is not available in this server: a run can't begin as a copy of another")
    if input.get("id") and not input.get("name"):
        # The public API changes a run by its opaque id alone; that doesn't mean that a process runs. A process that
        # resumes its run gives both.
        return {"bucket": store.runs.edit(store.runs.require(input["id"]), fields), "inserted": False}
    project = store.projects.require(input.get("entityName"), input.get("modelName"))
    starts = input.get("state") != run_states.PENDING
    run, inserted = store.runs.announce(project, input.get("name"), input.get("sweep"), fields, starts=starts)
    return {"bucket": run, "inserted": inserted}


def _branch_point(config: dict[str, Any] | None) -> Any:
    """The run and step from which the SDK wants a run to begin, None if it doesn't."""
    own = (config or {}).get("_wandb")
    value = own.get("value") if isinstance(own, dict) else None
    return value.get("branch_point") if isinstance(value, dict) else None


@_mutation.field("upsertSweep")
def _upsert_sweep(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = store_of(info)
    if input.get("launchScheduler") is not None:
        raise ClientError("sweeps on launch queues are not available in this server")
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
    warnings = list(store.sweeps.config(sweep).warnings)
    if parsed_object("priorRunsFilters", input.get("priorRunsFilters")):
        warnings.append("prior_runs have no effect in this server: the search begins without them")
    return {"sweep": sweep, "configValidationWarnings": warnings}


def _sweep_of_input(store: Store, input: dict[str, Any]) -> Sweep:
    """The SDK gives the opaque id, W&B's scheduler the short one."""
    project = store.projects.find(input.get("entityName"), input.get("projectName"))
    by_name = store.sweeps.by_name(project.id, input["id"]) if project else None
    return by_name or store.sweeps.require(input["id"])


@_mutation.field("createAgent")
def _create_agent(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = store_of(info)
    project = store.projects.find(input.get("entityName"), input.get("projectName"))
    sweep = store.sweeps.by_name(project.id, input["sweep"]) if project else None
    if sweep is None:
        raise NotFoundError(f"sweep {input['sweep']!r} does not exist in project {input.get('projectName')!r}")
    return {"agent": store.agents.register(sweep, input["host"], input.get("label"), input.get("job"))}


@_mutation.field("agentHeartbeat")
def _agent_heartbeat(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    commands = store_of(info).agents.heartbeat(input["id"], input.get("runState"), info.context.await_trial)
    return {"agent": SeenAgent(input["id"]), "commands": jsontext.dumps(commands)}


@_mutation.field("endAgent")
def _end_agent(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store_of(info).agents.end(input["id"], input["how"])
    return {"success": True}


@_mutation.field("createRunFiles")
def _create_run_files(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    run = _run_of_input(info, input)
    announced = store_of(info).files.announce(run, input["files"])
    base_url = info.context.base_url
    places = [{"name": file.name, "uploadUrl": f"{base_url}/upload/{file.token}"} for file in announced]
    return {"runID": global_id("Run", run.id), "uploadHeaders": [], "files": places}


@_mutation.field("markRunFilesUploaded")
def _mark_uploaded(*_: Any, **__: Any) -> dict[str, Any]:
    return {"success": True}


def _run_of_input(info: Info, input: dict[str, Any]) -> Run:
    store = store_of(info)
    project = store.projects.find(input.get("entityName"), input.get("projectName"))
    run = store.runs.by_name(project.id, input["runName"]) if project else None
    if run is None:
        raise NotFoundError(f"run {input['runName']!r} does not exist in project {input.get('projectName')!r}")
    return run


@_mutation.field("stopRun")
def _stop_run(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    runs = store_of(info).runs
    runs.request_stop(runs.require(input["id"]))
    return {"success": True}


@_mutation.field("deleteRun")
def _delete_run(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = store_of(info)
    run = store.runs.require(input["id"])
    if input.get("deleteArtifacts"):
        store.artifacts.delete_of_run(run)
    store.runs.delete(run)
    return {"clientMutationId": input.get("clientMutationId")}


@_mutation.field("deleteFiles")
def _delete_files(*_: Any, **__: Any) -> dict[str, Any]:
    raise ClientError("deleteFiles: single files can't be deleted in this server, only a run with all its files")


@_mutation.field("enqueueSweepRun")
def _enqueue(_: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    store = store_of(info)
    sweep = store.sweeps.require(input["id"])
    args = plain_args(parsed_object("config", input["config"]) or {})
    run = store.agents.enqueue(sweep, store.projects.by_id(sweep.project_id), args, input.get("displayName"))
    return {"id": run.name, "runQueueItemId": global_id("RunQueueItem", run.id)}


BINDABLES = (_mutation, _bucket_payload)
