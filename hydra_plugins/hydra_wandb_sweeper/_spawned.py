"""Entry point of a spawned trial: `python -m … _spawned PAYLOAD RESULT NOTICE`, see _isolation.run_spawned."""

import sys
from pathlib import Path

from hydra_plugins.hydra_wandb_sweeper._isolation import run_spawned

if __name__ == "__main__":
    sys.exit(run_spawned(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
