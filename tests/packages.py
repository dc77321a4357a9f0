"""Environments that lack a package which the tests' own has."""

# As a sitecustomize.py in PYTHONPATH: the extra [optuna] is not installed.
WITHOUT_EXTRA = """
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("optuna", "sklearn", "scipy", "numpy"):
            return None
        return PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
