"""`Searched`: a search as its folder holds it, finished or not, to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.journal import Journal
from nas.trial import Trial
from nas_runtime.files import read_json
from nas_runtime.manifest import RunError
from nas_runtime.plain import is_mapping
from nas_runtime.run import Run
from search_spaces import spaces
from search_spaces.space import SearchSpace

__all__ = ["Searched", "open_search"]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A search.

    Attributes:
        config: its settings.
        trials: in order.
        result: what ``result.json`` has; None before the search has ended.
    """

    path: Path
    config: Mapping[str, Any]
    space: SearchSpace
    trials: Sequence[Trial]
    result: Mapping[str, Any] | None

    @property
    def note(self) -> str:
        """What a person should know before comparing its rewards; "" if nothing."""
        if self.config.get("targets") or self.config.get("front"):
            return (
                f"{self.path} has several targets: rewards are for the one nearest to a network's latency; the folders "
                "of the targets have those for each"
            )
        after = self.config.get("adjust_after")
        good = sum(trial.status == "ok" for trial in self.trials)
        if after is None or good <= after:
            return ""
        return f"the first {after} good samples of {self.path} have the rewards of before adjust_after={after}"


def open_search(path: Path) -> Searched:
    """The search in a folder. Writes nothing.

    Raises:
        ValueError: it holds none, or one that cannot be read.
    """
    config, journal = Run(path).config if path.is_dir() else None, path / "journal.jsonl"
    if config is None or not journal.exists():
        raise RunError(f"{path} holds no search; give the folder of a run of nas.search")
    space = _space_of(config, path)
    trials = Journal(journal, space.decode).trials
    return Searched(
        path=path,
        config=config,
        space=space,
        trials=[trials[sample] for sample in sorted(trials)],
        result=result if is_mapping(result := read_json(path / "result.json")) else None,
    )


def _space_of(config: Mapping[str, Any], path: Path) -> SearchSpace:
    options = config.get("space")
    try:
        if not is_mapping(options):
            raise TypeError(options)
        sizes = {name: options[name] for name in ("base_width", "resolution_px", "classes")}
        return spaces.get(str(options["name"]), **sizes)
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{path}: its config.yaml names no space that is known here") from None
