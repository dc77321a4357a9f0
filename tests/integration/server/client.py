"""The server as seen by a program that speaks bare HTTP: what the SDK sends, without the SDK."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import requests
import yaml

from wandb_sweep_server.launch import ServerAddress

UPSERT_SWEEP = """
mutation UpsertSweep($id: ID, $config: String, $entityName: String, $projectName: String, $state: String) {
  upsertSweep(input: {id: $id, config: $config, entityName: $entityName, projectName: $projectName, state: $state}) {
    sweep { id name state project { name entity { name } } }
    configValidationWarnings
  }
}"""
CREATE_AGENT = """
mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) {
    agent { id }
  }
}"""
HEARTBEAT = """
mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands }
}"""
UPSERT_RUN = """
mutation UpsertBucket($name: String, $project: String, $entity: String, $sweep: String, $config: JSONString) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, sweep: $sweep, config: $config
  }) { bucket { id name sweepName project { name entity { name } } } inserted }
}"""
RUNS = """
query Runs($project: String!, $entity: String, $filters: JSONString, $order: String, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runCount(filters: $filters)
    runs(filters: $filters, order: $order, first: 1000, after: $cursor) {
      edges { node {
        id name displayName state exitcode config summaryMetrics sweepName historyLineCount tags notes group jobType
      } }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
SWEEP = """
query Sweep($project: String!, $entity: String, $sweep: String!) {
  project(name: $project, entityName: $entity) {
    sweep(sweepName: $sweep) { id name state runCount runCountExpected config }
  }
}"""
LOG = """
query Log($project: String!, $run: String!) {
  project(name: $project) { run(name: $run) { logLines(first: 10000) { edges { node { number line } } } } }
}"""
CREATE_FILES = """
mutation CreateRunFiles($project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {projectName: $project, runName: $run, files: $files}) {
    runID files { name uploadUrl }
  }
}"""
INTROSPECTION = """
{ __schema { types { name kind fields {
  name type { name ofType { name ofType { name ofType { name } } } }
} } } }"""
CREATE_ARTIFACT = """
mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state artifactSequence { latestArtifact { id } } } }
}"""
CREATE_ARTIFACT_FILES = """
mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) { files { edges { node { name uploadUrl } } } }
}"""
CREATE_ARTIFACT_MANIFEST = """
mutation CreateArtifactManifest($input: CreateArtifactManifestInput!) {
  createArtifactManifest(input: $input) { artifactManifest { id file { uploadUrl } } }
}"""
COMMIT_ARTIFACT = """
mutation CommitArtifact($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id digest versionIndex } } }
"""
USE_ARTIFACT = """
mutation UseArtifact($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id } } }"""
ARTIFACT = """
query Artifact($project: String!, $name: String!) {
  project(name: $project) { artifact(name: $name) {
    id state versionIndex aliases { alias } files { edges { node { name directUrl } } }
  } }
}"""
STOP_RUN = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"


class Client:
    """One HTTP client with the key of a server; not to be shared by threads."""

    def __init__(self, address: ServerAddress) -> None:
        self.url = address.url
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy and no netrc
        self.session.auth = ("api", address.api_key)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Any request at all."""
        return self.session.request(method, self.url + path, timeout=60, **options)

    def post_graphql(self, query: Any, variables: Any = None, **more: Any) -> requests.Response:
        """A GraphQL request, whatever becomes of it. NaN and the like go out as bare tokens."""
        body = json.dumps({"query": query, "variables": variables, **more})
        return self.request("POST", "/graphql", data=body, headers={"Content-Type": "application/json"})

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL request that has to succeed."""
        response = self.post_graphql(query, variables)
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    # sweeps and agents

    def sweep(self, project: str, config: dict[str, Any]) -> str:
        """A new sweep; returns its name."""
        data = self.graphql(UPSERT_SWEEP, config=yaml.safe_dump(config, sort_keys=False), projectName=project)
        return str(data["upsertSweep"]["sweep"]["name"])

    def sweep_of(self, project: str, sweep: str) -> dict[str, Any]:
        """What the server says of a sweep."""
        found: dict[str, Any] = self.graphql(SWEEP, project=project, sweep=sweep)["project"]["sweep"]
        return found

    def agent(self, project: str, sweep: str) -> str:
        """A new agent; returns its opaque id."""
        data = self.graphql(CREATE_AGENT, host="test", projectName=project, sweep=sweep)
        return str(data["createAgent"]["agent"]["id"])

    def heartbeat(self, agent: str, alive: Iterable[str] = ()) -> list[dict[str, Any]]:
        """An agent's heartbeat, with the runs it calls alive; returns the commands."""
        state = json.dumps(dict.fromkeys(alive, True))
        data = self.graphql(HEARTBEAT, id=agent, metrics="{}", runState=state)
        commands: list[dict[str, Any]] = json.loads(data["agentHeartbeat"]["commands"])
        return commands

    # runs

    def start(self, project: str, run: str, sweep: str | None = None, config: dict[str, Any] | None = None) -> None:
        """What a process says first of its run."""
        wrapped = None if config is None else json.dumps({k: {"value": v} for k, v in config.items()})
        self.graphql(UPSERT_RUN, name=run, project=project, sweep=sweep, config=wrapped)

    def stream(self, project: str, run: str, **body: Any) -> requests.Response:
        """A file_stream post."""
        return self.request("POST", f"/files/local/{project}/{run}/file_stream", data=json.dumps(body))

    def log(self, project: str, run: str, rows: list[dict[str, Any]], offset: int = 0) -> None:
        """History rows of a run."""
        content = {"offset": offset, "content": [json.dumps(row) for row in rows]}
        assert self.stream(project, run, files={"wandb-history.jsonl": content}).status_code == 200

    def finish(self, project: str, run: str, exit_code: int = 0, summary: dict[str, Any] | None = None) -> None:
        """What a process says last of its run."""
        files = {}
        if summary is not None:
            files["wandb-summary.json"] = {"offset": 0, "content": [json.dumps(summary)]}
        response = self.stream(project, run, files=files, complete=True, exitcode=exit_code)
        assert response.status_code == 200, response.text

    def runs(self, project: str, filters: Any = None, order: str = "+created_at") -> list[dict[str, Any]]:
        """All runs of a project, config and summary as plain values."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            text = json.dumps(filters or {})
            data = self.graphql(RUNS, project=project, filters=text, order=order, cursor=cursor)["project"]
            if data is None:
                return []
            found += [_plain(edge["node"]) for edge in data["runs"]["edges"]]
            cursor = data["runs"]["pageInfo"]["endCursor"]
            if not data["runs"]["pageInfo"]["hasNextPage"]:
                return found

    def run(self, project: str, run: str) -> dict[str, Any]:
        """One run of a project."""
        (found,) = self.runs(project, {"name": run})
        return found

    def log_lines(self, project: str, run: str) -> list[str]:
        """The console output of a run."""
        edges = self.graphql(LOG, project=project, run=run)["project"]["run"]["logLines"]["edges"]
        return [edge["node"]["line"] for edge in edges]

    # artifacts

    def create_artifact(self, project: str, name: str, files: dict[str, bytes], **more: Any) -> tuple[str, str]:
        """Begin to log an artifact; returns its opaque id and its state."""
        names = {"entityName": "local", "projectName": project, "artifactCollectionName": name}
        content = {"artifactTypeName": "model", "digest": hashlib.md5(_manifest(files)).hexdigest()}
        data = self.graphql(CREATE_ARTIFACT, input={**names, **content, **more})
        artifact = data["createArtifact"]["artifact"]
        return artifact["id"], artifact["state"]

    def place_artifact_files(self, artifact: str, files: dict[str, bytes]) -> dict[str, str | None]:
        """Announce files of an artifact; returns their addresses, None for what is there already."""
        wanted = [{"artifactID": artifact, "name": name, "md5": _md5(files[name])} for name in files]
        data = self.graphql(CREATE_ARTIFACT_FILES, input={"artifactFiles": wanted, "storageLayout": "V2"})
        nodes = [edge["node"] for edge in data["createArtifactFiles"]["files"]["edges"]]
        return {node["name"]: node["uploadUrl"] for node in nodes}

    def place_manifest(self, project: str, artifact: str, files: dict[str, bytes]) -> str | None:
        """Announce the manifest of an artifact; returns its address, None if it is there already."""
        names = {"entityName": "local", "projectName": project, "name": "wandb_manifest.json"}
        wanted = {**names, "artifactID": artifact, "digest": _md5(_manifest(files)), "type": "FULL"}
        data = self.graphql(CREATE_ARTIFACT_MANIFEST, input=wanted)
        url: str | None = data["createArtifactManifest"]["artifactManifest"]["file"]["uploadUrl"]
        return url

    def log_artifact(self, project: str, name: str, files: dict[str, bytes], run: str | None = None) -> None:
        """An artifact of the type model, from its beginning to its version."""
        artifact, state = self.create_artifact(project, name, files, runName=run)
        if state == "COMMITTED":
            return
        contents = {**files, "": _manifest(files)}
        places = {**self.place_artifact_files(artifact, files), "": self.place_manifest(project, artifact, files)}
        for file, url in places.items():
            if url is not None:
                assert requests.put(url, data=contents[file], timeout=60).status_code == 200
        self.graphql(COMMIT_ARTIFACT, id=artifact)

    def use_artifact(self, project: str, name: str, run: str) -> None:
        """A run uses an artifact."""
        names = {"entityName": "local", "projectName": project, "runName": run}
        self.graphql(USE_ARTIFACT, input={**names, "artifactID": self.artifact(project, name)["id"]})

    def artifact(self, project: str, name: str) -> dict[str, Any]:
        """What the server says of an artifact."""
        found: dict[str, Any] = self.graphql(ARTIFACT, project=project, name=name)["project"]["artifact"]
        return found


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def _manifest(files: dict[str, bytes]) -> bytes:
    contents = {name: {"digest": _md5(content), "size": len(content)} for name, content in files.items()}
    return json.dumps({"version": 1, "contents": contents}).encode()


def _plain(node: dict[str, Any]) -> dict[str, Any]:
    config = {key: item["value"] for key, item in json.loads(node["config"]).items() if key != "_wandb"}
    return {**node, "config": config, "summary": json.loads(node["summaryMetrics"])}
