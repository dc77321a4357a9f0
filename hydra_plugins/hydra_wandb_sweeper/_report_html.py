"""report.html: a sweep's plots and table in one file that asks for nothing else. Pure, but for reading own files.

What comes from runs stands in it as JSON only, in an element that browsers don't run. Scripts run if they are those
that this module has put there: the policy in the file names them by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

_SCRIPT = "report.js"
_STYLE = "page.css"
# A statement may go over several lines; no string in these files begins a line with such a word.
_IMPORT = re.compile(r"^import\b[^;]*?\"\./(?P<name>[\w.]+)\";[^\S\n]*$", re.MULTILINE)
_EXPORT_LIST = re.compile(r"^export\s*\{[^}]*\}[^;\n]*;?[^\S\n]*$", re.MULTILINE)
_EXPORT = re.compile(r"^export\s+(?=(?:async\s+)?function\b|const\b|let\b|class\b)", re.MULTILINE)
# Neither may appear in a script element: they'd end it, or hide its end.
_UNSAFE = re.compile(r"</script|<!--", re.IGNORECASE)


def render(data: Mapping[str, Any], histories: Sequence[Mapping[str, Any]], notes: Sequence[str], plotly: str) -> str:
    """Return the content of report.html.

    data: sweep data. histories: of metrics, as in _curves.Curves.to_json. notes: sentences before the plots. plotly:
    from plotly_script.
    """
    scripts = [plotly, f"(() => {{\n'use strict';\n{_own_script()}\ndrawReport(document);\n}})();"]
    sweep = data["sweep"]
    title = f"Sweep {sweep.get('name') or sweep['id']}"
    said = "".join(f'<p class="notice">{_text(note)}</p>\n' for note in notes)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{_text(title)}</title>
<style>
{_asset(_STYLE)}
</style>
</head>
<body>
{said}<noscript><p class="notice">This report is drawn by JavaScript, which is off.</p></noscript>
<div id="report"></div>
<script type="application/json" id="sweep-data">{_json(data)}</script>
<script type="application/json" id="histories">{_json(histories)}</script>
{"".join(f"<script>{script}</script>{chr(10)}" for script in scripts)}</body>
</html>
"""


def _policy(scripts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # Plotly writes styles into the page, and makes images of its plots; what it draws with WebGL makes functions of
    # texts.
    return (
        f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def plotly_script() -> str:
    """Return the text of Plotly's script, 5 MB."""
    from plotly.offline import get_plotlyjs

    # Browsers read line ends in one way only, and hash what they have read.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


def _own_script() -> str:
    """Return report.js with all that it is made of: it imports its modules in the order in which they are one script,
    each without its imports and exports.
    """
    last = _asset(_SCRIPT)
    modules = [*(_asset(match["name"]) for match in _IMPORT.finditer(last)), last]
    return "\n".join(_EXPORT.sub("", _EXPORT_LIST.sub("", _IMPORT.sub("", text))) for text in modules)


def _asset(name: str) -> str:
    text = (files("wandb_sweep_server") / "page" / name).read_text(encoding="utf-8").replace("\r\n", "\n")
    if _UNSAFE.search(text):
        raise AssertionError(f"page/{name} can't stand within a page: it has </script or <!-- in it")
    return text


def _json(value: Any) -> str:
    """JSON in ASCII in which no tag can begin or end, wherever it stands."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _text(text: str) -> str:
    # Half a surrogate pair can't be written, and NUL is no character of HTML.
    return html.escape(text.encode(errors="replace").decode().replace("\0", "?"))
