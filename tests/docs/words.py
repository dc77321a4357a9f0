"""Which words a test looks at: those of its function, of its parameters, and of what it uses of its module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Marks around words, which tests may leave out.
_MARKS = ".,:;()'\"?"


@dataclass(frozen=True)
class Module:
    """A module of tests.

    functions: by name, those of classes too. named: functions and constants at the top of the module, by name.
    """

    functions: dict[str, Function]
    named: dict[str, ast.AST]


@cache
def module(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}
    return Module(functions, dict(_named(tree)))


def _named(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, Function):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node) for target in targets if isinstance(target, ast.Name))


def texts_of(path: Path, name: str) -> frozenset[str]:
    """The texts that a test function holds, without docstrings: its own, its decorators', those of the module's
    constants, fixtures and helpers that it uses by name (not of what these use)."""
    found = module(path)
    test = found.functions[name]
    used = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    used |= {node.arg for node in ast.walk(test) if isinstance(node, ast.arg)}
    sources = [test, *(node for key, node in found.named.items() if key in used)]
    return frozenset(text for source in sources for text in _texts(source))


def _texts(source: ast.AST) -> Iterator[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(source)
        if isinstance(node, Function | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield _as_said(node.value)


def _as_said(text: str) -> str:
    """The words of a text; of a pattern too, with `…` for what it leaves open."""
    open_parts = re.sub(r"(\.|\\[dswDSW]|\[[^\]]*\])[*+]\??|\\[dswDSWbB]", "…", text)
    return " ".join(re.sub(r"\\(\W)", r"\1", open_parts).split())


def pieces(message: str) -> frozenset[str]:
    """What one has to look at to have looked at a message: two words side by side, or one between two `…`."""
    parts = [[word for word in part.split() if word.strip(_MARKS)] for part in message.split("…")]
    pairs = {f"{first} {second}" for words in parts for first, second in pairwise(words)}
    return frozenset(piece.strip(_MARKS) for piece in pairs | {words[0] for words in parts if len(words) == 1})


def looks_at(texts: frozenset[str], message: str) -> bool:
    """True if one of the texts has a piece of the message."""
    patterns = [rf"(?<!\w){re.escape(piece)}" + r"(?!\w)" * piece[-1].isalnum() for piece in pieces(message)]
    return any(re.search(pattern, text) for pattern in patterns for text in texts)
