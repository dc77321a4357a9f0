"""The data."""


class DataModule:
    def __init__(self, data_dir: str, batch_size: int = 64, num_workers: int = 0) -> None:
        self.data_dir = data_dir
        self.batch_size = batch_size

    def setup(self) -> None:
        """Nothing to download."""
