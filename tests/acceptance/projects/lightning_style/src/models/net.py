"""The layers."""


class SimpleNet:
    def __init__(self, width: int) -> None:
        self.width = width
