"""Pictures of a sweep's page for the documentation, taken in the browser that tests use: `make pictures` writes them.

Each has the digest of what it was made from in it: it is out of date where that is another one, whatever the fonts
and the browser of a machine make of the same page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.browser import chromium, stand_in
from tests.browser.conftest import Page
from tests.browser.stand_in import PAGE
from tests.browser.sweeps import run_id
from wandb_sweep_server.importance import importance

DIRECTORY = Path(__file__).parents[2] / "docs" / "images"
MOST_BYTES = 150_000
# Few enough for small files, enough for the scale of colours.
_COLOURS = 96
_NOTE = "inputs"
_IMPORTED = re.compile(r'^import .*"\./(.+)";$', re.MULTILINE)
_COMMENT = re.compile(r"^\s*(?://|/\*|\*(?! \{)).*$|^\s+", re.MULTILINE)

BEGAN_AT = 1_760_000_000.0
TRIALS = 96
AGENTS = 6
EPOCHS = 30


@dataclass(frozen=True)
class Picture:
    """A part of the page, from its top. sizes in CSS pixels."""

    name: str
    width: int
    height: int
    scheme: str

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return DIRECTORY / f"{self.name}.png"

    @property
    def digest(self) -> str:
        """Of all that it is made from. Comments and indentation aren't seen."""
        texts = [_COMMENT.sub("", (PAGE / name).read_text(encoding="utf-8")) for name in _page_files()]
        data = json.dumps([finished_sweep(), self.width, self.height, self.scheme])
        return hashlib.sha256("\0".join([*texts, data]).encode()).hexdigest()[:20]

    @property
    def noted_digest(self) -> str | None:
        """Of what the kept one was made from."""
        with Image.open(self.path) as image:
            noted: str | None = image.info.get(_NOTE)
            return noted


PICTURES = (
    Picture("page-light", 1280, 1992, "light"),
    Picture("page-dark", 1280, 1992, "dark"),
    Picture("page-narrow", 390, 1600, "light"),
)


def _page_files() -> list[str]:
    """What a sweep's page is made of."""
    found, left = {"page.css", "sweep.html"}, ["sweep.js"]
    while left:
        name = left.pop()
        found.add(name)
        left += [one for one in _IMPORTED.findall((PAGE / name).read_text(encoding="utf-8")) if one not in found]
    return sorted(found)


def take(page: Page, picture: Picture) -> bytes:
    """The picture as PNG."""
    data, curves = finished_sweep()
    page.server.show(data, **{curves["key"]: curves})
    page.emulate(width=picture.width, height=picture.height, scheme=picture.scheme, zone="UTC")
    page.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    page.open()
    page.wait("document.querySelectorAll('[data-drawn]').length === 6")
    # Two frames later it is on the screen.
    page.driver.execute_async_script(
        "const [done] = arguments; requestAnimationFrame(() => requestAnimationFrame(done))"
    )
    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    page.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})
    note = PngInfo()
    note.add_text(_NOTE, picture.digest)
    made = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
        few = image.convert("RGB").quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)
        few.save(made, "PNG", optimize=True, pnginfo=note)
    return made.getvalue()


def finished_sweep() -> tuple[dict[str, Any], dict[str, Any]]:
    """Sweep data as a Bayesian search makes it, and histories of its metric."""
    chance = random.Random(3)
    runs: list[dict[str, Any]] = []
    free_at = [BEGAN_AT + 7 * agent for agent in range(AGENTS)]
    for index in range(TRIALS):
        agent = min(range(AGENTS), key=lambda one: free_at[one])
        values = _suggestion(chance, index / TRIALS)
        accuracy = round(_accuracy(values) + chance.gauss(0, 0.006), 5)
        began = free_at[agent]
        seconds = {32: 420, 64: 300, 128: 240}[values["batch_size"]] * chance.uniform(0.9, 1.1)
        state = "failed" if values["lr"] > 0.02 and values["optimizer"] == "sgd" else "finished"
        if index in (23, 71):
            state = "crashed"
        seconds *= chance.uniform(0.1, 0.4) if state != "finished" else 1
        runs.append(
            values | {"agent": agent, "began": began, "ended": began + seconds, "state": state, "score": accuracy}
        )
        free_at[agent] = began + seconds + chance.uniform(1, 4)
        if index == 71:  # the agent dies with its trial
            free_at[agent] = math.inf
    return _data(runs), _histories(runs, chance)


def _suggestion(chance: random.Random, progress: float) -> dict[str, Any]:
    """Values anywhere at first, and closer and closer to what is good."""
    is_wide = chance.random() > progress * 0.9
    spread = 1.0 - 0.7 * progress
    return {
        "lr": _rounded(10 ** (chance.uniform(-5, -1.3) if is_wide else chance.gauss(-2.1, 0.35 * spread))),
        "dropout": round(chance.uniform(0, 0.6) if is_wide else min(0.6, abs(chance.gauss(0.18, 0.1 * spread))), 3),
        "optimizer": chance.choice(["adamw", "lion", "sgd"])
        if is_wide
        else chance.choice(["adamw", "adamw", "lion"]),
        "batch_size": chance.choice([32, 64, 128]),
        "depth": chance.choice([2, 3, 4, 5, 6]) if is_wide else chance.choice([4, 5, 5, 6]),
    }


def _rounded(value: Any) -> Any:
    """Numbers without the digits that machines differ in."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _accuracy(values: dict[str, Any]) -> float:
    loss = 0.03 * (math.log10(values["lr"]) + 2.1) ** 2 + 0.4 * (values["dropout"] - 0.18) ** 2
    loss += {"adamw": 0.0, "lion": 0.012, "sgd": 0.05}[values["optimizer"]] + 0.008 * (values["depth"] - 5) ** 2
    return 0.968 - 0.9 * loss / (1 + loss)


def _data(runs: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("lr", "dropout", "optimizer", "batch_size", "depth")
    kinds = {"optimizer": ("category", "linear"), "lr": ("number", "log")}
    scores = [run["score"] if run["state"] == "finished" else None for run in runs]
    good = [index for index, score in enumerate(scores) if score is not None]
    columns = {name: [run[name] for run in runs] for name in names}
    now = max(run["ended"] for run in runs) + 2
    found = importance({name: [columns[name][i] for i in good] for name in names}, [scores[i] for i in good])
    return {
        "sweep": {
            "entity": "local",
            "project": "digits",
            "id": "k3v9x2ab",
            "name": "digits, wider search",
            "description": None,
            "url": None,
            "state": "FINISHED",
            "method": "bayes",
            "created_at": BEGAN_AT - 4,
            "now": now,
            "metric": {"name": "val_accuracy", "goal": "maximize"},
            "expected": TRIALS,
            "config": {"method": "bayes"},
        },
        "parameters": [
            dict(zip(("name", "kind", "scale"), (name, *kinds.get(name, ("number", "linear"))), strict=True))
            for name in names
        ],
        "runs": {
            "id": [run_id(index) for index in range(len(runs))],
            "name": [f"trial-{index}" for index in range(len(runs))],
            "state": [run["state"] for run in runs],
            "began_at": [run["began"] for run in runs],
            "ended_at": [run["ended"] for run in runs],
            "duration_s": [run["ended"] - run["began"] for run in runs],
            "host": [f"node{run['agent'] // 2 + 1}" for run in runs],
            "agent": [f"agent-{run['agent']}" for run in runs],
            "reason": ["RuntimeError: loss is not finite" if run["state"] == "failed" else None for run in runs],
            "parameters": columns,
            "metrics": {"val_accuracy": scores},
        },
        "importance": [{name: _rounded(value) for name, value in asdict(one).items()} for one in found],
        "importance_by": "rank correlation",
        "importance_note": None,
        "agents": [_agent(runs, number, now) for number in range(AGENTS)],
        "revision": 1,
    }


def _agent(runs: list[dict[str, Any]], number: int, now: float) -> dict[str, Any]:
    own = [(index, run) for index, run in enumerate(runs) if run["agent"] == number]
    has_died = any(index == 71 for index, _ in own)
    return {
        "name": f"agent-{number}",
        "host": f"node{number // 2 + 1}",
        "began_at": BEGAN_AT + 7 * number - 3,
        "ended_at": own[-1][1]["ended"] if has_died else now,
        "ended": "died" if has_died else "finished",
        "trials": [
            {"run": run_id(index), "began_at": run["began"], "ended_at": run["ended"], "how": run["state"]}
            for index, run in own
        ],
    }


def _histories(runs: list[dict[str, Any]], chance: random.Random) -> dict[str, Any]:
    """Curves that rise to the score, the sooner the larger the learning rate."""
    told = []
    for index, run in enumerate(runs):
        if run["state"] == "crashed":
            continue
        pace = 0.12 + 0.1 * (math.log10(run["lr"]) + 5)
        epochs = EPOCHS if run["state"] == "finished" else 5
        values = [
            round(run["score"] - (run["score"] - 0.1) * math.exp(-pace * (epoch + 1)) + chance.gauss(0, 0.004), 5)
            for epoch in range(epochs)
        ]
        if run["state"] == "finished":
            values[-1] = run["score"]
        told.append({"id": run_id(index), "steps": list(range(epochs)), "values": values})
    return {"key": "val_accuracy", "runs": told}


@contextmanager
def page_of_its_own() -> Iterator[Page]:
    """A page in a browser of its own, outside tests."""
    with (
        tempfile.TemporaryDirectory() as directory,
        chromium.started(Path(directory) / "profile") as driver,
        stand_in.running() as server,
    ):
        yield Page(driver, server)


def write_all() -> None:
    """Take all of them anew."""
    with page_of_its_own() as page:
        for picture in PICTURES:
            picture.path.write_bytes(take(page, picture))
