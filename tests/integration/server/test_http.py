"""The HTTP surface against wrong, hostile and broken requests: a lasting answer, and a server that lives."""

from __future__ import annotations

import json
import math
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.server import client as operations
from tests.integration.server.client import Client
from tests.integration.server.conftest import new_project
from wandb_sweep_server.launch import ServerAddress, is_live

VIEWER = "{ viewer { entity } }"


@pytest.fixture(autouse=True)
def _the_server_lives_on(server: ServerAddress, client: Client) -> Iterator[None]:
    yield
    assert is_live(server)
    assert client.graphql(VIEWER) == {"viewer": {"entity": "local"}}


def message_of(response: requests.Response) -> str:
    """The text of an error as W&B's clients look for it."""
    assert response.headers["content-type"] == "application/json"
    (error,) = response.json()["errors"]
    return str(error["message"])


# --- the key ---


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic YXBpOndyb25n"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic not/base64!"},
        {"Authorization": "Basic"},
        {"Authorization": "Digest x"},
        {"Authorization": "Basic " + "A" * 10_000},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/graphql"),
        ("POST", "/files/local/p/r/file_stream"),
        ("GET", "/files/local/p/r/config.yaml"),
        ("GET", "/"),
        ("GET", "/no/such/path"),
        ("GET", "/upload"),
        ("OPTIONS", "/graphql"),
        ("GET", "/graphql/"),
    ],
)
def test_without_the_right_key_nothing_is_revealed(
    server: ServerAddress, headers: dict[str, str], method: str, path: str
) -> None:
    response = requests.request(method, server.url + path, headers=headers, data=b"{}", timeout=60, auth=_no_auth)
    assert response.status_code == 401
    assert "WANDB_API_KEY" in message_of(response)
    assert str(server.directory) not in response.text
    assert server.api_key not in response.text


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request  # keeps requests from looking into ~/.netrc


@pytest.mark.parametrize("cut", [slice(0, -1), slice(0, 10), slice(1, None), slice(0, 0)])
def test_part_of_the_key_is_a_wrong_key(server: ServerAddress, cut: slice) -> None:
    answer = requests.post(f"{server.url}/graphql", auth=("api", server.api_key[cut]), json={}, timeout=60)
    assert answer.status_code == 401


def test_the_key_is_taken_as_a_bearer_token_too(server: ServerAddress) -> None:
    headers = {"Authorization": f"Bearer {server.api_key}"}
    answer = requests.post(
        f"{server.url}/graphql", headers=headers, json={"query": VIEWER}, timeout=60, auth=_no_auth
    )
    assert answer.json() == {"data": {"viewer": {"entity": "local"}}}


def test_a_probe_without_key_learns_the_instance_and_no_more(server: ServerAddress) -> None:
    answer = requests.get(f"{server.url}/healthz", timeout=60, auth=_no_auth).json()
    assert set(answer) == {"service", "version", "instance"}
    assert answer["instance"] == server.instance


@pytest.mark.parametrize("name", ["metrics", "logs"])
def test_telemetry_is_refused_with_the_404_that_turns_it_off(server: ServerAddress, name: str) -> None:
    answer = requests.post(f"{server.url}/sdk/otel/v1/{name}", data=b"", timeout=60, auth=_no_auth)
    assert answer.status_code == 404


@pytest.mark.parametrize("token", ["0" * 48, "x", "%00", "a/b", ""])
def test_an_upload_without_a_token_of_ours_is_refused(server: ServerAddress, token: str) -> None:
    answer = requests.put(f"{server.url}/upload/{token}", data=b"content", timeout=60, auth=_no_auth)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/x"), ("GET", "/graphql"), ("POST", "/api/v1/things"), ("DELETE", "/files/local/p/r/x"), ("PUT", "/")],
)
def test_what_does_not_exist_is_404_and_named(client: Client, method: str, path: str) -> None:
    response = client.request(method, path)
    assert response.status_code == 404
    assert f"{method} {path}" in message_of(response)


# --- GraphQL ---


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the request is not valid JSON: "),
        (b"{", "the request is not valid JSON: "),
        (b"nonsense", "the request is not valid JSON: "),
        (b"\xff\xfe\x00", "the request is not valid JSON: "),
        (b"null", "the request must be a JSON object with a text 'query'"),
        (b"[]", "the request must be a JSON object with a text 'query'"),
        (b'"text"', "the request must be a JSON object with a text 'query'"),
        (b"1", "the request must be a JSON object with a text 'query'"),
        (b"{}", "the request must be a JSON object with a text 'query'"),
        (b'{"query": 1}', "the request must be a JSON object with a text 'query'"),
        (b'{"query": null}', "the request must be a JSON object with a text 'query'"),
        (b'{"query": ["{viewer{id}}"]}', "the request must be a JSON object with a text 'query'"),
        (b'{"query": ""}', "the query can't be read: "),
        (b'{"query": "{ viewer { id } }", "variables": [1]}', "variables must be a JSON object, not "),
        (b'{"query": "{ viewer { id } }", "variables": "x"}', "variables must be a JSON object, not "),
        (b'{"query": "{ viewer { id "}', "the query can't be read: "),
        (b'{"query": "query A { viewer { id } } query B { viewer { id } }"}', "Must provide operation name"),
        (b'{"query": "query A { viewer { id } }", "operationName": "B"}', "Unknown operation named 'B'"),
        (b'{"query": "subscription { viewer { id } }"}', "viewer: not available in this server"),
        (b'{"query": "fragment F on User { id }"}', "Fragment 'F' is never used"),
        (b"[" * 100_000, "the request is not valid JSON: "),
        (b'{"query": ' + b"[" * 100_000, "the request is not valid JSON: "),
        (b'{"a":' * 50_000, "the request is not valid JSON: "),
    ],
)
def test_a_malformed_graphql_request_is_a_lasting_error(client: Client, body: bytes, words: str) -> None:
    response = client.request("POST", "/graphql", data=body)
    assert response.status_code == 400
    assert message_of(response).startswith(words)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("{ viewer { shoeSize } }", "shoeSize"),
        ("{ launchQueues { id } }", "launchQueues"),
        ("mutation { deleteEverything(input: {}) { ok } }", "deleteEverything"),
        ("{ project(name: 1) { id } }", "String"),
        ("{ project(nome: 1) { id } }", "nome"),
        ("query Q($x: Unheard) { viewer { id } }", "Unheard"),
        ("{ ...Missing }", "Missing"),
        ("{ viewer { ...F } } fragment F on User { ...F }", "F"),
    ],
)
def test_what_the_schema_lacks_is_named(client: Client, query: str, name: str) -> None:
    response = client.post_graphql(query)
    assert response.status_code == 400
    assert name in message_of(response)


@pytest.mark.parametrize("depth", [50, 300, 2_000, 100_000])
def test_a_query_that_is_nested_too_deeply_is_a_lasting_error(client: Client, depth: int) -> None:
    nested = '{ project(name: "p") ' + "{ runs { edges { node { project " * depth + "{ id }" + "}}}}" * depth + "}"
    for query in (
        nested,
        "{ a(b: " + "[" * depth + "]" * depth + ") }",
        "{ a(b: " + "{c: " * depth + "1" + "}" * depth,
    ):
        response = client.post_graphql(query)
        assert response.status_code == 400
        assert message_of(response)


def test_a_query_that_is_too_long_is_a_lasting_error(client: Client) -> None:
    query = "{" + " ".join(f"a{i}: viewer {{ id }}" for i in range(50_000)) + "}"
    response = client.post_graphql(query)
    assert response.status_code == 400
    assert message_of(response)


HOSTILE = [5, -1, True, 1.5, math.nan, 10**30, "", "x", "\x00", "\ud800", "💥" * 300, [], [[]], {}, {"a": None}, None]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (operations.UPSERT_SWEEP, "config"),
        (operations.UPSERT_SWEEP, "id"),
        (operations.UPSERT_SWEEP, "state"),
        (operations.CREATE_AGENT, "sweep"),
        (operations.HEARTBEAT, "id"),
        (operations.HEARTBEAT, "runState"),
        (operations.UPSERT_RUN, "name"),
        (operations.UPSERT_RUN, "config"),
        (operations.UPSERT_RUN, "sweep"),
        (operations.UPSERT_RUN, "project"),
        (operations.RUNS, "filters"),
        (operations.RUNS, "order"),
        (operations.RUNS, "cursor"),
        (operations.CREATE_FILES, "files"),
        (operations.STOP_RUN, "id"),
    ],
)
def test_a_variable_of_a_wrong_type_or_value_is_never_a_fault_of_the_server(
    client: Client, project: str, query: str, name: str
) -> None:
    sweep = client.sweep(project, {"method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}})
    client.start(project, "known", sweep)
    fitting = {"project": project, "projectName": project, "host": "h", "run": "known", "sweep": sweep, "files": []}
    fitting["id"] = client.agent(project, sweep)
    for value in HOSTILE:
        variables = fitting | {name: value}
        response = client.post_graphql(query, {key: v for key, v in variables.items() if f"${key}:" in query})
        assert response.status_code in (200, 400, 404), (value, response.text)
        if response.status_code != 200:
            assert message_of(response)


ARTIFACT_INPUTS: list[tuple[str, dict[str, Any]]] = [
    (
        operations.CREATE_ARTIFACT,
        {
            "artifactTypeName": "model",
            "artifactCollectionName": "m",
            "digest": "d",
            "clientID": "c",
            "runName": "r",
            "metadata": "{}",
            "aliases": [{"alias": "best", "artifactCollectionName": "m"}],
            "tags": [{"tagName": "t"}],
            "historyStep": 1,
            "ttlDurationSeconds": 0,
        },
    ),
    (operations.CREATE_ARTIFACT_MANIFEST, {"artifactID": "id", "name": "n", "digest": "", "runName": "r"}),
    (operations.USE_ARTIFACT, {"artifactID": "id", "runName": "r"}),
]


@pytest.mark.parametrize(
    ("query", "fitting", "name"),
    [
        (query, fitting, name)
        for query, fitting in ARTIFACT_INPUTS
        for name in (*fitting, "projectName", "entityName")
    ],
    ids=lambda value: value if isinstance(value, str) and "{" not in value else "",
)
def test_a_wrong_artifact_is_never_a_fault_of_the_server(
    client: Client, project: str, query: str, fitting: dict[str, Any], name: str
) -> None:
    client.start(project, "r")
    artifact, _ = client.create_artifact(project, "known", {"a": b"1"})
    names = {"projectName": project, "entityName": "local"}
    given = {key: artifact if value == "id" else value for key, value in fitting.items()}
    for value in HOSTILE:
        response = client.post_graphql(query, {"input": names | given | {name: value}})
        assert response.status_code in (200, 400, 404), (value, response.text)
    assert client.create_artifact(project, "known", {"a": b"1"})[1] == "PENDING"


def test_wrong_files_of_an_artifact_are_never_a_fault_of_the_server(client: Client, project: str) -> None:
    artifact, _ = client.create_artifact(project, "known", {"a": b"1"})
    fitting = {"artifactID": artifact, "name": "a", "md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for name in fitting:
        for value in HOSTILE:
            files = {"artifactFiles": [fitting | {name: value}]}
            response = client.post_graphql(operations.CREATE_ARTIFACT_FILES, {"input": files})
            assert response.status_code in (200, 400, 404), (value, response.text)


def test_a_wrong_variable_is_named(client: Client) -> None:
    query = 'query Runs($first: Int) { project(name: "p") { runs(first: $first) { edges { cursor } } } }'
    response = client.post_graphql(query, {"first": "many"})
    assert response.status_code == 400
    assert "$first" in message_of(response)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_read_and_written_as_texts(client: Client, project: str, value: float) -> None:
    client.start(project, "r", config={"x": value})
    client.finish(project, "r", summary={"y": value})
    run = client.run(project, "r")
    text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    assert (run["config"], run["summary"]) == ({"x": text}, {"y": text})


def test_everything_the_schema_offers_can_be_asked_of_a_run_with_data(client: Client, project: str) -> None:
    """A field without a resolver, or one that fails, would break whichever SDK version asks for it."""
    sweep = client.sweep(project, {"method": "grid", "parameters": {"x": {"values": [1, 2]}}})
    agent = client.agent(project, sweep)
    (command,) = client.heartbeat(agent)
    name = command["run_id"]
    client.start(project, name, sweep)
    client.log(project, name, [{"_step": 0, "loss": 1.0}, {"_step": 7, "loss": math.nan}])
    client.finish(project, name, summary={"loss": 1.0})
    client.log_artifact(project, "a", {"deep/x": b"x"}, run=name)
    client.use_artifact(project, "a:v0", name)
    arguments = {
        ("Project", "run"): f'name: "{name}"',
        ("Project", "bucket"): f'name: "{name}"',
        ("Project", "sweep"): f'sweepName: "{sweep}"',
        ("Sweep", "agent"): 'agentName: "x"',
        ("Run", "sampledHistory"): 'specs: "{\\"keys\\": [\\"loss\\"]}"',
        ("Run", "parquetHistory"): 'liveKeys: "_step"',
        ("Project", "artifactType"): 'name: "model"',
        ("ArtifactCollection", "artifactMembership"): 'aliasName: "latest"',
        ("ArtifactSequence", "artifactMembership"): 'aliasName: "v0"',
        ("Run", "streamLines"): 'stream: "history", offset: 0, first: 9',
    }
    named = ("artifact", "artifactCollection", "artifactCollectionMembership", "artifactSequence")
    arguments |= {(kind, field): 'name: "a"' for kind in ("Project", "ArtifactType") for field in named}
    known = client.graphql(operations.INTROSPECTION)["__schema"]["types"]
    fields = {kind["name"]: {f["name"]: _named_type(f["type"]) for f in kind["fields"] or ()} for kind in known}
    objects = {kind["name"] for kind in known if kind["kind"] in ("OBJECT", "INTERFACE", "UNION")}

    def asked(kind: str, field: str) -> str:
        given = f"({arguments[kind, field]})" if (kind, field) in arguments else ""
        return field + given + (" { __typename }" if fields[kind][field] in objects else "")

    # Each type by the shortest way that leads to it.
    ways = {"Project": f'project(name: "{project}") {{ %s }}'}
    queue = ["Project"]
    for kind in queue:
        every_field = " ".join(asked(kind, field) for field in fields[kind]) or "__typename"
        response = client.post_graphql("{ " + ways[kind] % every_field + " }")
        assert response.status_code == 200, (kind, response.text)
        for field, below in fields[kind].items():
            if below in objects and below not in ways:
                step = asked(kind, field).replace("__typename", "%s")
                ways[below] = ways[kind] % step
                queue.append(below)
    assert {"Run", "File", "Sweep", "Agent", "Artifact", "ArtifactSequence", "ArtifactManifest"} <= set(queue)


def _named_type(kind: dict[str, Any]) -> str:
    while kind.get("ofType"):
        kind = kind["ofType"]
    return str(kind["name"])


# --- file_stream ---


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1]",
        b'"x"',
        b"\xff\xff",
        b"[" * 100_000,
        b'{"files": [1]}',
        b'{"files": {"wandb-history.jsonl": 1}}',
        b'{"files": {"wandb-history.jsonl": {"offset": -1, "content": []}}}',
        b'{"files": {"wandb-history.jsonl": {"offset": "0", "content": []}}}',
        b'{"files": {"wandb-history.jsonl": {"offset": 1e400, "content": []}}}',
        b'{"files": {"wandb-history.jsonl": {"offset": 0, "content": "{}"}}}',
        b'{"files": {"wandb-history.jsonl": {"offset": 0, "content": [{}]}}}',
        b'{"files": {"wandb-history.jsonl": {"offset": 99999999999999999999, "content": ["{}"]}}}',
        b'{"files": {"wandb-summary.json": {"offset": 0, "content": ["{"]}}}',
    ],
)
def test_a_malformed_stream_post_is_a_lasting_error(client: Client, project: str, body: bytes) -> None:
    client.start(project, "r")
    response = client.request("POST", f"/files/local/{project}/r/file_stream", data=body)
    assert response.status_code == 400
    assert message_of(response).startswith("file_stream")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"files": null}', b'{"unknown": [1, {"a": NaN}]}'])
def test_an_empty_or_unknown_stream_post_is_a_heartbeat(client: Client, project: str, body: bytes) -> None:
    client.start(project, "r")
    response = client.request("POST", f"/files/local/{project}/r/file_stream", data=body)
    assert response.status_code == 200
    assert response.json() == {}


def test_a_stream_of_an_unknown_run_is_404_and_names_it(client: Client) -> None:
    response = client.stream("nowhere", "nothing")
    assert response.status_code == 404
    assert "local/nowhere/nothing" in message_of(response)


def test_history_and_log_lines_that_are_no_json_do_not_hide_the_others(client: Client, project: str) -> None:
    client.start(project, "r")
    lines = ["{", "[]", '"x"', "\x00", '{"_step": "late", "x": 1}', '{"_step": 3, "x": 2}']
    assert client.stream(project, "r", files={"wandb-history.jsonl": {"offset": 0, "content": lines}}).ok
    query = """query H($p: String!) { project(name: $p) { run(name: "r") {
        history(minStep: 0, maxStep: 10) sampledHistory(specs: ["{\\"keys\\": [\\"x\\"]}"]) historyKeys historyTail
    } } }"""
    run = client.graphql(query, p=project)["project"]["run"]
    assert run["history"] == lines
    assert {"x": 2} in run["sampledHistory"][0]


STREAM_LINES = """query Lines($p: String!, $stream: String!, $offset: Int64!, $first: Int!) { project(name: $p) {
    run(name: "r") { repo streamLines(stream: $stream, offset: $offset, first: $first) { number text } }
} }"""


@pytest.mark.parametrize(
    ("stream", "offset", "first", "numbers"),
    [
        ("history", 0, 2, [0, 1]),
        ("history", 2, 100, [2, 7]),  # 3 to 6 are missing
        ("history", 4, 1, [7]),
        ("history", 8, 5, []),
        ("log", 0, 5, [0]),
        ("events", 0, 5, []),
        ("log", 0, 0, []),
    ],
)
def test_streams_are_read_line_by_line_as_they_were_sent(
    client: Client, project: str, stream: str, offset: int, first: int, numbers: list[int]
) -> None:
    client.start(project, "r")
    lines = ['{"_step": 5, "x": NaN}', "no json", '{"_step": 0}']
    client.stream(project, "r", files={"wandb-history.jsonl": {"offset": 0, "content": lines}})
    client.stream(project, "r", files={"wandb-history.jsonl": {"offset": 7, "content": ["last"]}})
    client.stream(project, "r", files={"output.log": {"offset": 0, "content": ["hello\n"]}})
    texts = {"history": dict(enumerate(lines)) | {7: "last"}, "log": {0: "hello\n"}}
    run = client.graphql(STREAM_LINES, p=project, stream=stream, offset=offset, first=first)["project"]["run"]
    assert run["streamLines"] == [{"number": n, "text": texts[stream][n]} for n in numbers]


@pytest.mark.parametrize(
    ("stream", "offset", "first", "words"),
    [("console", 0, 1, "stream = 'console'"), ("log", -1, 1, "offset = -1"), ("log", 0, 10_001, "first = 10001")],
)
def test_lines_that_can_not_be_asked_for_are_refused_by_name(
    client: Client, project: str, stream: str, offset: int, first: int, words: str
) -> None:
    client.start(project, "r")
    variables = {"p": project, "stream": stream, "offset": offset, "first": first}
    response = client.post_graphql(STREAM_LINES, variables)
    assert response.status_code == 400
    assert words in message_of(response)


def test_the_sweeps_of_all_projects_are_listed_page_by_page_newest_first(client: Client, project: str) -> None:
    config = {"method": "grid", "parameters": {"a": {"values": [1]}}}
    made = [client.sweep(name, config) for name in (project, f"{project}-2", project)]
    query = """query All($after: String) { sweeps(first: 2, after: $after) {
        edges { node { name project { name } } } pageInfo { endCursor hasNextPage }
    } }"""
    first = client.graphql(query)["sweeps"]
    second = client.graphql(query, after=first["pageInfo"]["endCursor"])["sweeps"]
    nodes = [edge["node"] for edge in first["edges"] + second["edges"]]
    assert [node["name"] for node in nodes[:3]] == made[::-1]
    assert [node["project"]["name"] for node in nodes[:3]] == [project, f"{project}-2", project]


def test_an_exit_code_beyond_32_bits_leaves_the_run_readable(client: Client, project: str) -> None:
    client.start(project, "r")
    client.finish(project, "r", exit_code=0xC000013A)  # Ctrl-C on Windows
    assert client.run(project, "r")["state"] == "failed"


def test_answers_on_a_connection_that_is_kept_are_not_held_back(client: Client) -> None:
    # Nagle's algorithm with delayed acknowledgements would make nearly all of them 40 ms late.
    def one_s() -> float:
        start_s = time.monotonic()
        client.graphql(VIEWER)
        return time.monotonic() - start_s

    assert sorted(one_s() for _ in range(100))[25] < 0.03


# --- sizes ---


@pytest.mark.parametrize("path", ["/graphql", "/files/local/{project}/r/file_stream"])
def test_a_body_beyond_the_limit_is_413(client: Client, project: str, path: str) -> None:
    client.start(project, "r")
    body = b'{"a": "' + b"x" * (65 * 2**20) + b'"}'
    response = client.request("POST", path.format(project=project), data=body)
    assert response.status_code == 413
    assert "limit" in message_of(response)


def test_a_body_far_beyond_the_limit_is_413_too_and_not_a_broken_connection(client: Client, project: str) -> None:
    # A broken connection would make the SDK try again, for days.
    client.start(project, "r")
    chunks = (b"x" * 2**20 for _ in range(300))
    response = client.request("POST", f"/files/local/{project}/r/file_stream", data=chunks)
    assert response.status_code == 413


def test_a_file_beyond_the_limit_is_413(client: Client, project: str) -> None:
    client.start(project, "r")
    url = _upload_url(client, project, "big.bin")
    response = requests.put(url, data=(b"x" * 2**20 for _ in range(101)), timeout=60)
    assert response.status_code == 413
    assert client.request("GET", f"/files/local/{project}/r/big.bin").status_code == 404


def test_a_client_that_leaves_in_the_middle_of_a_body_does_no_harm(server: ServerAddress) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for head in (
        b"POST /upload/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\nabc",
        b"GET /heal",
        b"\x16\x03\x01",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head)


@pytest.mark.parametrize("host", ["", "a b", "[", "x:99999999", "\xff", "evil.example/../", "h" * 5000])
def test_a_strange_host_header_is_no_fault_of_the_server(server: ServerAddress, client: Client, host: str) -> None:
    address, port = server.url.removeprefix("http://").split(":")
    for path in ("/graphql", "/graphql/", "/files/local/p/r/file_stream", "/healthz/"):
        auth = client.session.auth
        assert isinstance(auth, tuple)
        token = requests.auth._basic_auth_str(*auth)
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nConnection: close\r\n"
        body = json.dumps({"query": VIEWER})
        with socket.create_connection((address, int(port)), timeout=10) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1"))
            status = connection.makefile("rb").readline().split()[1]
        assert int(status) < 500, path


# --- files ---


def _upload_url(client: Client, project: str, name: str) -> str:
    (file,) = client.graphql(operations.CREATE_FILES, project=project, run="r", files=[name])["createRunFiles"][
        "files"
    ]
    return str(file["uploadUrl"])


def test_a_file_can_be_uploaded_by_its_address_and_downloaded_with_the_key(client: Client, project: str) -> None:
    client.start(project, "r")
    url = _upload_url(client, project, "media/a picture ü.png")
    assert requests.put(url, data=b"\x00\xff", timeout=60).ok
    assert requests.put(url, data=b"again", timeout=60).ok
    path = f"/files/local/{project}/r/media/a%20picture%20%C3%BC.png"
    answer = client.request("GET", path)
    assert answer.content == b"again"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert requests.get(client.url + path, timeout=60, auth=_no_auth).status_code == 401


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "..", ".", "", "a\\..\\x", "a\x00b", "x" * 300, "a/" * 600 + "x", "a/.."],
)
def test_a_file_name_that_leaves_the_run_is_refused(client: Client, project: str, name: str) -> None:
    client.start(project, "r")
    variables = {"project": project, "run": "r", "files": [name]}
    response = client.post_graphql(operations.CREATE_FILES, variables)
    assert response.status_code == 400
    assert "file" in message_of(response)


@pytest.mark.parametrize(
    "path",
    ["%2e%2e/%2e%2e/%2e%2e/%2e%2e/api_key", "..%2f..%2f..%2f..%2fapi_key", "%2fetc%2fpasswd", "a%00b", "%5c..%5cx"],
)
def test_a_download_cannot_leave_the_run(client: Client, server: ServerAddress, project: str, path: str) -> None:
    client.start(project, "r")
    host, port = server.url.removeprefix("http://").split(":")
    auth = requests.auth._basic_auth_str("api", server.api_key)
    head = f"GET /files/local/{project}/r/{path} HTTP/1.1\r\nHost: h\r\nAuthorization: {auth}\r\nConnection: close"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        answer = connection.makefile("rb").read()
    assert answer.split()[1] in (b"400", b"404")
    assert server.api_key.encode() not in answer


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a?", "a\\b", "a\x00b", "n" * 129])
@pytest.mark.parametrize("part", ["entity", "project", "name"])
def test_the_name_of_a_project_or_run_cannot_leave_the_directory(client: Client, part: str, name: str) -> None:
    variables = {"entity": "local", "project": "p", "name": "r"} | {part: name}
    response = client.post_graphql(operations.UPSERT_RUN, variables)
    assert response.status_code == 400
    assert "a name has" in message_of(response)


def test_a_file_and_a_directory_of_the_same_name_is_no_fault_of_the_server(client: Client, project: str) -> None:
    client.start(project, "r")
    first, second = _upload_url(client, project, "a"), _upload_url(client, project, "a/b")
    large = bytes(100_000)
    assert requests.put(first, data=large, timeout=60).status_code == 200
    assert 400 <= requests.put(second, data=large, timeout=60).status_code < 500
    assert client.request("GET", f"/files/local/{project}/r/a").content == large


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
def test_a_file_is_kept_in_whatever_size_it_comes_and_replaces_what_was_there(
    client: Client, project: str, size: int
) -> None:
    client.start(project, "r")
    url = _upload_url(client, project, "a")
    for content in (b"x" * size, b"small", b"y" * size, bytes(100_000), b"z" * size):
        assert requests.put(url, data=content, timeout=60).status_code == 200
        assert client.request("GET", f"/files/local/{project}/r/a").content == content


def test_nothing_of_all_this_is_outside_of_the_files_directory(server: ServerAddress) -> None:
    known = {"api_key", "server.json", "server.lock", "server.log", "port", "files", "artifacts", "incoming"}
    stray = {path.name for path in Path(server.directory).iterdir()} - known
    assert {name for name in stray if not name.startswith("sweeps.sqlite3")} == set()


# --- files of artifacts ---


def test_a_content_of_an_artifact_is_uploaded_once_and_downloaded_by_address(client: Client, project: str) -> None:
    files = {"deep/a b.txt": b"one", "two": b""}
    client.log_artifact(project, "model", files)
    edges = client.artifact(project, "model:v0")["files"]["edges"]
    urls = {edge["node"]["name"]: edge["node"]["directUrl"] for edge in edges}
    for name, content in files.items():
        answer = requests.get(urls[name], timeout=60)  # without the key: the address is a secret
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
    artifact, _ = client.create_artifact(project, "model", {**files, "three": b"3"})
    assert client.place_artifact_files(artifact, files) == {"deep/a b.txt": None, "two": None}


def test_a_content_that_is_not_what_was_announced_is_refused(client: Client, project: str) -> None:
    content = project.encode()
    artifact, _ = client.create_artifact(project, "model", {"a": content})
    url = client.place_artifact_files(artifact, {"a": content})["a"]
    assert url is not None
    assert requests.get(url, timeout=60).status_code == 404  # nothing is there yet
    answer = requests.put(url, data=b"other", timeout=60)
    assert answer.status_code == 400
    assert "as announced" in message_of(answer)
    assert requests.get(url, timeout=60).status_code == 404
    assert requests.put(url, data=content, timeout=60).status_code == 200
    assert requests.get(url, timeout=60).content == content


@pytest.mark.parametrize(
    "path",
    [
        "/blob/x",
        "/blob/..%2f..%2fapi_key",
        "/artifactsV2/default/local/p/model/-/d41d8cd98f00b204e9800998ecf8427f/a",
        "/artifactsV2/default/local/-/../../api_key",
        "/artifactsV2/default/local/p/model/-/..%2f..%2f..%2fapi_key/a",
        "/artifactsV2/" + "a/" * 3000,
    ],
)
def test_a_content_that_is_not_there_is_404(client: Client, path: str) -> None:
    response = client.request("GET", path)
    assert response.status_code == 404
    words = (
        "there is no such content of an artifact|no content of an artifact has this address|GET .* is not available"
    )
    assert re.match(words, message_of(response))


def test_contents_are_not_found_by_their_md5_without_the_key(
    server: ServerAddress, client: Client, project: str
) -> None:
    client.log_artifact(project, "model", {"a": b"hello"})
    md5 = "5d41402abc4b2a76b9719d911017c592"
    for path in (f"default/local/p/model/-/{md5}/a", f"default/local/-/{md5}"):
        assert requests.get(f"{server.url}/artifactsV2/{path}", timeout=60).status_code == 401
        assert client.request("GET", f"/artifactsV2/{path}").content == b"hello"


# --- anything at all ---

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400, 0, 1])
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(["{}", "[]", "NaN", "null", '{"a": {"value": 1}}', "local", "r", "grid", "RUNNING", "UnVuOjE="])
)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
# Texts that are JSON themselves, as filters, configs and states are.
VALUES = JSON_VALUES | JSON_VALUES.map(json.dumps)
FILTER_KEYS = st.sampled_from(
    [
        "$and",
        "$or",
        "$not",
        "$in",
        "$gt",
        "$ne",
        "$regex",
        "$exists",
        "config.x",
        "summary_metrics.y",
        "state",
        "tags",
    ]
)
FILTERS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FILTER_KEYS, inner, max_size=4),
    max_leaves=10,
).map(json.dumps)
STREAM_NAMES = st.sampled_from(["wandb-history.jsonl", "wandb-events.jsonl", "output.log", "wandb-summary.json", "x"])
CHUNKS = st.fixed_dictionaries(
    {}, optional={"offset": SCALARS, "content": st.lists(st.text(st.characters(exclude_categories=())) | VALUES)}
)
STREAMS = st.fixed_dictionaries(
    {},
    optional={
        "files": st.dictionaries(STREAM_NAMES, CHUNKS | VALUES, max_size=3) | VALUES,
        "complete": VALUES,
        "exitcode": VALUES,
        "preempting": VALUES,
    },
)
ANYTHING = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_is_an_answer(response: requests.Response) -> None:
    assert 200 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/json"
    response.json()


@pytest.mark.parametrize("query", [v for k, v in vars(operations).items() if k.isupper() and "$" in v])
def test_whatever_the_variables_are_there_is_an_answer(client: Client, query: str) -> None:
    project = new_project()
    client.start(project, "r")
    names = [part.split(":")[0].strip() for part in query.split("(", 1)[1].split(")")[0].split("$")[1:]]

    @ANYTHING
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES | FILTERS)))
    def ask(variables: dict[str, Any]) -> None:
        project_of = {key: project for key in ("project", "projectName") if key in names and key not in variables}
        assert_is_an_answer(client.post_graphql(query, project_of | variables))

    ask()


@ANYTHING
@given(body=st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_posted_as_graphql_there_is_an_answer(client: Client, body: bytes) -> None:
    assert_is_an_answer(client.request("POST", "/graphql", data=body))


@ANYTHING
@given(body=(STREAMS | JSON_VALUES).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_whatever_is_streamed_there_is_an_answer_and_the_run_can_be_read(client: Client, body: bytes) -> None:
    client.start("streamed", "r")
    assert_is_an_answer(client.request("POST", "/files/local/streamed/r/file_stream", data=body))
    assert client.run("streamed", "r")["name"] == "r"
