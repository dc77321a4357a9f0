"""The messages in the packages' source that a person may read: errors, warnings, and what is printed of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.conftest import ROOT

PLUGIN = ROOT / "hydra_plugins" / "hydra_wandb_sweeper"
SERVER = ROOT / "wandb_sweep_server"

# Exceptions for people; in the others (assertions, signals between modules) nobody but a developer reads a text.
_OF_PLUGIN = (
    "SweepError SettingError SearchSpaceError ServerError ServerUnreachableError SweepFailedError "
    "SweepDirectoryError UsageError"
)
_OF_SERVER = (
    "ClientError ForbiddenError NotFoundError GoneError TooLargeError UnsupportedEncodingError BusyError "
    "SlowClientError RetryLaterError ServerStartError LockError DirectoryOwnedError SchemaVersionError "
    "SettingsError ArgumentTypeError"
)
_ERRORS = frozenset(f"{_OF_PLUGIN} {_OF_SERVER}".split())
# Calls whose text becomes that of an error.
_MAKERS = frozenset({"fail", "_Rule", "failed_result", "record_lost", "errors"})
_RULE_IS_LAST = frozenset({"SettingError", "SearchSpaceError", "_Rule"})
_LOGGED = frozenset({"warning", "error", "exception"})


@dataclass(frozen=True)
class Message:
    """text: with `…` for what is filled in. place: where it is in the source."""

    text: str
    place: str


def messages(package: Path) -> Iterator[Message]:
    """Yield the messages of a package."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (argument := _argument(node)) is not None and (text := _text(argument)):
                yield Message(text, f"{path.name}:{node.lineno}")


def _argument(call: ast.Call) -> ast.expr | None:
    """The argument of a call that holds a message, None if it has none."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if not call.args:
        return None
    is_logged = name in _LOGGED and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "log"
    is_printed = name in ("echo", "print") and any(
        keyword.arg == "err" or ast.unparse(keyword.value) == "sys.stderr" for keyword in call.keywords
    )
    if name in _ERRORS | _MAKERS or is_logged or is_printed:
        return call.args[-1] if name in _RULE_IS_LAST else call.args[0]
    return None


def _text(argument: ast.expr) -> str | None:
    """What is written of a message in the source; None where it is made elsewhere."""
    if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Add):
        return "".join(_text(side) or "…" for side in (argument.left, argument.right))
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        text = re.sub(r"%[.\d]*[sdfgr]", "…", argument.value)
        return text if text.strip("… ") else None
    if isinstance(argument, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in argument.values]
        text = "".join(parts)
        return text if text.strip("… ") else None
    return None


def texts(package: Path) -> Iterator[str]:
    """Yield every text in a package's source that isn't a docstring's, with `…` for what is filled in."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr) and (text := _text(node)):
                yield text
