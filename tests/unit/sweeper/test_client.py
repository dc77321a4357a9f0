"""Calls to a server that answers with what can't be made to happen on a real one: 429, 5xx, silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hydra_plugins.hydra_wandb_sweeper._client import Command, SweepClient, SweepRef
from hydra_plugins.hydra_wandb_sweeper._errors import ServerError, ServerUnreachableError, SettingError
from hydra_plugins.hydra_wandb_sweeper._run_client import RunClient
from hydra_plugins.hydra_wandb_sweeper._transport import ServerAccess

KEY = "local-" + "a" * 40
SWEEP = SweepRef("me", "proj", "ab12")


@dataclass
class Answer:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedServer:
    """A real HTTP server that gives one answer after another; the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, Any, str]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
                body = json.loads(raw) if self.command == "POST" else raw
                script.requests.append((self.path, body, self.headers["Authorization"]))
                answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
                data = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(data)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """Not on the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture(params=[False, True], ids=["wandb", "embedded"])
def is_local(request: pytest.FixtureRequest) -> bool:
    """Of which kind a server is; requests reach them by different ways."""
    return bool(request.param)


@pytest.fixture
def client(server: ScriptedServer, time: FakeTime, is_local: bool) -> SweepClient:
    access = ServerAccess(server.url, server.url, KEY, is_local)
    return SweepClient(lambda: access, patience_s=100, sleep=time.sleep, clock=lambda: time.now)


def data(**fields: Any) -> Answer:
    return Answer(200, {"data": fields})


HEARTBEAT = data(agentHeartbeat={"agent": {"id": "a"}, "commands": "[]"})


def test_a_command_s_values_are_unwrapped(server: ScriptedServer, client: SweepClient) -> None:
    run = {"type": "run", "run_id": "r1", "args": {"lr": {"value": 0.1}, "_wandb": {"value": {}}}, "program": "t.py"}
    commands = json.dumps([run, {"type": "stop", "run_id": "r2"}, {"type": "exit"}])
    server.answers = [data(agentHeartbeat={"agent": {"id": "a"}, "commands": commands})]
    assert client.heartbeat("a", ("r2",)) == [
        Command("run", "r1", {"lr": 0.1}),
        Command("stop", "r2"),
        Command("exit"),
    ]
    (path, body, authorization) = server.requests[0]
    assert path == "/graphql"
    assert json.loads(body["variables"]["runState"]) == {"r2": True}
    assert authorization.startswith("Basic ")


def test_a_trial_asks_for_its_own_run_without_patience(server: ScriptedServer) -> None:
    client = RunClient(SWEEP, lambda: ServerAccess(server.url, server.url, KEY, is_local=True), patience_s=100)
    node = {"name": "r1", "state": "finished", "config": None, "summaryMetrics": '{"loss": 1}'}
    runs = [{"edges": edges, "pageInfo": {"hasNextPage": False}} for edges in ([{"node": node}], [])]
    server.answers = [*(data(project={"runs": found}) for found in runs), Answer(503, "busy")]
    found = client.find("r1")
    assert found is not None
    assert (found.run_id, found.state, found.summary) == ("r1", "finished", {"loss": 1})
    assert client.find("r2") is None
    with pytest.raises(ServerUnreachableError, match="busy"):
        client.find("r1")
    assert [json.loads(body["variables"]["filters"]) for _, body, _ in server.requests] == [
        {"name": "r1"},
        {"name": "r2"},
        {"name": "r1"},
        {"name": "r1"},
    ]


def test_a_run_is_found_at_a_server_that_has_moved_since_its_begin(server: ScriptedServer) -> None:
    old = ScriptedServer()
    old.answers = [Answer(200, {})]
    urls = [old.url, server.url]
    client = RunClient(SWEEP, lambda: ServerAccess(urls.pop(0), "", KEY, is_local=True), patience_s=0)
    client.stream("r1", {})
    old.close()
    server.answers = [data(project={"runs": {"edges": [], "pageInfo": {"hasNextPage": False}}})]
    assert client.find("r1") is None
    assert len(server.requests) == 1


def test_too_many_requests_waits_as_long_as_the_server_asks(
    server: ScriptedServer, client: SweepClient, time: FakeTime
) -> None:
    server.answers = [Answer(429, "slow down", {"Retry-After": "7"}), HEARTBEAT]
    assert client.heartbeat("a", ()) == []
    assert time.naps == [7.0]


def test_a_server_in_trouble_is_asked_again_with_growing_jittered_waits(
    server: ScriptedServer, client: SweepClient, time: FakeTime
) -> None:
    server.answers = [Answer(503, "restarting")] * 5 + [HEARTBEAT]
    client.heartbeat("a", ())
    limits = [1, 2, 4, 8, 16]
    assert len(time.naps) == 5
    assert all(limit / 2 <= nap <= limit for nap, limit in zip(time.naps, limits, strict=True))


def test_patience_has_an_end_and_the_error_has_the_server_s_words(
    server: ScriptedServer, client: SweepClient, time: FakeTime
) -> None:
    server.answers = [Answer(502, "bad gateway: upstream is gone")]
    with pytest.raises(ServerUnreachableError, match=r"^No usable answer from .*upstream is gone") as caught:
        client.heartbeat("a", ())
    assert server.url in str(caught.value)
    assert time.now <= 100


def test_a_server_that_is_not_there_is_named(time: FakeTime, is_local: bool) -> None:
    nowhere = ScriptedServer()
    nowhere.close()
    access = ServerAccess(nowhere.url, nowhere.url, KEY, is_local)
    client = SweepClient(lambda: access, patience_s=5, sleep=time.sleep, clock=lambda: time.now)
    with pytest.raises(ServerUnreachableError, match=nowhere.url):
        client.default_entity()


def test_a_server_that_comes_back_elsewhere_is_found_there(
    server: ScriptedServer, time: FakeTime, is_local: bool
) -> None:
    gone = ScriptedServer()
    gone.close()
    server.answers = [HEARTBEAT]
    places = [gone.url, gone.url, server.url, "http://never.asked"]
    client = SweepClient(
        lambda: ServerAccess(url := places.pop(0), url, KEY, is_local),
        patience_s=100,
        sleep=time.sleep,
        clock=lambda: time.now,
    )
    assert client.heartbeat("a", ()) == []
    assert client.heartbeat("a", ()) == []
    assert len(server.requests) == 2
    assert places == ["http://never.asked"]


def test_a_server_that_is_nowhere_for_now_is_waited_for(server: ScriptedServer, time: FakeTime) -> None:
    server.answers = [HEARTBEAT]

    def open_access() -> ServerAccess:
        if time.now < 3:
            raise ServerUnreachableError("it isn't running")
        return ServerAccess(server.url, server.url, KEY)

    client = SweepClient(open_access, patience_s=100, sleep=time.sleep, clock=lambda: time.now)
    assert client.heartbeat("a", ()) == []
    assert len(time.naps) > 1


def test_a_server_that_stays_nowhere_is_told_in_its_own_words(time: FakeTime) -> None:
    def open_access() -> ServerAccess:
        raise ServerUnreachableError("it isn't running; start it")

    client = SweepClient(open_access, patience_s=5, sleep=time.sleep, clock=lambda: time.now)
    with pytest.raises(ServerUnreachableError, match="it isn't running; start it"):
        client.default_entity()


def test_a_lost_login_is_no_reason_to_wait(time: FakeTime) -> None:
    def open_access() -> ServerAccess:
        raise SettingError("server", "wandb", "no login")

    client = SweepClient(open_access, patience_s=5, sleep=time.sleep, clock=lambda: time.now)
    with pytest.raises(SettingError):
        client.default_entity()
    assert time.naps == []


def test_an_impatient_heartbeat_tries_once(server: ScriptedServer, client: SweepClient, time: FakeTime) -> None:
    server.answers = [Answer(500, "no")]
    with pytest.raises(ServerUnreachableError):
        client.heartbeat("a", ("r",), patient=False)
    assert len(server.requests) == 1
    assert time.naps == []


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.create_sweep("{}", entity=None, project="p", description=None),
        lambda c: c.get_sweep(SWEEP),
        lambda c: c.heartbeat("a", ()),
        lambda c: c.default_entity(),
    ],
)
def test_a_lasting_error_is_not_retried_and_keeps_the_server_s_words(
    server: ScriptedServer, client: SweepClient, time: FakeTime, call: Callable[[SweepClient], Any]
) -> None:
    server.answers = [Answer(400, {"errors": [{"message": "parameter 'lr' is silly"}]})]
    with pytest.raises(ServerError, match="parameter 'lr' is silly") as caught:
        call(client)
    assert caught.value.status == 400
    assert time.naps == []


def test_an_embedded_server_is_told_what_the_agent_is_called_and_which_job_it_is_in(
    server: ScriptedServer, client: SweepClient
) -> None:
    server.answers = [data(createAgent={"agent": {"id": "a1"}})]
    assert client.create_own_agent(SWEEP, "host", "agent-0", "812_3") == "a1"
    variables = server.requests[0][1]["variables"]
    assert (variables["host"], variables["label"], variables["job"]) == ("host", "agent-0", "812_3")
    assert client.create_agent(SWEEP, "host") == "a1"
    query = server.requests[1][1]
    assert "label" not in query["query"]
    assert "label" not in query["variables"]


def test_an_embedded_server_that_knows_no_names_of_agents_has_them_without(
    server: ScriptedServer, client: SweepClient
) -> None:
    unknown = Answer(400, {"errors": [{"message": "Field 'label' is not defined by type 'CreateAgentInput'."}]})
    server.answers = [unknown, data(createAgent={"agent": {"id": "a1"}})]
    assert client.create_own_agent(SWEEP, "host", "agent-0", None) == "a1"
    assert "label" not in server.requests[1][1]["query"]
    server.answers = [Answer(400, {"errors": [{"message": "Sweep me/proj/ab12 is not running"}]})]
    assert client.create_own_agent(SWEEP, "host", "agent-0", None) is None


def test_errors_in_a_good_answer_are_errors(server: ScriptedServer, client: SweepClient) -> None:
    server.answers = [Answer(200, {"errors": [{"message": "no such field"}]})]
    with pytest.raises(ServerError, match=r"^http://.* refused the request: no such field$"):
        client.get_sweep(SWEEP)


def test_something_that_is_no_wandb_server_is_told(server: ScriptedServer, client: SweepClient) -> None:
    server.answers = [Answer(200, "<html>hello</html>")]
    with pytest.raises(ServerError, match="doesn't answer like a W&B server"):
        client.default_entity()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, {"errors": [{"message": "Sweep me/proj/ab12 is not running"}]}),
        Answer(200, {"errors": [{"message": "sweep is not running"}]}),
        Answer(404, {"errors": [{"message": "no sweep"}]}),
    ],
)
def test_an_agent_that_comes_after_the_end_has_a_clean_end(
    server: ScriptedServer, client: SweepClient, answer: Answer
) -> None:
    server.answers = [answer]
    assert client.create_agent(SWEEP, "host") is None


def test_a_deleted_sweep_ends_the_agent(server: ScriptedServer, client: SweepClient) -> None:
    server.answers = [Answer(404, {"errors": [{"message": "gone"}]})]
    assert client.heartbeat("a", ()) == [Command("exit")]


@pytest.mark.parametrize("answer", [data(project=None), data(project={"sweep": None}), Answer(404, "nothing here")])
def test_a_sweep_that_is_not_there_is_none(server: ScriptedServer, client: SweepClient, answer: Answer) -> None:
    server.answers = [answer]
    assert client.get_sweep(SWEEP) is None


def test_the_death_of_a_run_is_added_to_what_it_logged(server: ScriptedServer, client: SweepClient) -> None:
    bucket = {"id": "x", "name": "r", "summaryMetrics": '{"loss": 0.5}', "logLineCount": 12}
    server.answers = [data(model={"bucket": bucket}), Answer(200, {})]
    known = client.record_death(SWEEP, "r", 139, "killed by SIGSEGV")
    path, body, _ = server.requests[1]
    assert path == "/files/me/proj/r/file_stream"
    assert body["exitcode"] == 139
    assert body["complete"] is True
    assert body["files"]["output.log"] == {"offset": 12, "content": ["killed by SIGSEGV\n"]}
    summary = json.loads(body["files"]["wandb-summary.json"]["content"][0])
    assert known == summary == {"loss": 0.5, "trial_error": "killed by SIGSEGV"}


def test_a_sweep_is_ended_by_its_node_id_and_only_while_it_runs(server: ScriptedServer, client: SweepClient) -> None:
    sweep = {"id": "node", "name": "ab12", "state": "RUNNING", "config": "method: grid"}
    server.answers = [data(project={"sweep": sweep}), data(upsertSweep={"sweep": {"name": "ab12"}})]
    client.end_sweep(SWEEP)
    assert server.requests[1][1]["variables"]["id"] == "node"
    assert server.requests[1][1]["variables"]["state"] == "FINISHED"
    server.answers = [data(project={"sweep": {**sweep, "state": "FINISHED"}})]
    client.end_sweep(SWEEP)
    assert len(server.requests) == 3


def test_the_key_is_not_in_what_is_printed_of_an_access() -> None:
    assert KEY not in repr(ServerAccess("http://x", "http://x", KEY))
