"""Links, cookies and tokens of pages, with a clock that the test sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.server.support import FakeTime
from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.pages.access import COOKIE_S, LINK_S, PageAccess, cookie_name, is_foreign, local_path
from wandb_sweep_server.pages.gate import is_shell, looks_on

KEY = "local-" + "0" * 40


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def access(time: FakeTime) -> PageAccess:
    return PageAccess(KEY, time.clock())


def test_a_link_works_once(access: PageAccess) -> None:
    first, second = access.new_link(), access.new_link()
    assert len({first, second}) == 2
    assert [access.use_link(first), access.use_link(first), access.use_link(second)] == [True, False, True]


@pytest.mark.parametrize("token", ["", "x", "0" * 43, "\udcff"])
def test_what_is_no_link_does_not_work(access: PageAccess, token: str) -> None:
    access.new_link()
    assert not access.use_link(token)


@pytest.mark.parametrize(("seconds", "works"), [(LINK_S - 1, True), (LINK_S, False), (LINK_S + 1, False)])
def test_a_link_is_good_for_ten_minutes_whatever_becomes_of_the_wall_clock(
    access: PageAccess, time: FakeTime, seconds: float, works: bool
) -> None:
    token = access.new_link()
    time.jump_s(-86_400)
    time.pass_s(seconds)
    assert access.use_link(token) == works


def test_links_that_nobody_uses_are_forgotten_the_oldest_first(access: PageAccess) -> None:
    tokens = [access.new_link() for _ in range(1_001)]
    assert not access.use_link(tokens[0])
    assert access.use_link(tokens[1])
    assert access.use_link(tokens[-1])


@pytest.mark.parametrize(("seconds", "is_good"), [(0, True), (COOKIE_S - 1, True), (COOKIE_S + 1, False)])
def test_a_cookie_is_good_for_thirty_days_and_after_a_restart(
    access: PageAccess, time: FakeTime, seconds: float, is_good: bool
) -> None:
    cookie = access.new_cookie()
    time.pass_s(seconds)
    assert PageAccess(KEY, time.clock()).is_good(cookie) == is_good


def test_a_cookie_of_another_server_is_no_good(access: PageAccess, time: FakeTime) -> None:
    assert not PageAccess("local-" + "1" * 40, time.clock()).is_good(access.new_cookie())


@given(place=st.integers(0, 200), letter=st.sampled_from("0123456789abcdef.é"))
def test_a_cookie_that_was_changed_anywhere_is_no_good(place: int, letter: str) -> None:
    access = PageAccess(KEY, FakeTime().clock())
    cookie = access.new_cookie()
    place %= len(cookie)
    changed = cookie[:place] + letter + cookie[place + 1 :]
    assert access.is_good(changed) == (changed == cookie)


@pytest.mark.parametrize("cookie", [None, "", ".", "..", "a.b.c", "99999999999.x.y"])
def test_what_is_no_cookie_is_no_good(access: PageAccess, cookie: str | None) -> None:
    assert not access.is_good(cookie)


def test_a_page_s_token_belongs_to_its_cookie(access: PageAccess) -> None:
    mine, theirs = access.new_cookie(), access.new_cookie()
    token = access.csrf_token(mine)
    assert access.is_own_request(mine, token)
    assert not access.is_own_request(theirs, token)
    assert not access.is_own_request(mine, None)
    assert token not in mine


@pytest.mark.parametrize(
    "path", ["/", "/local/app/sweeps/ab12", "/a%20b/c?x=1#run=2", "/ünter/wegs", "/a/../b", "/a//b"]
)
def test_visitors_are_taken_to_paths_of_this_server(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "//evil.org",
        "/\\evil.org",
        "\\\\evil.org",
        "http://evil.org/",
        "/\t/evil.org",
        "/a\nb",
        "/a b",
        " /a",
        "javascript:alert(1)",
        "/a\x7f",
        None,
        1,
        ["/"],
    ],
)
def test_visitors_are_taken_nowhere_else(path: object) -> None:
    with pytest.raises(ClientError, match="must be a path of this server"):
        local_path(path)


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "h:1", False),
        ("http://h:1", "h:1", False),
        ("http://H:1", "h:1", False),
        ("https://h", "h", False),
        ("http://h:2", "h:1", True),
        ("http://evil.org", "h:1", True),
        ("null", "h:1", True),
        ("", "h:1", True),
        ("http://[", "h:1", True),
        ("http://h:1@evil.org", "h:1", True),
    ],
)
def test_pages_of_other_servers_are_foreign(origin: str | None, host: str, foreign: bool) -> None:
    assert is_foreign(origin, host) == foreign


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("localhost:8080", 1, "wandb_sweep_server_8080"),
        ("[::1]:9", 1, "wandb_sweep_server_9"),
        ("node1", 1, "wandb_sweep_server_1"),
        ("[::1]", 1, "wandb_sweep_server_1"),
        ("h:8;x=1", 1, "wandb_sweep_server_1"),
        ("", 1, "wandb_sweep_server_1"),
    ],
)
def test_each_server_of_a_host_has_a_cookie_of_its_own(host: str, port: int, name: str) -> None:
    assert cookie_name(host, port) == name


@pytest.mark.parametrize("path", ["/", "/local/app", "/local/app/sweeps/ab12", "/local/app/runs/r1", "/ä b/c"])
def test_paths_that_people_look_at(path: str) -> None:
    assert is_shell(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "//",
        "/local",
        "/local/app/",
        "/local/app/other/x",
        "/graphql/x",
        "/files/p",
        "/upload/token",
        "/page/login",
        "/blob/x",
        "/artifactsV2/x",
        "/page/data/sweeps/x",
        "/local/app/sweeps/a/b",
        "/sdk/otel",
    ],
)
def test_paths_of_other_things(path: str) -> None:
    assert not is_shell(path)


@pytest.mark.parametrize(
    ("method", "path", "only_looks"),
    [
        ("GET", "/page/data/e/p/sweeps/s/events", True),
        ("GET", "/page/data/sweeps", True),
        ("POST", "/page/data/e/p/sweeps/s/pause", False),
        ("GET", "/e/p/sweeps/s", False),
        ("GET", "/page/login", False),
        ("POST", "/graphql", False),
    ],
)
def test_who_opens_a_page_or_presses_a_button_is_active_and_who_only_looks_on_is_not(
    method: str, path: str, only_looks: bool
) -> None:
    assert looks_on(method, path) == only_looks
