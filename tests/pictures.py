"""Pictures for the documentation, drawn by what users see: `make pictures` writes them.

Those of pages need the browser that tests use (`make browser`); without it they are left as they are.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from hydra_plugins.hydra_wandb_sweeper._progress_display import ProgressDisplay
from hydra_plugins.hydra_wandb_sweeper._progress_view import ProgressView
from tests.browser import chromium
from tests.browser.pictures import write_all
from tests.unit.sweeper.test_progress_display import VIEW

PROGRESS = Path(__file__).parents[1] / "docs" / "images" / "progress.svg"
# rich's own format fetches a font from the internet.
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def progress_svg(view: ProgressView = VIEW) -> str:
    """The display of a sweep."""
    console = Console(
        record=True, width=84, height=30, file=io.StringIO(), color_system="truecolor", force_terminal=True
    )
    console.print(ProgressDisplay(view))
    return console.export_svg(
        title="python train.py -m hydra/sweeper=wandb …", code_format=_FORMAT, unique_id="progress"
    )


def main() -> int:
    """Returns 1 if pictures of pages could not be taken."""
    PROGRESS.parent.mkdir(exist_ok=True)
    PROGRESS.write_text(progress_svg(), encoding="utf-8")
    reason = chromium.obstacle(install=False)
    if reason is not None:
        print(f"Pictures of pages are left as they are: {reason}", file=sys.stderr)
        return 1
    write_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
