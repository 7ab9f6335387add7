"""The data set of a command that begins with a network: the one it names, else that of the run that found it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nas.options import Data

__all__ = ["data_of", "plain"]


def data_of(
    options: Data, given: Callable[[str], bool], network: str, config: Mapping[str, Any] | None, *, option: str
) -> Data:
    """The data set that the command line names; without one, that of the run which found the network, but for what the
    command line sets otherwise.

    Args:
        options: as composed.
        given: whether the command line sets an option.
        network: as it is named: perhaps a run's folder.
        config: of that run, if it is one's.
        option: that names the network.

    Raises:
        ValueError: the run does not say what its data is, or it is not known here.
    """
    if Path(network).is_dir() and config is None and not given("dataset"):
        raise ValueError(
            f"{option}={network}: it has no config.yaml, which says what data the network is for; restore it, or give "
            "dataset="
        )
    its = None if config is None or given("dataset") else config.get("dataset")
    if its is None:
        return options
    more = {name: value for name, value in dict(options).items() if given(f"dataset.{name}")}
    try:
        return Data.of_run({**its, **more})
    except (TypeError, ValueError):
        raise ValueError(
            f"{option}={network}: its config.yaml names no data set that is known here; give dataset="
        ) from None


def plain(data: Data) -> dict[str, Any]:
    """As a config.yaml has it."""
    return {**dict(data), "path": None if data.path is None else str(data.path)}
