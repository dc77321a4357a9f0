"""What the packages import is what pyproject.toml says that they need; tests have more than that installed."""

from __future__ import annotations

import ast
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("hydra_plugins/hydra_wandb_sweeper", "wandb_sweep_server")
OWN = "hydra-wandb-sweeper"
EXTRAS = ("joblib", "optuna", "parquet")


def imported() -> set[str]:
    """The top-level names of everything that the packages import, lazily too."""
    trees = (ast.parse(path.read_text()) for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names}


def required(distribution: str, *extras: str) -> set[str]:
    """Names of the distributions that one asks for, with these extras of it."""
    found = set()
    for text in metadata.requires(distribution) or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            found.add(canonicalize_name(requirement.name))
    return found


def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    declared = required(OWN, *EXTRAS)
    # What scikit-learn is made of comes with the extra, and nothing without the extra imports it.
    declared |= required("scikit-learn")
    providers = metadata.packages_distributions()
    foreign = imported() - sys.stdlib_module_names - {"hydra_plugins", "wandb_sweep_server"}
    undeclared = {
        name
        for name in foreign
        if not declared & {canonicalize_name(provider) for provider in providers.get(name, ())}
    }
    assert undeclared == set()
