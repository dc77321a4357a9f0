"""Who gets what of the pages, and what answers tell browsers."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.unit.server.asgi import KEY, App
from tests.unit.server.pages import PAGE, Visitor, data_path, finish_trial, new_link, token_in, visitor
from tests.unit.server.support import Server
from wandb_sweep_server.app import AccessLimits
from wandb_sweep_server.throttle import Rate

SHELLS = ["/", "/local/p", "/local/p/sweeps/SWEEP", "/local/p/runs/RUN"]
DATA = [
    "/page/data/sweeps",
    "/page/data/local/p/sweeps/SWEEP",
    "/page/data/local/p/sweeps/SWEEP/importance",
    "/page/data/local/p/sweeps/SWEEP/history?key=loss&points=3",
    "/page/data/local/p/sweeps/SWEEP/keys",
    "/page/data/local/p/runs/RUN",
    "/page/data/local/p/runs/RUN/log",
]
ACTIONS = ["pause", "resume", "stop", "cancel", "retry"]


class Site:
    """An app with a sweep, of which one trial has finished."""

    def __init__(self, server: Server, limits: AccessLimits | None = None) -> None:
        self.server = server
        self.app = App(server, limits)
        self.sweep = server.sweep(metric={"name": "loss"})
        self.agent = server.agent(self.sweep)
        self.run = finish_trial(server, self.sweep, self.agent, loss=0.5)

    def path(self, path: str) -> str:
        return path.replace("SWEEP", self.sweep.name).replace("RUN", self.run)


def keep_file(server: Server, run: str, name: str, content: bytes) -> None:
    """Give a run a small file."""
    (file,) = server.do(lambda: server.store.files.announce(server.run(run), [name]))
    server.do(lambda: server.store.files.keep(file, content))


@pytest.fixture
def make(server: Server) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(**limits: Rate) -> Site:
        sites.append(Site(server, AccessLimits(**limits)))  # type: ignore[arg-type]
        return sites[-1]

    yield make
    for site in sites:
        site.app.close()


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    return make()


# --- who gets in ---


@pytest.mark.parametrize("path", [*SHELLS, *DATA])
def test_whoever_has_the_key_or_a_cookie_gets_an_answer_and_nobody_else(site: Site, path: str) -> None:
    path = site.path(path)
    assert site.app.ask("GET", path).status == 200
    assert visitor(site.app).get(path).status == 200
    for cookie in ("", "wandb_sweep_server_80=nonsense", "session=1"):
        stranger = Visitor(site.app, cookie)
        for headers in ({}, PAGE):
            answer = stranger.get(path, **headers)
            assert answer.status == 401
            assert site.run.encode() not in answer.body
    assert site.app.ask("GET", path, key="wrong").status == 401


@pytest.mark.parametrize("path", SHELLS)
def test_people_without_a_cookie_read_how_to_get_a_link(site: Site, path: str) -> None:
    answer = Visitor(site.app).get(site.path(path), **PAGE)
    assert answer.status == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert "This page needs a link" in answer.body.decode()
    assert "hydra-sweep open DIR" in answer.body.decode()
    assert "script-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", DATA)
def test_programs_without_the_key_are_told_in_json(site: Site, path: str) -> None:
    assert "WANDB_API_KEY" in Visitor(site.app).get(site.path(path), **PAGE).message


def test_a_cookie_is_good_for_pages_and_files_of_runs_only(site: Site) -> None:
    browser = visitor(site.app)
    site.server.post(site.run, {"run_files": {}})
    for method, path in [("POST", "/graphql"), ("POST", f"/files/local/p/{site.run}/file_stream"), ("GET", "/no")]:
        assert browser.ask(method, path, b"{}").status == 401
    keep_file(site.server, site.run, "note.txt", b"<b>")
    answer = browser.get(f"/files/local/p/{site.run}/note.txt")
    assert (answer.status, answer.body) == (200, b"<b>")
    assert answer.headers["content-disposition"] == "attachment"
    assert browser.ask("DELETE", f"/files/local/p/{site.run}/note.txt").status == 401
    assert browser.ask("POST", "/page/login-links", b"{}").status == 401


def test_a_cookie_of_another_port_is_not_looked_at(site: Site) -> None:
    browser = visitor(site.app)
    assert browser.get("/", host="h:8080").status == 401
    assert browser.get("/", host="other").status == 200  # a browser sends no cookie to another host


# --- links ---


def test_a_link_lets_a_browser_in_once_and_takes_it_to_the_page(site: Site) -> None:
    path = f"/local/p/sweeps/{site.sweep.name}#run={site.run}"
    link = new_link(site.app, path)
    assert link.startswith("http://h/page/login?token=")
    first, second = Visitor(site.app), Visitor(site.app)
    answer = first.follow(link)
    assert answer.status == 200
    assert f'content="0; url={path}"' in answer.body.decode()
    cookie = answer.headers["set-cookie"].lower()
    for word in ("wandb_sweep_server_80=", "httponly", "samesite=strict", "path=/", "max-age=2592000"):
        assert word in cookie
    assert "domain" not in cookie
    assert first.get(path.partition("#")[0]).status == 200
    used = second.follow(link)
    assert (used.status, second.cookie) == (401, "")
    assert "This link works no more" in used.body.decode()
    assert "hydra-sweep open DIR" in used.body.decode()
    # Whoever is in already may go that way again.
    assert first.follow(link).status == 200


def test_a_link_is_refused_after_ten_minutes(site: Site) -> None:
    link = new_link(site.app)
    site.server.time.pass_s(600)
    assert Visitor(site.app).follow(link).status == 401


def test_a_program_that_looks_where_a_link_leads_does_not_use_it_up(site: Site) -> None:
    parts = urlsplit(new_link(site.app))
    assert "set-cookie" not in Visitor(site.app).ask("HEAD", f"{parts.path}?{parts.query}").headers
    assert Visitor(site.app).get(f"{parts.path}?{parts.query}").status == 200


def test_a_link_leads_nowhere_else(site: Site) -> None:
    body = json.dumps({"next": "//evil.org/"}).encode()
    answer = site.app.ask("POST", "/page/login-links", body)
    assert answer.status == 400
    assert "must be a path of this server" in answer.message
    token = token_in(new_link(site.app))
    answer = Visitor(site.app).get(f"/page/login?token={token}&next=https%3A%2F%2Fevil.org")
    assert answer.status == 400
    assert "set-cookie" not in answer.headers


def test_where_a_link_leads_is_text_and_no_html(site: Site) -> None:
    answer = Visitor(site.app).follow(new_link(site.app, '/"><script>alert(1)</script>'))
    assert answer.status == 200
    assert b"<script>" not in answer.body


def test_links_are_made_for_the_key_only(site: Site) -> None:
    assert Visitor(site.app).ask("POST", "/page/login-links", b"{}").status == 401
    assert visitor(site.app).ask("POST", "/page/login-links", b"{}").status == 401


def test_who_tries_links_out_is_stopped_and_those_with_a_cookie_go_on(make: Callable[..., Site]) -> None:
    site = make(strangers=Rate(burst=3, per_s=0.001))
    browser = visitor(site.app)
    stranger = Visitor(site.app)
    statuses = [stranger.get(f"/page/login?token={number}&next=%2F").status for number in range(4)]
    assert statuses == [401, 401, 429, 429]
    assert browser.get("/").status == 200


# --- what answers tell browsers ---


@pytest.mark.parametrize("path", [*SHELLS, *DATA, "/page/login?token=x&next=/", "/page/data/nothing", "/page/no"])
def test_every_answer_says_what_its_page_may_do(site: Site, path: str) -> None:
    for answer in (site.app.ask("GET", site.path(path)), Visitor(site.app).get(site.path(path), **PAGE)):
        policy = answer.headers["content-security-policy"]
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            assert rule in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_other_answers_are_as_they_were(site: Site) -> None:
    answer = site.app.ask("GET", "/healthz", key=None)
    assert "content-security-policy" not in answer.headers
    assert "cache-control" not in answer.headers


# --- shells and assets ---


def test_a_shell_has_the_visitor_s_token_and_the_assets_version(site: Site) -> None:
    one, other = visitor(site.app), visitor(site.app)
    assert one.csrf_token() == one.csrf_token("/local/p")
    assert len({one.csrf_token(), other.csrf_token(), ""}) == 3
    assert "{{" not in one.get("/").body.decode()
    assert 'name="csrf-token" content=""' in site.app.ask("GET", "/").body.decode()


@pytest.mark.parametrize("name", ["page.css", "plotly.js"])
def test_assets_need_no_cookie_and_are_sent_compressed_and_again_only_if_they_changed(site: Site, name: str) -> None:
    stranger, path = Visitor(site.app), f"/page/assets/{name}"
    plain, compressed = stranger.get(path), stranger.get(path, accept_encoding="gzip, br")
    assert plain.status == compressed.status == 200
    assert gzip.decompress(compressed.body) == plain.body
    assert compressed.headers["content-encoding"] == "gzip"
    assert plain.headers["content-type"].startswith("text/css" if name.endswith("css") else "text/javascript")
    again = stranger.get(path, if_none_match=plain.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_an_asset_of_the_shell_s_version_is_not_asked_for_again(site: Site) -> None:
    stranger = Visitor(site.app)
    shell = site.app.ask("GET", "/local/p/sweeps/s").body.decode()
    named = re.findall(r'(?:href|src)="(/page/assets/[^"]+)"', shell)
    kept = {path: "immutable" in stranger.get(path).headers["cache-control"] for path in named}
    assert kept == {path: "?v=" in path for path in named}
    assert {path.partition("?")[0].rpartition("/")[2] for path, is_kept in kept.items() if is_kept} == {
        "page.css", "page.js", "plotly.js",
    }  # fmt: skip
    assert stranger.get("/page/assets/page.css?v=of-before").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "sweep.html", "..%2Fschema.sql", "%2e%2e", ".js", "a%00.js", "page"])
def test_there_are_no_other_assets(site: Site, name: str) -> None:
    answer = site.app.ask("GET", f"/page/assets/{name}")
    assert answer.status == 404
    assert re.match("there is no file '|GET .* is not available in this server$", answer.message)


@pytest.mark.parametrize("path", ["/graphql/x", "/upload/token", "/files/p", "/blob/x/sweeps/y", "/a/b/c", "/a"])
def test_paths_of_other_things_are_no_pages(site: Site, path: str) -> None:
    assert site.app.ask("GET", path).status == 404


# --- data ---


@pytest.mark.parametrize(
    "path",
    [
        "/page/data/local/no/sweeps/SWEEP",
        "/page/data/local/p/sweeps/no",
        "/page/data/local/p/runs/no",
        "/page/data/local/p/sweeps/no/events",
        "/page/data/no/p/runs/RUN/log",
    ],
)
def test_what_does_not_exist_is_404_and_named(site: Site, path: str) -> None:
    answer = site.app.ask("GET", site.path(path))
    assert answer.status == 404
    assert "does not exist" in answer.message


@pytest.mark.parametrize("question", ["", "/history?key=loss"])
def test_large_answers_are_compressed_for_who_can_read_that(site: Site, question: str) -> None:
    path = data_path(site.sweep, question)
    plain, compressed = site.app.ask("GET", path), site.app.ask("GET", path, accept_encoding="gzip, br")
    assert (plain.headers.get("content-encoding"), compressed.headers["content-encoding"]) == (None, "gzip")
    assert json.loads(gzip.decompress(compressed.body)) == plain.json()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("history", "history needs a key, such as ?key=loss"),
        ("history?key=", "history needs a key, such as ?key=loss"),
        ("history?key=a&points=x", "points"),
        ("history?key=a&points=-1", "points"),
    ],
)
def test_a_wrong_question_is_named(site: Site, query: str, words: str) -> None:
    answer = site.app.ask("GET", data_path(site.sweep, f"/{query}"))
    assert answer.status == 400
    assert words in answer.message


def test_the_list_of_sweeps_has_counts_and_the_best_run(site: Site) -> None:
    other = site.server.sweep({"x": {"min": 0.0, "max": 1.0}}, method="random", name="other")
    (second, first) = site.app.ask("GET", "/page/data/sweeps").json()["sweeps"]
    assert first == {
        "entity": "local",
        "project": "p",
        "id": site.sweep.name,
        "name": None,
        "state": "RUNNING",
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "created_at": site.server.time.now_s,
        "updated_at": site.server.time.now_s,
        "expected": 4,
        "counts": {"finished": 1},
        "best": {"run": site.run, "value": 0.5},
    }
    assert (second["id"], second["name"], second["expected"], second["best"]) == (other.name, "other", None, None)


def test_the_best_run_is_that_of_now(site: Site) -> None:
    def best() -> object:
        return site.app.ask("GET", "/page/data/sweeps").json()["sweeps"][0]["best"]

    assert best() == {"run": site.run, "value": 0.5}
    worse = finish_trial(site.server, site.sweep, site.agent, loss=0.75)
    assert best() == {"run": site.run, "value": 0.5}
    better = finish_trial(site.server, site.sweep, site.agent, loss=0.25)
    assert best() == {"run": better, "value": 0.25}
    site.server.do(lambda: site.server.store.runs.delete(site.server.run(better)))
    site.server.do(lambda: site.server.store.runs.delete(site.server.run(site.run)))
    assert best() == {"run": worse, "value": 0.75}


def test_a_run_is_shown_with_config_summary_and_files(site: Site) -> None:
    server = site.server
    keep_file(server, site.run, "config.yaml", b"a: 1")
    shown = site.app.ask("GET", site.path("/page/data/local/p/runs/RUN")).json()
    assert shown["config"] == {"a": 1, "b": "x"}
    assert shown["summary"] == {"loss": 0.5}
    assert shown["files"] == [{"name": "config.yaml", "size_bytes": 4}]
    run = shown["run"]
    assert (run["id"], run["state"], run["sweep"], run["host"]) == (site.run, "finished", site.sweep.name, "node1")
    assert run["agent"] == site.agent.name
    assert [one["how"] for one in run["assignments"]] == ["finished"]


_CREATE_OWN_AGENT = """mutation CreateAgent($sweep: String!, $label: String, $job: String) {
  createAgent(input: {host: "node2", projectName: "p", sweep: $sweep, label: $label, job: $job}) { agent { name } }
}"""


@pytest.mark.parametrize(
    ("label", "job", "shown"), [("agent-3", "812_3", ("agent-3", "812_3")), ("", "", (None, None))]
)
def test_agents_are_shown_by_the_names_that_whoever_started_them_gave_them(
    site: Site, label: str, job: str, shown: tuple[str | None, str | None]
) -> None:
    variables = {"sweep": site.sweep.name, "label": label, "job": job}
    body = json.dumps({"query": _CREATE_OWN_AGENT, "variables": variables}).encode()
    made = site.app.ask("POST", "/graphql", body).json()["data"]["createAgent"]["agent"]
    server = site.server
    agent = server.do(lambda: server.store.agents.of_sweep(server.sweep_now(site.sweep))[-1])
    run = finish_trial(server, site.sweep, agent, loss=0.5)
    data = site.app.ask("GET", site.path("/page/data/local/p/sweeps/SWEEP")).json()
    name, at = shown[0] or made["name"], data["runs"]["id"].index(run)
    assert [(one["name"], one["job"]) for one in data["agents"]] == [(site.agent.name, None), (name, shown[1])]
    assert data["runs"]["agent"][at] == name
    told = site.app.ask("GET", f"/page/data/local/p/runs/{run}").json()["run"]
    assert (told["agent"], told["job"]) == (name, shown[1])


def test_a_run_of_no_sweep_is_shown_too(site: Site) -> None:
    site.server.start("alone", host="laptop")
    run = site.app.ask("GET", "/page/data/local/p/runs/alone").json()["run"]
    assert (run["sweep"], run["agent"], run["host"], run["ended_at"]) == (None, None, "laptop", None)


def test_the_log_is_text_and_may_be_asked_for_from_its_end(site: Site) -> None:
    site.server.start("r")
    lines = [f"line {number}\n" for number in range(5_000)] + ["<script>alert(1)</script>", "ünd\n"]
    site.server.post("r", {"files": {"output.log": {"offset": 0, "content": lines}}})
    answer = site.app.ask("GET", "/page/data/local/p/runs/r/log")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.decode().splitlines() == [line.rstrip("\n") for line in lines]
    tail = site.app.ask("GET", "/page/data/local/p/runs/r/log?tail=2")
    assert tail.body.decode() == "<script>alert(1)</script>\nünd\n"


def test_a_deleted_run_is_said_to_be(site: Site) -> None:
    site.server.do(lambda: site.server.store.runs.delete(site.server.run(site.run)))
    assert site.app.ask("GET", site.path("/page/data/local/p/runs/RUN")).status == 410


HOSTILE = "</script><img src=x onerror=alert(1)>\u2028'\"&"


def test_what_comes_from_runs_is_data_and_never_html(site: Site) -> None:
    server = site.server
    server.start("h", site.sweep, display_name=HOSTILE, host=HOSTILE, config={"a": {"value": HOSTILE}})
    server.post("h", {"files": {"wandb-summary.json": {"content": [json.dumps({HOSTILE: 1.0, "t": HOSTILE})]}}})
    answer = site.app.ask("GET", data_path(site.sweep))
    assert answer.headers["content-type"] == "application/json"
    runs = answer.json()["runs"]
    at = runs["id"].index("h")
    assert (runs["name"][at], runs["host"][at], runs["parameters"]["a"][at]) == (HOSTILE,) * 3
    assert runs["metrics"][HOSTILE][at] == 1.0
    assert site.app.ask("GET", "/page/data/local/p/runs/h").json()["summary"]["t"] == HOSTILE
    for path in SHELLS:
        assert HOSTILE.encode() not in site.app.ask("GET", site.path(path)).body


# --- buttons ---


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_works_with_the_page_s_token_and_with_the_key(site: Site, action: str) -> None:
    path = data_path(site.sweep, f"/{action}")
    assert visitor(site.app).act(path).status == 200
    assert site.app.ask("POST", data_path(site.server.sweep(), f"/{action}"), b"{}", key=KEY).status == 200


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_does_nothing_for_pages_of_others(site: Site, action: str) -> None:
    browser, path = visitor(site.app), data_path(site.sweep, f"/{action}")
    token, others = browser.csrf_token(), visitor(site.app).csrf_token()
    answers = [
        browser.ask("POST", path, b"{}"),
        browser.ask("POST", path, b"{}", x_csrf_token=""),
        browser.ask("POST", path, b"{}", x_csrf_token=others),
        browser.ask("POST", path, b"{}", x_csrf_token=token, origin="http://h:8081"),
        browser.ask("POST", path, b"{}", x_csrf_token=token, origin="null"),
        site.app.ask("POST", path, b"{}", origin="http://evil.org"),
    ]
    assert [answer.status for answer in answers] == [403] * len(answers)
    lacks = "this request lacks the page's X-CSRF-Token: reload the page"
    foreign = "this request comes from a page of another server"
    assert {answer.message for answer in answers} == {lacks, foreign}
    assert Visitor(site.app).ask("POST", path, b"{}", x_csrf_token=token).status == 401
    assert site.server.sweep_now(site.sweep).state == "RUNNING"
    assert browser.ask("POST", path, b"{}", x_csrf_token=token, origin="http://h").status == 200


def test_an_unknown_button_is_named(site: Site) -> None:
    answer = visitor(site.app).act(data_path(site.sweep, "/explode"))
    assert answer.status == 404
    assert "pause, resume, stop, cancel, retry" in answer.message
