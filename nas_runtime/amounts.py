"""`Amounts`: the kind of an option whose value is names with numbers, as ``limits={params_m: 4}``."""

from typing import Annotated, Any

from nas_runtime.kinds import FreeMark, Mark, is_number

__all__ = ["Amounts"]


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
