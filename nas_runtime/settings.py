"""What every command of the project does with Hydra: find conf/, read values, and turn errors into one clear line.

Hydra stays in the command modules: each turns its config into plain objects at once.
"""

import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nas_runtime.console import prepare_streams, shown

__all__ = ["Settings", "conf_dir", "run"]


def run(task: Callable[["Settings"], None], config_name: str) -> None:
    """Composes ``conf/<config_name>.yaml`` with the command line and calls `task`.

    A wrong command line, a ValueError or OSError of `task`, or Ctrl-C end the program with one line on
    standard error and exit code 1 (130 for Ctrl-C). ``HYDRA_FULL_ERROR=1`` shows the traceback instead.
    """
    import hydra
    from omegaconf import DictConfig

    prepare_streams()
    overrides = sys.argv[1:]
    if not any(arg.startswith("-") for arg in overrides):
        _check_overrides(config_name, overrides)

    def call(config: DictConfig) -> None:
        try:
            task(Settings(config))
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            _exit(130)
        except (ValueError, OSError) as e:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            sys.stderr.write(f"error: {shown(_one_line(e))}\n")
            _exit(1)

    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(call)()


def conf_dir() -> Path:
    """conf/ inside the installed package, or beside the packages in a checkout."""
    here = Path(__file__).parent
    installed, checkout = here / "conf", here.parent / "conf"
    return installed if installed.is_dir() else checkout


class Settings:
    """A composed config, read value by value with type, range and a message that says what is allowed.

    Every reader takes the dotted name of the value, like ``"evaluator.epochs"``.
    """

    def __init__(self, config: Any) -> None:
        self._config = config

    def value(self, name: str) -> Any:
        """The plain value, list or dict of `name`; None if it is missing or null."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            found = OmegaConf.select(self._config, name)
        except OmegaConfBaseException as e:
            raise ValueError(f"{name}: {_one_line(e)}") from None
        return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found

    def number(
        self, name: str, *, low: float | None = None, high: float | None = None, above: float | None = None
    ) -> float:
        """A finite number within ``low <= x <= high`` and ``x > above``."""
        value = self.value(name)
        allowed = _allowed("a number", low, high, above)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name}={_shown(value)}: it must be {allowed}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{name}={value}: it must be {allowed}")
        if above is not None and value <= above:
            raise ValueError(f"{name}={value}: it must be {allowed}")
        return float(value)

    def integer(self, name: str, *, low: int | None = None, high: int | None = None) -> int:
        """A whole number within ``low <= x <= high``."""
        value = self.value(name)
        allowed = _allowed("a whole number", low, high, None)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name}={_shown(value)}: it must be {allowed}")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{name}={value}: it must be {allowed}")
        return value

    def numbers(self, name: str, *, above: float, high: float) -> list[float]:
        """A list of at least one number with ``above < x <= high``; one number stands for a list of it."""
        value = self.value(name)
        items = value if isinstance(value, list) else [value]
        if not items or any(
            isinstance(x, bool) or not isinstance(x, int | float) or not above < x <= high for x in items
        ):
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
            hint = _did_you_mean(str(wrong[0]), allowed) if wrong else ""
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
            hint = _did_you_mean(str(value), allowed)
            raise ValueError(f"{name}={_shown(value)}{hint}; allowed: {', '.join(allowed)}")
        return value

    def text(self, name: str) -> str:
        value = self.value(name)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name}={_shown(value)}: it must be a text")
        return value

    def path(self, name: str) -> Path | None:
        """A path with ``~`` expanded, or None."""
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name}={_shown(value)}: it must be a path")
        return None if value is None else Path(value).expanduser()

    def yaml(self) -> str:
        """The whole config, resolved, as YAML."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(self._config, resolve=True)


def _check_overrides(config_name: str, overrides: list[str]) -> None:
    """Composes once before Hydra does, to say what is wrong with the command line in one line."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        try:
            compose(config_name, overrides=overrides)
            return
        except (HydraException, OmegaConfBaseException) as e:
            message = str(e)
        known = _known_names(compose(config_name))
    sys.stderr.write(f"error: {shown(_explain(message, overrides, known))}\n")
    _exit(1)


def _explain(message: str, overrides: list[str], known: list[str]) -> str:
    if match := re.search(r"Could not find '(?P<group>[\w/]+)/(?P<name>[^']+)'", message):
        group, name = match["group"], match["name"]
        options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
        return f"no {group} {name!r}{_did_you_mean(name, options)}; allowed: {', '.join(options)}"
    if match := re.search(r"Could not override '(?P<name>[^']+)'", message):
        name = match["name"]
        groups = {path.name for path in conf_dir().iterdir() if path.is_dir()}
        if name in groups and f"+{name}=" not in " ".join(overrides):
            return f"{name} is not set yet; write +{name}=..."
        close = _did_you_mean(name, known)
        return (
            f"no setting {name!r}{close}; --cfg job shows all settings"
            if close
            else (f"no setting {name!r}; allowed: {', '.join(k for k in known if '.' not in k)}")
        )
    return _one_line(message)


def _known_names(config: Any, prefix: str = "") -> list[str]:
    from omegaconf import OmegaConf

    names = []
    for name in config:
        full = f"{prefix}{name}"
        names.append(full)
        if OmegaConf.is_dict(child := OmegaConf.select(config, name, throw_on_missing=False)):
            names += _known_names(child, f"{full}.")
    return names


def _did_you_mean(name: str, options: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(options), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _allowed(kind: str, low: float | None, high: float | None, above: float | None) -> str:
    limits = [
        f"above {above:g}" if above is not None else "",
        f"at least {low:g}" if low is not None else "",
        f"at most {high:g}" if high is not None else "",
    ]
    return " ".join([kind, " and ".join(limit for limit in limits if limit)]).strip()


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def _one_line(error: object) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines) or type(error).__name__


def _exit(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
