"""What trials record of their program and machine."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from hydra_plugins.hydra_wandb_sweeper._run_facts import list_packages


def test_the_packages_of_this_environment_are_those_that_their_metadata_name() -> None:
    found = [(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()]
    assert "hydra-core" in dict(found)
    assert list_packages() == "".join(f"{name}=={version}\n" for name, version in found if name)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Metadata-Version: 2.1\nName: a\nVersion: 1.0\n\nName: b\n", "a==1.0\n"),
        ("Name: a\nName: b\nVersion: 1\nVersion: 2\n", "a==1\n"),
        ("name: a\nversion: 1\n", "a==1\n"),
        ("Summary: Name: b\nVersion: 1\nName:\ta\n", "a==1\n"),
    ],
    ids=["usual", "twice", "other case", "in another order"],
)
@pytest.mark.parametrize("file", ["METADATA", "PKG-INFO"])
def test_a_package_is_listed_as_its_metadata_names_it(text: str, line: str, file: str, tmp_path: Path) -> None:
    suffix = "dist-info" if file == "METADATA" else "egg-info"
    place = tmp_path / f"x-0.{suffix}"
    place.mkdir()
    (place / file).write_text(text)
    (package,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert list_packages([package]) == line == f"{package.metadata['Name']}=={package.version}\n"


def test_a_package_without_a_name_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x-0.dist-info").mkdir()
    (tmp_path / "x-0.dist-info" / "METADATA").write_text("Version: 1\n")
    assert list_packages(importlib.metadata.distributions(path=[str(tmp_path)])) == ""
