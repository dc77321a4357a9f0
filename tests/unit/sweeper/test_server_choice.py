"""Which server: W&B where a login is found, the embedded one elsewhere, and no secret in what travels."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._errors import ServerUnreachableError, SettingError
from hydra_plugins.hydra_wandb_sweeper._server import ServerRef, choose_server, find_login
from wandb_sweep_server.address import ServerAddress, write_address

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
