"""A single run as its own process tells the server of it, without W&B's SDK: the requests that the SDK would send."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ._client import RunInfo, SweepRef, find_run
from ._errors import ServerUnreachableError
from ._transport import ServerAccess, Transport

_UPSERT = """
mutation UpsertBucket(
  $name: String!, $project: String!, $entity: String!, $sweep: String, $config: JSONString, $displayName: String,
  $groupName: String, $jobType: String, $notes: String, $tags: [String!], $host: String, $program: String,
  $repo: String, $commit: String
) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, sweep: $sweep, config: $config, displayName: $displayName,
    groupName: $groupName, jobType: $jobType, notes: $notes, tags: $tags, host: $host, jobProgram: $program,
    jobRepo: $repo, commit: $commit
  }) { bucket { id } }
}"""
_CREATE_FILE = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    files { uploadUrl }
  }
}"""
_TAIL = """
query RunResumeStatus($entity: String, $project: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    bucket(name: $name, missingOk: true) { id summaryMetrics historyTail historyLineCount eventsLineCount
      logLineCount }
  }
}"""


@dataclass(frozen=True)
class NewRun:
    """What a run begins with. config: names and values as they are; None leaves a thing unset."""

    run_id: str
    config: Mapping[str, Any]
    display_name: str
    host: str
    program: str
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: Sequence[str] = ()
    remote: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Tail:
    """Where a run that was begun before is to go on. step: of its next history line."""

    history_lines: int = 0
    events_lines: int = 0
    log_lines: int = 0
    step: int = 0
    summary: Mapping[str, Any] = field(default_factory=dict)


class RunClient:
    """Calls about the runs of one sweep's project.

    For the arguments see Transport. Errors of every method: those of Transport.
    """

    def __init__(self, ref: SweepRef, open_access: Callable[[], ServerAccess], *, patience_s: float) -> None:
        self._ref = ref
        self._transport = Transport(open_access, patience_s=patience_s)
        self._variables = {"entity": ref.entity, "project": ref.project}

    def tail(self, run_id: str) -> Tail:
        """Return where a run goes on."""
        answer = self._transport.graphql(_TAIL, {**self._variables, "name": run_id})
        bucket = (answer.get("model") or {}).get("bucket")
        if not bucket:
            return Tail()
        summary = json.loads(bucket["summaryMetrics"] or "{}") or {}
        last = [json.loads(line) for line in json.loads(bucket["historyTail"] or "[]")][-1:]
        step = max((int(row["_step"]) + 1 for row in last if "_step" in row), default=0)
        return Tail(
            history_lines=bucket["historyLineCount"] or 0,
            events_lines=bucket["eventsLineCount"] or 0,
            log_lines=bucket["logLineCount"] or 0,
            step=step,
            summary=summary,
        )

    def find(self, run_id: str) -> RunInfo | None:
        """Return what the server says of a run, None if it shows none. Without patience."""
        try:
            return find_run(self._transport, self._ref, run_id, patience_s=0)
        except ServerUnreachableError:
            # Perhaps only where it was at the run's begin: the transport asks anew where it is.
            return find_run(self._transport, self._ref, run_id, patience_s=0)

    def begin(self, run: NewRun) -> None:
        """Create the run, or begin it anew."""
        variables = {
            **self._variables,
            "name": run.run_id,
            "sweep": self._ref.sweep_id,
            "config": json.dumps({name: {"value": value} for name, value in run.config.items()}),
            "displayName": run.display_name,
            "groupName": run.group,
            "jobType": run.job_type,
            "notes": run.notes,
            "tags": list(run.tags),
            "host": run.host,
            "program": run.program,
            "repo": run.remote,
            "commit": run.commit,
        }
        self._transport.graphql(_UPSERT, variables)

    def upload(self, run_id: str, name: str, content: BinaryIO) -> None:
        """Upload a file of the run, from its beginning."""
        variables = {**self._variables, "run": run_id, "files": [name]}
        for file in self._transport.graphql(_CREATE_FILE, variables)["createRunFiles"]["files"]:
            if file["uploadUrl"]:
                self._transport.upload(file["uploadUrl"], content, {})

    def stream(self, run_id: str, body: Mapping[str, Any], patience_s: float | None = None) -> None:
        """Post to the run's file_stream. patience_s: for this request."""
        path = f"/files/{self._ref.entity}/{self._ref.project}/{run_id}/file_stream"
        self._transport.post(path, body, patience_s)
