"""Writes docs/settings.md, the reference of `hydra.sweeper`, from the comments in the plugin's config.py.

    python docs/scripts/settings_page.py

Above each field of WandbSweeperConf stands what it means; `# --- … ---` begins a section of the page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "hydra_plugins" / "hydra_wandb_sweeper" / "config.py"
PAGE = ROOT / "docs" / "settings.md"

_SECTION = re.compile(r"# --- (.+) ---")
_METRIC = "metric"

HEAD = """\
# Settings

<!-- Written by docs/scripts/settings_page.py from config.py: change it there. -->

All of them stand below `hydra.sweeper`, in the config or on the command line, and none has to be given. Hydra shows
them with their present values:

```bash
python train.py hydra/sweeper=wandb --cfg hydra -p hydra.sweeper
```

"W&B:" names the key of W&B's sweep configuration, or the option of `wandb agent`, that a setting becomes. Where it
says "the sweep file's", the same key of `sweep_file` counts unless the setting is given.
"""


@dataclass(frozen=True)
class Setting:
    """name: below hydra.sweeper. type, default: as in Python. meaning: sentences."""

    name: str
    type: str
    default: str
    meaning: str


def render(source: str) -> str:
    """Return the page. source: the text of config.py. Raises: ValueError for a field that nothing is said of."""
    sections = "".join(f"\n## {title}\n\n{_table(settings)}" for title, settings in _sections(source))
    return HEAD + sections


def _sections(source: str) -> Iterator[tuple[str, list[Setting]]]:
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    lines = source.splitlines()
    title, settings = "", list[Setting]()
    for field in _fields(classes["WandbSweeperConf"]):
        comments = _comments_above(lines, field.lineno)
        for section in filter(None, map(_SECTION.match, comments)):
            if settings:
                yield title, settings
            title, settings = section[1].capitalize(), []
        if field.name == _METRIC:
            metric = _fields(classes["MetricConf"])
            settings += [_setting(part, f"{_METRIC}.", _comments_above(lines, part.lineno)) for part in metric]
        elif not field.name.startswith("_"):
            settings.append(_setting(field, "", comments))
    yield title, settings


@dataclass(frozen=True)
class _Field:
    name: str
    type: str
    default: str
    lineno: int


def _fields(cls: ast.ClassDef) -> list[_Field]:
    return [
        _Field(ast.unparse(node.target), ast.unparse(node.annotation), _default(node.value), node.lineno)
        for node in cls.body
        if isinstance(node, ast.AnnAssign)
    ]


def _default(value: ast.expr | None) -> str:
    if isinstance(value, ast.Call):
        return "[]" if "list" in ast.unparse(value) else ""
    assert isinstance(value, ast.Constant)
    if value.value is None or isinstance(value.value, bool):
        return {None: "null", True: "true", False: "false"}[value.value]
    return str(value.value)


def _comments_above(lines: Sequence[str], lineno: int) -> list[str]:
    comments: list[str] = []
    for line in reversed(lines[: lineno - 1]):
        if not line.strip().startswith("#"):
            break
        comments.insert(0, line.strip())
    return comments


def _setting(field: _Field, prefix: str, comments: Sequence[str]) -> Setting:
    text = " ".join(comment.removeprefix("#").strip() for comment in comments if not _SECTION.match(comment))
    if not text:
        raise ValueError(f"config.py: there is no comment above the field {field.name}")
    return Setting(f"{prefix}{field.name}", field.type, field.default, text)


def _table(settings: Sequence[Setting]) -> str:
    rows = ["| Setting | Type | Default | Meaning |", "|---|---|---|---|"]
    for setting in settings:
        # A bar would end the cell.
        type_ = setting.type.replace("Any", "any").replace(" | None", "").replace("|", "\\|")
        meaning = _marked(setting.meaning).replace("|", "\\|")
        rows.append(f"| `{setting.name}` | {type_} | `{setting.default}` | {meaning} |")
    return "\n".join(rows) + "\n"


def _marked(text: str) -> str:
    """Set what is typed apart from what is said: values at the begin of a sentence, braces, names of settings."""
    text = re.sub(r"(?<![`\w])(hydra\.[a-z_.]*[a-z_])", r"`\1`", text)
    text = re.sub(r"(\{[^{}]*\}|\[\"[^]]*\"\])", r"`\1`", text)
    text = re.sub(r"\bnull = ", "`null`: ", text)
    return re.sub(r"W&B: ([a-z_.]+|wandb agent --count)\.?$", r"(W&B: `\1`)", text)


if __name__ == "__main__":
    PAGE.write_text(render(CONFIG.read_text(encoding="utf-8")), encoding="utf-8")
