# pyright: basic
"""What every command of the project reads its settings with, and how errors become one clear line.

Hydra stays in the command modules: each turns its config into plain objects at once.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nas_runtime.command import composed
from nas_runtime.compose import conf_dir
from nas_runtime.console import brief, did_you_mean, prepare_streams
from nas_runtime.signals import interruptible

__all__ = ["Settings", "call", "conf_dir", "run"]

LARGEST = 10**9
"""Of whole numbers that have no other limit: more is a slip, and would only be found when memory runs out."""
LONGEST = 1000
"""Characters of a text or path."""


@interruptible()
def run(task: Callable[["Settings"], None], config_name: str) -> None:
    """As `nas_runtime.command.run`, for a command without declared options."""
    prepare_streams()
    if code := call(task, config_name, sys.argv[1:]):
        sys.exit(code)


def call(task: Callable[["Settings"], None], config_name: str, arguments: list[str]) -> int:
    """As `nas_runtime.command.call`, for a command without declared options."""
    return composed(lambda config: task(Settings(config, arguments)), config_name, arguments)


class Settings:
    """A composed config, read value by value with type, range and a message that says what is allowed.

    Every reader takes the dotted name of the value, like ``"evaluator.epochs"``.

    Args:
        arguments: of the command line that it was composed from.
    """

    def __init__(self, config: Any, arguments: Sequence[str] = ()) -> None:
        self._config = config
        self._given = [argument.lstrip("+~").partition("=")[0] for argument in arguments]

    def given(self, name: str) -> bool:
        """Whether the command line sets `name` itself: ``dataset=...``, but not ``dataset.path=...``."""
        return name in self._given

    def value(self, name: str) -> Any:
        """The plain value, list or dict of `name`; None if it is missing or null."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            found = OmegaConf.select(self._config, name)
            return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
        except OmegaConfBaseException as e:
            where = name or str(getattr(e, "full_key", "") or "settings")
            raise ValueError(f"{where}={self._written(where)}: {brief(str(e).splitlines()[0], most=200)}") from None

    def _written(self, name: str) -> str:
        """What stands in the config for `name`, like ``${epochs}``."""
        from omegaconf import OmegaConf

        found = OmegaConf.to_container(self._config, resolve=False)
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return _shown(found)

    def number(
        self, name: str, *, low: float | None = None, high: float | None = None, above: float | None = None
    ) -> float:
        """A finite number within ``low <= x <= high`` and ``x > above``."""
        value = self.value(name)
        if not _is_number(value) or not _within(value, low, high) or (above is not None and value <= above):
            raise ValueError(f"{name}={_shown(value)}: it must be {_allowed('a number', low, high, above)}")
        return float(value)

    def integer(self, name: str, *, low: int | None = None, high: int = LARGEST) -> int:
        """A whole number within ``low <= x <= high``."""
        value = self.value(name)
        if isinstance(value, bool) or not isinstance(value, int) or not _within(value, low, high):
            limit = None if high == LARGEST and not (isinstance(value, int) and value > high) else high
            raise ValueError(f"{name}={_shown(value)}: it must be {_allowed('a whole number', low, limit, None)}")
        return value

    def numbers(self, name: str, *, above: float, high: float) -> list[float]:
        """A list of at least one number with ``above < x <= high``; one number stands for a list of it."""
        value = self.value(name)
        items = value if isinstance(value, list) else [value]
        if not items or not all(_is_number(x) and above < x <= high for x in items):
            raise ValueError(
                f"{name}={_shown(value)}: it must be numbers above {above:g}, up to {high:g}, like [0.5,1]"
            )
        return [float(x) for x in items]

    def texts(self, name: str, allowed: Iterable[str]) -> list[str]:
        """A list of at least one of `allowed`; one text stands for a list of it."""
        value, allowed = self.value(name), tuple(allowed)
        items = value if isinstance(value, list) else [value]
        wrong = [x for x in items if x not in allowed]
        if wrong or not items:
            hint = did_you_mean(brief(wrong[0]), allowed) if wrong else ""
            raise ValueError(f"{name}={_shown(value)}{hint}; allowed: some of {', '.join(allowed)}")
        return items

    def flag(self, name: str) -> bool:
        value = self.value(name)
        if not isinstance(value, bool):
            raise ValueError(f"{name}={_shown(value)}: it must be true or false")
        return value

    def choice(self, name: str, allowed: Iterable[str]) -> str:
        value, allowed = self.value(name), tuple(allowed)
        if value not in allowed:
            hint = did_you_mean(brief(value), allowed)
            raise ValueError(f"{name}={_shown(value)}{hint}; allowed: {', '.join(allowed)}")
        return value

    def text(self, name: str) -> str:
        value = self.value(name)
        if not isinstance(value, str) or not value or not value.isprintable() or len(value) > LONGEST:
            raise ValueError(
                f"{name}={_shown(value)}: it must be a text of at most {LONGEST} characters{_quote(value)}"
            )
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """Names and their values; none if it is null."""
        value = self.value(name)
        if value is not None and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
            raise ValueError(f"{name}={_shown(value)}: it must be names with values; leave it out, or set {name}.NAME=")
        return value or {}

    def path(self, name: str) -> Path | None:
        """A path with ``~`` expanded, or None."""
        value = self.value(name)
        if value is None:
            return None
        wrong = not isinstance(value, str) or not value or "\0" in value or len(value) > LONGEST
        try:
            if not wrong:
                return Path(value).expanduser()
        except RuntimeError:  # ~somebody who is not known here
            pass
        raise ValueError(f"{name}={_shown(value)}: it must be a path of at most {LONGEST} characters{_quote(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _allowed(kind: str, low: float | None, high: float | None, above: float | None) -> str:
    limits = [
        f"above {_digits(above)}" if above is not None else "",
        f"at least {_digits(low)}" if low is not None else "",
        f"at most {_digits(high)}" if high is not None else "",
    ]
    return " ".join([kind, " and ".join(limit for limit in limits if limit)]).strip()


def _digits(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _shown(value: Any) -> str:
    return "null" if value is None else brief(value)


def _quote(value: Any) -> str:
    """How a number becomes a text: on the command line it is one only in quotes, which the shell must not take."""
    return f"; write '\"{brief(value)}\"'" if isinstance(value, int | float) else ""
