"""What stands in the pages' blocks for a SLURM cluster works on one; the others are run by tests/docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of
from tests.docs.conftest import PAGES
from tests.docs.scratch import Scratch
from tests.slurm.conftest import SlurmProject

BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.is_for_slurm]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_for_a_cluster_does_what_the_page_says(project: SlurmProject, tmp_path: Path, block: Block) -> None:
    scratch = Scratch(tmp_path / "scratch", tmp_path / "home")
    try:
        scratch.run(block)
    finally:
        scratch.end()
