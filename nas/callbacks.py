"""Callbacks: what follows a search while it runs, `callbacks=[mlflow,my_package:Mine]`.

>>> class Mine:
...     def __init__(self, search: Followed) -> None: ...
...     def on_trial(self, trial: Trial) -> None: ...     # a sample is done
...     def on_result(self, folder: Path, result: Mapping) -> None: ...  # the winner of a target is delivered
...     def close(self, ended: bool) -> None: ...         # always the last call; whether the search came to its end

All methods may be left out. A callback that raises is closed and told nothing more, and the search goes on.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.reward import Reward
from nas.trial import Trial
from nas_runtime.console import brief
from nas_runtime.registry import Registry

__all__ = ["CALLBACKS", "Callbacks", "Followed", "following"]

CALLBACKS = Registry(
    "callback",
    "platform_aware_nas.callbacks",
    {"tensorboard": "nas.report.tensorboard:Scalars", "mlflow": "nas.report.mlflow:MLflowRun"},
)
"""Classes of callbacks by name, made as ``Mine(search)`` with what is `Followed`."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The search that a callback follows.

    Attributes:
        folder: of the run.
        config: all settings.
        rewards: for each target.
        samples: how many there will be.
        known: how many of them earlier calls have done, of which `on_trial` tells first.
    """

    folder: Path
    config: Mapping[str, Any]
    rewards: Sequence[Reward]
    samples: int
    known: int


class Callbacks:
    """Passes on what happens, to each of the callbacks until it raises."""

    def __init__(self, console: Console) -> None:
        self._callbacks: dict[str, Any] = {}
        self._console = console

    def add(self, name: str, callback: Any) -> None:
        """One more is told, from now on."""
        self._callbacks[name] = callback

    def on_trial(self, trial: Trial) -> None:
        """A sample is done, or known from an earlier call."""
        self._tell("on_trial", trial)

    def on_result(self, folder: Path, result: Mapping[str, Any]) -> None:
        """The files of a target are in `folder`; `result` is as in its ``result.json``."""
        self._tell("on_result", folder, result)

    def close(self, *, ended: bool) -> None:
        """The search is over."""
        self._tell("close", ended)
        self._callbacks = {}

    def _tell(self, method: str, *news: Any) -> None:
        for name, callback in list(self._callbacks.items()):
            try:
                getattr(callback, method, _nothing)(*news)
            except Exception as e:  # anyone's code
                self._console.print(
                    f"note: the callback {name} is left out from now on: {method}: {type(e).__name__}: {brief(str(e))}"
                )
                del self._callbacks[name]
                if method != "close":
                    with suppress(Exception):
                        getattr(callback, "close", _nothing)(False)


def _nothing(*news: Any) -> None:
    pass


@contextmanager
def following(names: Sequence[str], search: Followed, console: Console) -> Iterator[Callbacks]:
    """What follows the search, inside.

    Raises:
        ValueError: there is no such callback, or it cannot be made.
    """
    callbacks, ended = Callbacks(console), False
    try:
        for name in names:
            callbacks.add(name, _made(name, search))
        yield callbacks
        ended = True
    finally:
        callbacks.close(ended=ended)


def _made(name: str, search: Followed) -> Any:
    kind = CALLBACKS.get(name)
    try:
        return kind(search)
    except Exception as e:  # anyone's code
        why = str(e) if isinstance(e, ValueError) else f"{type(e).__name__}: {e}"
        raise ValueError(f"callback {name}: {brief(why, most=300)}") from None
