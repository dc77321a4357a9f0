"""What a directory's server was told is what its next one goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from wandb_sweep_server.options import Settings, SettingsError, keep_settings, parse_options


def settings(directory: Path, *options: str) -> Settings:
    return keep_settings(directory, parse_options(["--dir", str(directory), *options]))


def test_without_any_word_the_defaults_hold_and_nothing_is_written(tmp_path: Path) -> None:
    assert settings(tmp_path) == Settings()
    assert list(tmp_path.iterdir()) == []


def test_a_setting_outlives_its_server_until_it_is_given_anew(tmp_path: Path) -> None:
    assert settings(tmp_path, "--crash-timeout-s", "40", "--max-retries", "0") == Settings(40.0, max_retries=0)
    assert settings(tmp_path) == Settings(40.0, max_retries=0)
    assert settings(tmp_path, "--max-retries", "5") == Settings(40.0, max_retries=5)
    assert settings(tmp_path) == Settings(40.0, max_retries=5)
    assert isinstance(settings(tmp_path).max_retries, int)


@pytest.mark.parametrize("text", ["{", "[]", "1", "null", '{"max_retries": "x"}', '{"crash_timeout_s": -1}', "\xff"])
def test_settings_that_cannot_be_read_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"settings\.json.*remove it"):
        settings(tmp_path)


def test_settings_of_another_version_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"max_retries": 7, "unheard_of": 1}')
    assert settings(tmp_path) == Settings(max_retries=7)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--crash-timeout-s", "0", "must be a number above 0"),
        ("--crash-timeout-s", "nan", "must be a number of at least 0"),
        ("--crash-timeout-s", "-1", "must be a number of at least 0"),
        ("--start-timeout-s", "inf", "must be a number of at least 0"),
        ("--max-retries", "-1", "must be an integer of at least 0"),
        ("--max-retries", "1.5", "must be an integer of at least 0"),
        ("--open-sweep-timeout-days", "x", "must be a number of at least 0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_option(
    tmp_path: Path, option: str, value: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        settings(tmp_path, f"{option}={value}")
    assert end.value.code == 2
    assert f"{option}: {value} {rule}" in capsys.readouterr().err
