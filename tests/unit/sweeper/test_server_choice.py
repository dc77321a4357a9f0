"""Which server: W&B where a login is found, the embedded one elsewhere, and no secret in what travels."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._commands import server_named
from hydra_plugins.hydra_wandb_sweeper._errors import ServerUnreachableError, SettingError, SweepError
from hydra_plugins.hydra_wandb_sweeper._plan import server_meant
from hydra_plugins.hydra_wandb_sweeper._server import (
    ServerRef,
    choose_server,
    find_login,
    server_of_page,
    server_to_join,
)
from tests.unit.sweeper.settings import make_settings
from wandb_sweep_server.address import ServerAddress, keep_port, write_address

KEY = "0123456789abcdef" * 2 + "01234567"


def test_without_a_login_auto_means_the_embedded_server(tmp_path: Path) -> None:
    server = choose_server("auto", tmp_path, {"HOME": str(tmp_path)})
    assert server.is_local
    assert Path(server.place).parent == tmp_path


def test_a_key_in_the_environment_means_wandb(tmp_path: Path) -> None:
    server = choose_server("auto", tmp_path, {"HOME": str(tmp_path), "WANDB_API_KEY": KEY})
    assert server == ServerRef("wandb", "https://api.wandb.ai")


def test_a_login_in_netrc_means_wandb(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    environ = {"HOME": str(tmp_path)}
    server = choose_server("auto", tmp_path, environ)
    assert server.kind == "wandb"
    assert server.open(environ).api_key == KEY
    assert server.open(environ).app_url == "https://wandb.ai"


def test_a_self_hosted_server_is_found_where_wandb_login_puts_it(tmp_path: Path) -> None:
    settings = tmp_path / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://wandb.example.org/\n")
    (tmp_path / ".netrc").write_text(f"machine wandb.example.org\n  login user\n  password {KEY}\n")
    assert choose_server("auto", tmp_path, {"HOME": str(tmp_path)}).place == "https://wandb.example.org"


def test_local_wins_over_a_login(tmp_path: Path) -> None:
    assert choose_server("local", tmp_path, {"HOME": str(tmp_path), "WANDB_API_KEY": KEY}).is_local


@pytest.mark.parametrize("setting", ["wandb", "https://wandb.example.org"])
def test_asking_for_wandb_without_a_login_is_refused_with_the_next_step(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SettingError, match=r"hydra.sweeper.server=.*: no login for https://.*wandb login"):
        choose_server(setting, tmp_path, {"HOME": str(tmp_path)})


def test_a_broken_netrc_is_no_login(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine machine machine")
    assert find_login("https://api.wandb.ai", {"HOME": str(tmp_path)}) is None


def test_what_travels_to_jobs_holds_no_key(tmp_path: Path) -> None:
    server = choose_server("auto", tmp_path, {"HOME": str(tmp_path), "WANDB_API_KEY": KEY})
    assert KEY.encode() not in pickle.dumps(server)


def test_a_trial_waits_for_an_embedded_server_that_is_being_restarted(tmp_path: Path) -> None:
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            write_address(ServerAddress("http://n1:1", KEY, tmp_path, 1, "0.0.0.0", "x"))

    server = ServerRef("local", str(tmp_path))
    assert server.open_patiently(sleep, lambda: sum(naps)).url == "http://n1:1"
    (tmp_path / "server.json").unlink()
    with pytest.raises(ServerUnreachableError):
        server.open_patiently(naps.append, lambda: sum(naps))


def test_an_embedded_server_that_is_gone_says_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(ServerUnreachableError, match="hydra-sweep serve --dir"):
        ServerRef("local", str(tmp_path)).open({})


# --- a page's URL ---

PAGE = "/me/proj/sweeps/ab12"


def own_server(directory: Path, url: str = "http://127.0.0.1:4711", host: str = "127.0.0.1") -> ServerRef:
    """The embedded server of a project's directory, as it is found there."""
    place = directory / ".wandb_sweep_server"
    place.mkdir()
    write_address(ServerAddress(url, "local-key", place, 1, host, "instance"))
    return ServerRef("local", str(place))


@pytest.mark.parametrize("environ", [{}, {"WANDB_API_KEY": KEY}], ids=["without a login", "with one"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_of_the_project_s_own_server_is_asked_for_there_whatever_login_there_is(
    tmp_path: Path, environ: dict[str, str], name: str
) -> None:
    server = own_server(tmp_path)
    assert server_of_page(f"http://{name}:4711{PAGE}", tmp_path, {"HOME": str(tmp_path), **environ}) == server


@pytest.mark.parametrize("name", ["node7", "127.0.0.1"])
def test_a_server_that_listens_everywhere_is_known_by_its_name_and_on_its_machine(tmp_path: Path, name: str) -> None:
    server = own_server(tmp_path, "http://node7:4711", "0.0.0.0")
    assert server_of_page(f"http://{name}:4711{PAGE}", tmp_path, {"HOME": str(tmp_path)}) == server


def test_a_server_that_has_ended_is_known_by_its_port(tmp_path: Path) -> None:
    place = tmp_path / ".wandb_sweep_server"
    place.mkdir()
    keep_port(place, 4711)
    assert server_of_page(f"http://127.0.0.1:4711{PAGE}", tmp_path, {"HOME": str(tmp_path)}).place == str(place)


@pytest.mark.parametrize(
    ("url", "place", "environ"),
    [
        ("https://wandb.ai", "https://api.wandb.ai", {}),
        ("https://wandb.ai", "https://api.wandb.ai", {"WANDB_BASE_URL": "https://wandb.example.org"}),
        ("https://wandb.example.org", "https://wandb.example.org", {}),
        ("http://127.0.0.1:4712", "http://127.0.0.1:4712", {}),
        ("http://node8:4711", "http://node8:4711", {}),
        (
            "https://pages.example.org",
            "https://api.example.org",
            {"WANDB_BASE_URL": "https://api.example.org", "WANDB_APP_URL": "https://pages.example.org"},
        ),
    ],
    ids=["cloud", "cloud although another one is set", "own", "another port", "another machine", "own with pages"],
)
def test_a_page_s_url_names_its_server_and_without_a_login_for_it_no_other_one_is_asked(
    tmp_path: Path, url: str, place: str, environ: dict[str, str]
) -> None:
    own_server(tmp_path)
    known = {"HOME": str(tmp_path), **environ}
    assert server_of_page(url + PAGE, tmp_path, {**known, "WANDB_API_KEY": KEY}) == ServerRef("wandb", place)
    with pytest.raises(SweepError, match=rf"^'{url}{PAGE}' is at {place}, for which there is no login .*wandb login"):
        server_of_page(url + PAGE, tmp_path, known)


def test_a_url_and_another_server_contradict_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = own_server(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for setting in ("auto", "local"):
        assert server_named(f"http://127.0.0.1:4711{PAGE}", setting, tmp_path) == server
    with pytest.raises(SweepError, match=r"not at --server local\. Leave --server out"):
        server_named("http://127.0.0.1:4712" + PAGE, "local", tmp_path)


# --- joining by a page's URL ---


def test_a_sweep_that_is_joined_by_its_url_is_joined_on_the_server_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_server(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")

    def meant(sweep_id: str) -> ServerRef:
        return server_meant(make_settings(sweep_id=sweep_id), tmp_path)

    assert meant(f" http://127.0.0.1:4711{PAGE}") == own
    assert meant("https://wandb.ai" + PAGE) == ServerRef("wandb", "https://api.wandb.ai")
    assert meant("http://127.0.0.1:4712" + PAGE) == ServerRef("wandb", "http://127.0.0.1:4712")
    assert meant("me/proj/ab12") == ServerRef("wandb", "https://wandb.example.org")


@pytest.mark.parametrize(
    ("url", "setting", "place"),
    [
        ("http://127.0.0.1:4711", "local", None),
        ("http://localhost:4711", "http://localhost:4711", "http://localhost:4711"),
        ("https://wandb.ai", "wandb", "https://api.wandb.ai"),
        ("https://wandb.ai", "https://api.wandb.ai/", "https://api.wandb.ai/"),
    ],
)
def test_a_setting_that_means_the_same_server_may_stand_beside_a_url(
    tmp_path: Path, url: str, setting: str, place: str | None
) -> None:
    own = own_server(tmp_path)
    server = server_to_join(url + PAGE, setting, tmp_path, {"HOME": str(tmp_path), "WANDB_API_KEY": KEY})
    assert server == (own if place is None else ServerRef("wandb", place))


@pytest.mark.parametrize("environ", [{}, {"WANDB_API_KEY": KEY}], ids=["without a login", "with one"])
@pytest.mark.parametrize(
    ("url", "setting", "place"),
    [
        ("https://wandb.ai", "local", "https://api.wandb.ai"),
        ("http://127.0.0.1:4712", "local", "http://127.0.0.1:4712"),
        ("http://127.0.0.1:4712", "http://127.0.0.1:4713", "http://127.0.0.1:4712"),
        ("http://127.0.0.1:4711", "wandb", "DIR"),
    ],
)
def test_a_setting_that_means_another_server_than_the_url_is_refused(
    tmp_path: Path, url: str, setting: str, place: str, environ: dict[str, str]
) -> None:
    place = place.replace("DIR", own_server(tmp_path).place)
    with pytest.raises(SettingError) as caught:
        server_to_join(url + PAGE, setting, tmp_path, {"HOME": str(tmp_path), **environ})
    assert str(caught.value) == (
        f"hydra.sweeper.server='{setting}': contradicts hydra.sweeper.sweep_id={url}{PAGE}, which is at {place}; "
        "leave it out"
    )


@pytest.mark.parametrize(
    ("url", "login"),
    [("https://wandb.ai", "`wandb login`"), ("http://node8:4711", "`wandb login --host http://node8:4711`")],
)
def test_joining_by_a_url_without_a_login_for_its_server_is_refused_with_the_next_step(
    tmp_path: Path, url: str, login: str
) -> None:
    own_server(tmp_path)
    with pytest.raises(SettingError) as caught:
        server_to_join(url + PAGE, "auto", tmp_path, {"HOME": str(tmp_path)})
    assert str(caught.value).startswith(f"hydra.sweeper.sweep_id='{url}{PAGE}': is at ")
    assert ", for which there is no login (neither WANDB_API_KEY nor a netrc entry); run " + login in str(
        caught.value
    )
