"""Any W&B server as the target of a sync: what W&B's SDK would have sent, sent afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ._client import SweepClient, SweepRef
from ._errors import ServerError
from ._sync_plan import STREAMS, Ending, Manner, Parcel, SourceRun, SourceSweep
from ._transport import Transport

_BATCH = 100

_SWEEPS = """
query GetSweeps($entity: String, $project: String, $cursor: String) {
  project(name: $project, entityName: $entity) {
    sweeps(after: $cursor, first: 50) {
      edges { node { name description } }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
_RUNS = """
query Runs($entity: String!, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: 100) { edges { node { name sweepName } } }
  }
}"""
_UPSERT_RUN = """
mutation UpsertBucket(
  $name: String, $project: String, $entity: String, $groupName: String, $description: String, $displayName: String,
  $notes: String, $commit: String, $config: JSONString, $host: String, $program: String, $repo: String,
  $jobType: String, $sweep: String, $tags: [String!]
) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, groupName: $groupName, description: $description,
    displayName: $displayName, notes: $notes, commit: $commit, config: $config, host: $host, jobProgram: $program,
    jobRepo: $repo, jobType: $jobType, sweep: $sweep, tags: $tags
  }) { bucket { id name } }
}"""
_STOP_RUN = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"
_CREATE_FILES = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    uploadHeaders files { name uploadUrl }
  }
}"""


@dataclass(frozen=True)
class Place:
    """Where a file is uploaded to. url: grants access, so it is shown nowhere."""

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Last:
    """What is sent with a run's end. uploaded: names of its files."""

    parcel: Parcel
    uploaded: Sequence[str]


class Target:
    """What one thread writes. Errors of every method: those of Transport."""

    def __init__(self, transport: Transport, client: SweepClient) -> None:
        self._transport = transport
        self._client = client

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def default_entity(self, patience_s: float) -> str:
        """Return the entity that the login stands for."""
        return self._client.default_entity(patience_s)

    def find_sweep(self, entity: str, project: str, mark: str) -> SweepRef | None:
        """Return the sweep whose description has a mark, None if there is none."""
        variables: dict[str, Any] = {"entity": entity, "project": project, "cursor": None}
        while True:
            found = self._transport.graphql(_SWEEPS, variables).get("project")
            if not found:
                return None
            for edge in found["sweeps"]["edges"]:
                if mark in (edge["node"]["description"] or ""):
                    return SweepRef(entity, project, edge["node"]["name"])
            if not found["sweeps"]["pageInfo"]["hasNextPage"]:
                return None
            variables["cursor"] = found["sweeps"]["pageInfo"]["endCursor"]

    def has_sweep(self, ref: SweepRef) -> bool:
        """True if a sweep exists."""
        return self._client.get_sweep(ref) is not None

    def require_sweep(self, entity: str, project: str, sweep: SourceSweep) -> SweepRef:
        """Return the sweep that was made for one of the source, which is made if there is none.

        Whether a request whose answer was lost has made it can't be known, so it is looked for before every attempt.
        """

        def attempt() -> SweepRef:
            known = self.find_sweep(entity, project, sweep.mark)
            return known or self._client.create_sweep(
                sweep.config, entity=entity, project=project, description=sweep.marked_description, patience_s=0.0
            )

        return self._transport.insist(attempt)

    def end_sweep(self, ref: SweepRef) -> None:
        """Let no agent take a trial of a sweep."""
        self._client.end_sweep(ref)

    def sweeps_of_runs(self, ref: SweepRef, run_ids: Sequence[str]) -> dict[str, str | None]:
        """Return which of the run ids are taken in a sweep's project, and by runs of which sweep."""
        taken: dict[str, str | None] = {}
        for start in range(0, len(run_ids), _BATCH):
            filters = json.dumps({"name": {"$in": list(run_ids[start : start + _BATCH])}})
            variables = {"entity": ref.entity, "project": ref.project, "filters": filters}
            found = self._transport.graphql(_RUNS, variables).get("project") or {"runs": {"edges": []}}
            taken |= {edge["node"]["name"]: edge["node"]["sweepName"] for edge in found["runs"]["edges"]}
        return taken

    def announce(self, ref: SweepRef, run: SourceRun) -> str:
        """Create a run, or begin it anew, with all but what it logged; returns its GraphQL id."""
        variables = {
            "name": run.run_id,
            "project": ref.project,
            "entity": ref.entity,
            "groupName": run.group,
            "description": run.description,
            "displayName": run.display_name,
            "notes": run.notes,
            "commit": run.commit,
            "config": run.config,
            "host": run.host,
            "program": run.program,
            "repo": run.repo,
            "jobType": run.job_type,
            "sweep": ref.sweep_id,
            "tags": list(run.tags),
        }
        try:
            return str(self._transport.graphql(_UPSERT_RUN, variables)["upsertBucket"]["bucket"]["id"])
        except ServerError as error:
            # Where a run was deleted, W&B answers 409 and the embedded server 410.
            if error.status in (409, 410):
                words = (
                    f"{error}. The id of a deleted run can't be used again in its project: choose another --project"
                )
                raise ServerError(words, error.status) from error
            raise

    def send_lines(self, ref: SweepRef, run_id: str, parcel: Parcel) -> None:
        """Store lines of streams by their numbers."""
        self._stream(ref, run_id, {"files": _files(parcel)})

    def create_files(self, ref: SweepRef, run_id: str, names: Sequence[str]) -> Iterator[Place]:
        """Yield where each file goes; a server may not want some, or any (those that keep no files)."""
        variables = {"entity": ref.entity, "project": ref.project, "run": run_id, "files": list(names)}
        answer = self._transport.graphql(_CREATE_FILES, variables)["createRunFiles"]
        headers = dict(_header(text) for text in answer.get("uploadHeaders") or ())
        for file in answer.get("files") or ():
            if file["uploadUrl"]:
                yield Place(file["name"], file["uploadUrl"], headers)

    def put_file(self, place: Place, content: BinaryIO) -> None:
        """Upload a file's content."""
        self._transport.upload(place.url, content, place.headers)

    def end(self, ref: SweepRef, run: SourceRun, node_id: str, ending: Ending, last: Last) -> None:
        """Store the last of a run and its summary, and tell how it ended. node_id: from `announce`."""
        summary = {"wandb-summary.json": {"offset": 0, "content": [run.summary]}}
        body: dict[str, Any] = {"files": {**_files(last.parcel), **summary}}
        if last.uploaded:
            body["uploaded"] = list(last.uploaded)
        if ending.manner is Manner.SILENCE:
            self._stream(ref, run.run_id, body)
            return
        if ending.manner is Manner.STOP:
            self._transport.graphql(_STOP_RUN, {"id": node_id})
        elif ending.manner is Manner.PREEMPT:
            self._stream(ref, run.run_id, {"preempting": True})
        self._stream(ref, run.run_id, {**body, "complete": True, "exitcode": ending.exit_code})

    def _stream(self, ref: SweepRef, run_id: str, body: Mapping[str, Any]) -> None:
        self._transport.post(f"/files/{ref.entity}/{ref.project}/{run_id}/file_stream", body)


def _files(parcel: Parcel) -> dict[str, Any]:
    return {STREAMS[chunk.stream]: {"offset": chunk.offset, "content": list(chunk.lines)} for chunk in parcel}


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip(), value.strip()
