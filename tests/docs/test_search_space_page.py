"""Each row of the page's table says what the plugin makes of what is written."""

from __future__ import annotations

import re

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra

from hydra_plugins.hydra_wandb_sweeper._distributions import DISTRIBUTIONS
from hydra_plugins.hydra_wandb_sweeper._search_space import build_search_space
from tests.docs.conftest import DOCS

PAGE = (DOCS / "search-space.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| `(\{[^`]+\})` \|", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> ConfigLoader:
    """Of an app with the config groups that the table names."""
    conf = tmp_path_factory.mktemp("conf")
    for name in ("config", "model/mlp", "model/cnn", "db/mysql", "db/postgres"):
        path = conf / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}\n")
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
        return GlobalHydra.instance().config_loader()


def test_the_table_is_found() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize(("written", "parameter"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_written_becomes_the_parameter_that_the_page_shows(
    loader: ConfigLoader, written: str, parameter: str
) -> None:
    space = build_search_space(sweep_file_parameters={}, params={}, arguments=[written], config_loader=loader, seed=0)
    (made,) = space.parameters
    shown = yaml.safe_load(parameter)
    spec = dict(made.spec)
    if "shuffle" in written:
        spec["values"] = sorted(spec["values"])
    assert repr(as_numbers(shown)) == repr(as_numbers(spec))


def as_numbers(spec: dict[str, object]) -> dict[str, object]:
    """In the order of their names; PyYAML reads 1e-05 as a text."""
    return {k: float(v) if k in ("min", "max") and isinstance(v, str) else v for k, v in sorted(spec.items())}


def test_the_page_names_every_distribution_that_an_interval_can_have() -> None:
    named = {name for name, distribution in DISTRIBUTIONS.items() if distribution.bounds}
    assert [name for name in sorted(named) if f"`{name}`" not in PAGE] == []
