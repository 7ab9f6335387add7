"""Options whose values are several numbers: `Amounts`, as ``limits={params_m: 4}``, and `Numbers`, as ``[8,12]``."""

from dataclasses import dataclass
from typing import Annotated, Any

from nas_runtime.kinds import FreeMark, Mark, is_number, items_of

__all__ = ["Amounts", "Numbers"]


class _Amounts(Mark):
    @property
    def words(self) -> str:
        return "names with numbers above 0"

    def read(self, value: Any) -> dict[str, float]:
        amounts = FreeMark().read(value)
        if not all(is_number(amount) and amount > 0 for amount in amounts.values()):
            raise ValueError
        return {name: float(amount) for name, amount in amounts.items()}

    def refusal(self, value: Any) -> str:
        return ": it must be names with numbers above 0, like {params_m: 4}"


Amounts = Annotated[dict[str, float], _Amounts()]
"""Names with numbers above 0; null is none."""


@dataclass(frozen=True)
class Numbers(Mark):
    """A tuple of at least one number with ``above < x <= high``, from a list; one number stands for a list of it.

    Attributes:
        empty: whether there may be none; null is none, too.
    """

    above: float
    high: float
    empty: bool = False

    @property
    def words(self) -> str:
        return f"numbers above {self.above:g}, up to {self.high:g}, like [0.5,1]"

    def read(self, value: Any) -> tuple[float, ...]:
        items = items_of(value, self.empty)
        if not (items or self.empty) or not all(is_number(x) and self.above < x <= self.high for x in items):
            raise ValueError
        return tuple(float(x) for x in items)

    def refusal(self, value: Any) -> str:
        return f": it must be {self.words}"
