"""The embedded server as the source of a sync: sweeps, runs, their streams and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ._client import SweepRef
from ._errors import SweepError
from ._sync_plan import SourceRun, SourceSweep
from ._transport import Transport

_PAGE_LINES = 1000

_SWEEP_FIELDS = "name state config description createdAt project { name entityName }"
_SWEEP = f"""
query Sweep($entity: String, $project: String, $sweep: String!) {{
  project(name: $project, entityName: $entity) {{ sweep(sweepName: $sweep) {{ {_SWEEP_FIELDS} }} }}
}}"""
_SWEEPS = f"""
query AllSweeps($cursor: String) {{
  sweeps(after: $cursor, first: 200) {{
    edges {{ node {{ {_SWEEP_FIELDS} }} }}
    pageInfo {{ endCursor hasNextPage }}
  }}
}}"""
_RUN_FIELDS = """
  name state exitcode displayName description notes tags group jobType host program repo commit config summaryMetrics
  historyLineCount eventsLineCount logLineCount fileCount heartbeatAt"""
_RUNS = f"""
query Runs($entity: String, $project: String, $filters: JSONString, $cursor: String) {{
  project(name: $project, entityName: $entity) {{
    runs(filters: $filters, after: $cursor, first: 200, order: "+created_at") {{
      edges {{ node {{ {_RUN_FIELDS} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}"""
_RUN = f"""
query Run($entity: String, $project: String, $name: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $name) {{ {_RUN_FIELDS} }} }}
}}"""
_LINES = """
query Lines($entity: String, $project: String, $name: String!, $stream: String!, $offset: Int64!, $first: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { streamLines(stream: $stream, offset: $offset, first: $first) { number text } }
  }
}"""
_FILES = """
query Files($entity: String, $project: String, $name: String!, $cursor: String) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      files(after: $cursor, first: 500) {
        edges { node { name directUrl } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}"""


@dataclass(frozen=True)
class SourceFile:
    """A file of a run. url: where it can be read."""

    name: str
    url: str


class Source:
    """What one thread reads. Errors of every method: those of Transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def sweep(self, ref: SweepRef) -> SourceSweep:
        """Return a sweep. Errors: SweepError if there is none."""
        answer = self._transport.graphql(
            _SWEEP, {"entity": ref.entity, "project": ref.project, "sweep": ref.sweep_id}
        )
        node = (answer.get("project") or {}).get("sweep")
        if not node:
            raise SweepError(f"There is no sweep {ref.path} on {self._transport.place}.")
        return _sweep(node)

    def all_sweeps(self) -> list[SourceSweep]:
        """Return the sweeps of all projects, oldest first."""
        variables: dict[str, Any] = {"cursor": None}
        found: list[SourceSweep] = []
        while True:
            page = self._transport.graphql(_SWEEPS, variables)["sweeps"]
            found += [_sweep(edge["node"]) for edge in page["edges"]]
            if not page["pageInfo"]["hasNextPage"]:
                return found[::-1]
            variables["cursor"] = page["pageInfo"]["endCursor"]

    def runs(self, ref: SweepRef) -> Iterator[SourceRun]:
        """Yield a sweep's runs, oldest first."""
        filters = json.dumps({"sweep": ref.sweep_id})
        variables = {"entity": ref.entity, "project": ref.project, "filters": filters, "cursor": None}
        while True:
            page = self._transport.graphql(_RUNS, variables)["project"]["runs"]
            yield from (_run(edge["node"]) for edge in page["edges"])
            if not page["pageInfo"]["hasNextPage"]:
                return
            variables["cursor"] = page["pageInfo"]["endCursor"]

    def run(self, ref: SweepRef, run_id: str) -> SourceRun:
        """Return a run of a sweep as it is now."""
        return _run(self._of_run(_RUN, ref, run_id))

    def lines(self, ref: SweepRef, run_id: str, stream: str, start: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield the lines start to end - 1 of a stream with their numbers; read page by page, as they are taken."""
        while start < end:
            first = min(_PAGE_LINES, end - start)
            page = self._of_run(_LINES, ref, run_id, stream=stream, offset=start, first=first)["streamLines"]
            yield from ((line["number"], line["text"]) for line in page if line["number"] < end)
            if len(page) < first:
                return
            start = page[-1]["number"] + 1

    def files(self, ref: SweepRef, run_id: str) -> Iterator[SourceFile]:
        """Yield a run's files."""
        cursor = None
        while True:
            page = self._of_run(_FILES, ref, run_id, cursor=cursor)["files"]
            yield from (SourceFile(edge["node"]["name"], edge["node"]["directUrl"]) for edge in page["edges"])
            if not page["pageInfo"]["hasNextPage"]:
                return
            cursor = page["pageInfo"]["endCursor"]

    def read_file(self, file: SourceFile, into: BinaryIO) -> None:
        """Write a file's content into another one."""
        self._transport.download(file.url, into)

    def _of_run(self, query: str, ref: SweepRef, run_id: str, **variables: Any) -> dict[str, Any]:
        answer = self._transport.graphql(
            query, {"entity": ref.entity, "project": ref.project, "name": run_id, **variables}
        )
        run: dict[str, Any] | None = (answer.get("project") or {}).get("run")
        if not run:
            raise SweepError(f"Run {run_id} isn't on {self._transport.place} any more.")
        return run


def _sweep(node: Mapping[str, Any]) -> SourceSweep:
    project = node["project"]
    return SourceSweep(
        SweepRef(project["entityName"], project["name"], node["name"]),
        str(node["state"]).upper(),
        node["config"],
        node["description"],
        node["createdAt"],
    )


def _run(node: Mapping[str, Any]) -> SourceRun:
    return SourceRun(
        run_id=node["name"],
        state=node["state"],
        exit_code=node["exitcode"],
        display_name=node["displayName"],
        description=node["description"],
        notes=node["notes"],
        tags=tuple(node["tags"] or ()),
        group=node["group"],
        job_type=node["jobType"],
        host=node["host"],
        program=node["program"],
        repo=node["repo"],
        commit=node["commit"],
        config=node["config"] or "{}",
        summary=node["summaryMetrics"] or "{}",
        lines={
            "history": node["historyLineCount"],
            "events": node["eventsLineCount"],
            "log": node["logLineCount"],
        },
        file_count=node["fileCount"],
        heartbeat_at=node["heartbeatAt"],
    )
