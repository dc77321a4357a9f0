"""The README and the pages in docs/ name only settings, commands, options and messages that exist."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

from hydra_plugins.hydra_wandb_sweeper import _cli
from hydra_plugins.hydra_wandb_sweeper.config import MetricConf, WandbSweeperConf

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LOG_LINES_PAGE = ROOT / "docs" / "running-on-slurm.md"
LOG_LINES_HEADING = "## What the log lines mean"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def fields(*classes: type) -> set[str]:
    return {field.name for cls in classes for field in dataclasses.fields(cls)}


SETTINGS = {
    "sweeper": fields(WandbSweeperConf) | {f"metric.{name}" for name in fields(MetricConf)},
    "launcher": fields(SlurmQueueConf, LocalQueueConf),
}


@every_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"\bhydra\.(sweeper|launcher)\.([a-z_]+(?:\.[a-z_]+)*)", page.read_text())
    # Below `params` stand names of the user's own config.
    settings = ((group, "params" if name.startswith("params.") else name) for group, name in named)
    assert [f"hydra.{group}.{name}" for group, name in settings if name not in SETTINGS[group]] == []


@every_page
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    group = _cli.main
    for command, arguments in re.findall(r"\bhydra-sweep +([a-z]+)([^`|\n]*)", page.read_text()):
        assert command in group.commands, f"hydra-sweep {command}"
        options = option_names(group.commands[command]) | {"--help"}
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", arguments):
            assert option in options, f"hydra-sweep {command} {option}"


def option_names(command: click.Command) -> set[str]:
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)}


def test_every_command_is_described_on_the_page() -> None:
    page = LOG_LINES_PAGE.read_text()
    assert [name for name in _cli.main.commands if f"`hydra-sweep {name}" not in page] == []


def explained_lines() -> list[str]:
    """The first column of the page's table of log lines; `…` stands for what differs from time to time."""
    section = LOG_LINES_PAGE.read_text().partition(LOG_LINES_HEADING)[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_the_table_of_log_lines_is_found() -> None:
    assert len(explained_lines()) > 20


@pytest.mark.parametrize("line", explained_lines())
def test_every_log_line_that_is_explained_is_said_by_the_package(line: str) -> None:
    pattern = re.compile(".*".join(re.escape(part) for part in line.split("…")))
    assert any(pattern.search(message) for message in MESSAGES), line


def messages() -> Iterator[str]:
    """Every text in the package's source, with `…` for what is filled in."""
    for path in sorted((ROOT / "hydra_plugins" / "hydra_wandb_sweeper").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[.\d]*[sdfg]", "…", node.value)
            elif isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


MESSAGES = list(messages())
