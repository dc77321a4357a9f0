"""Pages of the real server process: the way in, events, restarts, and that they tell what W&B's API tells."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import requests

from tests.integration.server.client import STOP_RUN, UPSERT_SWEEP, Client
from tests.integration.server.processes import Servers, claim, grid
from tests.integration.server.sdk import User
from wandb_sweep_server.launch import ServerAddress

METRIC = {"metric": {"name": "loss", "goal": "minimize"}}


class Browser:
    """Follows links, keeps cookies, goes where pages send it; knows no key."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "text/html,*/*"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=60, **options)

    def follow(self, link: str) -> requests.Response:
        """Open a link, and go on to where the page sends it."""
        page = self.session.get(link, timeout=60)
        refresh = re.search(r'content="0; url=([^"]+)"', page.text)
        return self.get(refresh[1]) if refresh else page

    def act(self, path: str, body: dict[str, Any]) -> Any:
        """Press a button of a page."""
        token = re.search(r'name="csrf-token" content="([^"]+)"', self.get("/").text)
        assert token is not None
        headers = {"X-CSRF-Token": token[1], "Origin": self.url}
        answer = self.session.post(self.url + path, json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()


def link_of(client: Client, path: str = "/") -> str:
    answer = client.request("POST", "/page/login-links", json={"next": path})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


def browser_of(address: ServerAddress, client: Client) -> Browser:
    """A browser that was let in."""
    browser = Browser(address.url)
    assert browser.follow(link_of(client)).status_code == 200
    return browser


def events_of(response: requests.Response) -> Iterator[dict[str, Any]]:
    """The changes that a stream tells."""
    name = ""
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: ") and name == "change":
            yield json.loads(line.removeprefix("data: "))


def data_path(project: str, sweep: str) -> str:
    return f"/page/data/local/{project}/sweeps/{sweep}"


def test_a_link_opens_the_page_it_was_made_for_and_the_cookie_outlives_the_server(servers: Servers) -> None:
    address = servers.start()
    client = Client(address)
    sweep = client.sweep("my project", grid(x=[1, 2]))
    path = f"/local/my%20project/sweeps/{sweep}"
    browser = Browser(address.url)
    refused = browser.get(path)
    assert (refused.status_code, "<pre>hydra-sweep open DIR</pre>" in refused.text) == (401, True)
    assert refused.headers["Content-Type"].startswith("text/html")
    link = link_of(client, path)
    shown = browser.follow(link)
    assert (shown.status_code, shown.url) == (200, address.url + path)
    assert Browser(address.url).follow(link).status_code == 401
    servers.kill()
    servers.start()
    assert browser.get(path).status_code == 200
    token = link.partition("token=")[2].partition("&")[0]
    for secret in (token, next(iter(browser.session.cookies)).value or "", address.api_key):
        assert secret not in servers.log()


def test_a_stream_of_a_server_that_was_started_anew_says_so(servers: Servers) -> None:
    client = Client(servers.start())
    path = data_path("p", client.sweep("p", grid(x=[1])))
    revision = client.request("GET", path).json()["revision"]
    servers.kill()
    client = Client(servers.start())
    response = client.request("GET", f"{path}/events?after={revision}")
    assert "event: reload" in response.text
    assert client.request("GET", path).json()["revision"] != revision


def test_an_open_page_hears_what_happens_and_is_let_go_when_the_server_ends(servers: Servers) -> None:
    address = servers.start()
    client = Client(address)
    browser = browser_of(address, client)
    sweep = client.sweep("p", grid(x=[1, 2]) | METRIC)
    path = data_path("p", sweep)
    revision = browser.get(path).json()["revision"]
    stream = browser.get(f"{path}/events?after={revision}", stream=True)
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    agent = client.agent("p", sweep)
    claimed = claim(client, "p", agent)
    assert claimed is not None
    name, values = claimed
    client.start("p", name, sweep)
    client.finish("p", name, summary={"loss": 0.5})
    seen: dict[str, Any] = {}
    for change in events_of(stream):
        runs = change["runs"]
        seen |= {run: runs["state"][at] for at, run in enumerate(runs["id"])}
        if seen.get(name) == "finished":
            assert runs["metrics"] == {"loss": [0.5]}
            assert runs["parameters"] == {"x": [values["x"]]}
            break
    servers.processes[-1].send_signal(signal.SIGTERM)
    assert servers.wait() == 0
    assert "Cancel" not in servers.log()  # uvicorn's word for what it had to cut off


def test_an_idle_server_ends_though_pages_of_it_are_open(servers: Servers) -> None:
    address = servers.start("--idle-timeout-s", "1", "--open-sweep-timeout-days", "0")
    client = Client(address)
    path = data_path("p", client.sweep("p", grid(x=[1])))
    stream = client.request(
        "GET", f"{path}/events?after={client.request('GET', path).json()['revision']}", stream=True
    )
    assert servers.wait() == 0
    assert stream.status_code == 200


def test_buttons_do_what_the_api_does(server: ServerAddress, client: Client, project: str) -> None:
    browser = browser_of(server, client)
    for action, state in {"pause": "PAUSED", "resume": "RUNNING", "stop": "FINISHED", "cancel": "CANCELED"}.items():
        by_page, by_api = (client.sweep(project, grid(x=[1, 2])) for _ in range(2))
        before = "PAUSED" if action == "resume" else "RUNNING"
        for sweep in (by_page, by_api):
            client.graphql(UPSERT_SWEEP, id=sweep, state=before, projectName=project)
        assert browser.act(f"{data_path(project, by_page)}/{action}", {}) == {"state": state}
        client.graphql(UPSERT_SWEEP, id=by_api, state=state, projectName=project)
        first, second = (client.sweep_of(project, sweep) for sweep in (by_page, by_api))
        assert {**first, "id": "", "name": ""} == {**second, "id": "", "name": ""}


def test_a_run_that_was_stopped_is_offered_again(server: ServerAddress, client: Client, project: str) -> None:
    browser = browser_of(server, client)
    sweep = client.sweep(project, grid(x=[1]))
    agent = client.agent(project, sweep)
    claimed = claim(client, project, agent)
    assert claimed is not None
    name, _ = claimed
    client.start(project, name, sweep)
    client.graphql(STOP_RUN, id=client.run(project, name)["id"])
    client.finish(project, name, exit_code=255)
    path = data_path(project, sweep)
    assert client.sweep_of(project, sweep)["state"] == "FINISHED"
    assert browser.act(f"{path}/retry", {"runs": [name]})["runs"] == 1
    (command,) = client.heartbeat(client.agent(project, sweep))
    assert (command["type"], command["run_id"]) == ("resume", name)


RUNS = """
api = wandb.Api()
sweep = api.sweep("local/PROJECT/SWEEP")
result(dict(
    state=sweep.state,
    best=sweep.best_run().id,
    runs={run.id: dict(state=run.state, name=run.name, x=run.config["x"], y=run.config["y"],
                       loss=run.summary.get("loss"),
                       curve=[row["loss"] for row in run.history(keys=["loss"], pandas=False)])
          for run in api.runs("local/PROJECT", {"sweep": "SWEEP"})},
))
"""
TRAIN = """
import wandb
def train():
    run = wandb.init()
    for step in range(4):
        run.log({"loss": run.config["x"] + step})
    if run.config["x"] == 2:
        raise ValueError("no good")
wandb.agent("SWEEP", train, project="PROJECT", entity="local", count=4)
"""


def test_a_page_tells_of_an_sdk_s_sweep_what_the_api_tells(user: User, client: Client) -> None:
    sweep = client.sweep(user.project, grid(x=[1, 2], y=["a", "b"]) | METRIC)
    train, ask = (text.replace("PROJECT", user.project).replace("SWEEP", sweep) for text in (TRAIN, RUNS))
    user.python(train, check=False)
    told = user.result(ask)
    data = client.request("GET", data_path(user.project, sweep)).json()
    assert data["sweep"]["state"] == told["state"]
    runs = data["runs"]
    assert len(runs["id"]) == 4
    history = client.request("GET", f"{data_path(user.project, sweep)}/history?key=loss").json()["runs"]
    curves = {run["id"]: run["values"] for run in history}
    for at, name in enumerate(runs["id"]):
        assert told["runs"][name] == {
            "state": runs["state"][at],
            "name": runs["name"][at],
            "x": runs["parameters"]["x"][at],
            "y": runs["parameters"]["y"][at],
            "loss": runs["metrics"]["loss"][at],
            "curve": curves[name],
        }
    listed = client.request("GET", "/page/data/sweeps").json()["sweeps"]
    (own,) = [one for one in listed if one["id"] == sweep]
    assert own["best"]["run"] == told["best"]
    assert sum(own["counts"].values()) == 4


def test_the_log_of_an_sdk_s_run_is_what_it_printed(user: User, client: Client) -> None:
    user.python("import wandb\nrun = wandb.init(id='talks')\nprint('hello <b>page</b>')\nrun.finish()")
    log = client.request("GET", f"/page/data/local/{user.project}/runs/talks/log")
    assert "hello <b>page</b>" in log.text
    assert log.headers["Content-Type"].startswith("text/plain")
    files = client.request("GET", f"/page/data/local/{user.project}/runs/talks").json()["files"]
    names = [file["name"] for file in files]
    assert "config.yaml" in names
    assert client.request("GET", f"/files/local/{user.project}/talks/config.yaml").status_code == 200
