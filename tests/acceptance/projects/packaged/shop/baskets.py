"""What the configuration's `_target_`s name."""

from dataclasses import dataclass


@dataclass
class Item:
    price: float


@dataclass
class Basket:
    items: list[Item]
    currency: str

    def price(self, rebate: float) -> float:
        return sum(item.price for item in self.items) * (1 - rebate)
