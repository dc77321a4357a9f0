"""What stands in the pages' blocks works: each is run, or says why it isn't."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from hydra_plugins.hydra_wandb_sweeper._distributions import check_spec
from hydra_plugins.hydra_wandb_sweeper._plan import load_yaml
from hydra_plugins.hydra_wandb_sweeper._settings import Settings, read_settings
from hydra_plugins.hydra_wandb_sweeper._sweep_config import flat_parameters
from hydra_plugins.hydra_wandb_sweeper.config import WandbSweeperConf
from tests.docs.blocks import Block, blocks_of, commands_of, first_line_missing
from tests.docs.conftest import PAGES, ROOT
from tests.docs.scratch import Scratch

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# What is typed into a shell stands in a fenced block, where it is found.
_INDENTED_COMMAND = re.compile(r"^(?: {4}|\t)(?:\$ |python |hydra-sweep |wandb |make |pip |export )", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == language], ids=str)


@pytest.fixture
def scratch_for(tmp_path: Path) -> Iterator[Callable[[Block], Scratch]]:
    """The scratch project of a page's block, made when one is needed; their servers are ended at the end."""
    made: list[Scratch] = []

    def scratch(block: Block) -> Scratch:
        if block.starts_anew or not made:
            made.append(Scratch(tmp_path / f"project{len(made)}", tmp_path / "home", is_empty=block.starts_anew))
        return made[-1]

    yield scratch
    for each in made:
        each.end()


@every_page
def test_the_blocks_of_a_page_do_what_the_page_says(page: Path, scratch_for: Callable[[Block], Scratch]) -> None:
    for block in blocks_of(page):
        if block.is_run_here:
            scratch_for(block).run(block)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_names_its_language(block: Block) -> None:
    assert block.language, "a fence without a language: bash, console, yaml, python or text"


@every_page
def test_every_command_stands_in_a_fenced_block(page: Path) -> None:
    outside = re.sub(r"^( *)(```+|~~~+).*?^\1\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert _INDENTED_COMMAND.findall(outside) == []


@blocks("console")
def test_every_console_block_has_a_command_or_says_why_it_is_not_run(block: Block) -> None:
    assert commands_of(block) or block.not_run or block.part_of


@blocks("python")
def test_every_python_block_is_python(block: Block) -> None:
    ast.parse(block.text)


@blocks("yaml")
def test_every_yaml_block_says_what_the_plugin_understands(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    if block.not_run is not None:
        return
    path = tmp_path / "block.yaml"
    path.write_text(block.text)
    for found in settings_in(content):
        settings = read(**{"sweep_file": None, **found})
        check_parameters(settings.params)
    if isinstance(content, dict) and isinstance(content.get("parameters"), dict):
        check_parameters(read(sweep_file=str(path)).sweep_file_parameters)


def settings_in(content: Any) -> Iterator[dict[str, Any]]:
    """What stands below `hydra: sweeper:` of a config, without the names of files that the page has elsewhere."""
    if isinstance(content, dict) and isinstance(content.get("hydra"), dict) and "sweeper" in content["hydra"]:
        yield dict(content["hydra"]["sweeper"])


def read(**changes: Any) -> Settings:
    """The settings as the plugin reads them: unknown keys and bad values are errors."""
    raw = OmegaConf.merge(OmegaConf.structured(WandbSweeperConf), changes)
    plain = OmegaConf.to_container(raw, resolve=False)
    assert isinstance(plain, dict)
    return read_settings({str(k): v for k, v in plain.items()}, job_name="train", load_sweep_file=load_yaml)


def check_parameters(parameters: Any) -> None:
    for name, spec in flat_parameters({"parameters": {k: v for k, v in parameters.items() if isinstance(v, dict)}}):
        check_spec(name, spec)


def test_every_part_of_a_run_belongs_to_a_test_that_plays_it() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {block.part_of for block in BLOCKS if block.part_of}
    assert "an installation" in named
    assert [name for name in sorted(named) if f'"{name}"' not in tests] == []


# --- what the tests above rest on ---


def page_of(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


def test_a_marker_belongs_to_the_block_right_after_it(tmp_path: Path) -> None:
    page = page_of(
        tmp_path,
        "<!-- not run: needs SLURM -->\n\n```bash\nsbatch x\n```\n```bash\ntrue\n```\n"
        "<!-- file: a.yaml -->\nWords.\n```yaml\na: 1\n```\n",
    )
    assert [(b.line, b.not_run, b.file) for b in blocks_of(page)] == [
        (4, "needs SLURM", None),
        (7, None, None),
        (12, None, None),
    ]


def test_a_block_within_a_list_is_read_without_its_indentation(tmp_path: Path) -> None:
    (block,) = blocks_of(page_of(tmp_path, "- item\n\n  ```yaml\n  a:\n    b: 1\n  ```\n"))
    assert block.text == "a:\n  b: 1\n"


def test_a_block_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md:1: the block is never closed"):
        blocks_of(page_of(tmp_path, "```bash\ntrue\n"))


def test_a_console_block_is_its_commands_and_what_they_show(tmp_path: Path) -> None:
    (block,) = blocks_of(page_of(tmp_path, "```console\n$ echo a \\\n    b\na b\n$ true\n```\n"))
    assert [(c.text, c.shown) for c in commands_of(block)] == [("echo a \\\n    b", ("a b",)), ("true", ())]


@pytest.mark.parametrize(
    ("shown", "missing"),
    [
        ((), None),
        (("one",), None),
        (("o…e", "three"), None),
        (("three", "one"), "one"),
        (("four",), "four"),
        (("[…] t", "…"), "[…] t"),
        (("…", "one", "…"), None),
    ],
)
def test_shown_lines_are_looked_for_in_their_order(shown: tuple[str, ...], missing: str | None) -> None:
    assert first_line_missing(shown, "one\ntwo\nthree\n") == missing


def test_a_block_that_fails_is_reported_with_its_place_and_its_words(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "project", tmp_path / "home")
    (block,) = blocks_of(page_of(tmp_path, "```console\n$ echo seen; exit 3\n```\n"))
    with pytest.raises(AssertionError, match=r"(?s)page\.md:2: ended with status 3:.*seen"):
        scratch.run(block)


def test_what_a_block_sets_the_next_one_has(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "project", tmp_path / "home")
    for block in blocks_of(page_of(tmp_path, "```bash\nA=1\n```\n```console\n$ echo A=$A\nA=1\n```\n")):
        scratch.run(block)
