"""The fields of a run and of its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ariadne import ObjectType

from wandb_sweep_server import jsontext, run_states
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.filestream import STREAMS
from wandb_sweep_server.listing import MAX_PAGE, page_bounds, page_of
from wandb_sweep_server.records import Project, Run, global_id

from .context import USER, connection, lists_of, store_of, time_text
from .file_views import run_file

if TYPE_CHECKING:
    from .context import Info


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
    "user": lambda _: USER,
    "readOnly": lambda _: False,
    "createdAt": lambda run: time_text(run.created_at),
    "heartbeatAt": lambda run: time_text(run.heartbeat_at),
    "exitcode": lambda run: run.exit_code,
    "shouldStop": lambda run: bool(run.stop_requested),
    "stopped": lambda run: bool(run.stop_requested),
    "stopReason": lambda run: run.stop_reason,
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
    return store_of(info).projects.by_id(run.project_id)


@_run.field("sweepName")
def _sweep_name(run: Run, info: Info) -> str | None:
    sweep = store_of(info).sweeps.by_id(run.sweep_id) if run.sweep_id is not None else None
    return sweep.name if sweep else None


@_run.field("wandbConfig")
def _wandb_config(run: Run, _: Info, keys: list[str] | None = None) -> str:
    """The SDK's own part of the config; without a `t` in it the SDK takes the run for one that never started."""
    own = jsontext.loads(run.config).get("_wandb") or {}
    value = own.get("value") or {}
    return jsontext.dumps({key: value[key] for key in keys or value if key in value})


@_run.field("systemMetrics")
def _system_metrics(run: Run, info: Info) -> str:
    return store_of(info).runs.last_line(run, "events") or "{}"


@_run.field("historyKeys")
def _history_keys(run: Run, info: Info) -> dict[str, Any]:
    last = jsontext.loads(store_of(info).runs.last_line(run, "history") or "{}")
    keys = {key: {"typeCounts": [{"type": _json_type(value)}]} for key, value in last.items()}
    return {"sets": [], "keys": keys, "lastStep": last.get("_step", -1)}


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "string" if isinstance(value, str) else "object"


@_run.field("historyTail")
def _history_tail(run: Run, info: Info) -> str:
    line = store_of(info).runs.last_line(run, "history")
    return jsontext.dumps([line] if line is not None else [])


@_run.field("eventsTail")
def _events_tail(run: Run, info: Info) -> str:
    line = store_of(info).runs.last_line(run, "events")
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
        return lists_of(info).sampled_lines(run, "history", samples)
    return lists_of(info).history_lines(run, minStep, maxStep)


@_run.field("events")
def _events(run: Run, info: Info, samples: int | None = None) -> list[str]:
    return lists_of(info).sampled_lines(run, "events", samples)


@_run.field("sampledHistory")
def _sampled_history(run: Run, info: Info, specs: list[str]) -> list[list[dict[str, Any]]]:
    return [lists_of(info).sampled_history(run, spec) for spec in specs]


@_run.field("streamLines")
def _stream_lines(run: Run, info: Info, stream: str, offset: int, first: int) -> list[dict[str, Any]]:
    if stream not in STREAMS:
        raise ClientError(f"streamLines: stream = {stream!r} must be one of {', '.join(STREAMS)}")
    if offset < 0 or not 0 <= first <= MAX_PAGE:
        raise ClientError(f"streamLines: offset = {offset} must be at least 0, and first = {first} 0 to {MAX_PAGE}")
    found = store_of(info).runs.lines(run, stream, offset, first)
    return [{"number": number, "text": text} for number, text in found]


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
    found = store_of(info).runs.lines(run, "log", offset, count + 1)
    return connection(page_of([{"number": n, "line": text} for n, text in found], offset, count))


@_run.field("fileCount")
def _file_count(run: Run, info: Info) -> int:
    return len(store_of(info).files.of_run(run, None))


@_run.field("files")
def _files(
    run: Run,
    info: Info,
    names: list[str] | None = None,
    after: str | None = None,
    first: int | None = None,
    pattern: str | None = None,
) -> dict[str, Any]:
    offset, count = page_bounds(after, first)
    found = store_of(info).files.of_run(run, names, pattern)
    files = [run_file(info, run, file) for file in found[offset : offset + count + 1]]
    return {**connection(page_of(files, offset, count)), "totalCount": len(found)}


BINDABLES = (_run,)
