"""Finds conf/, composes a command's config from it and the command line, and says in one line what is wrong with it."""

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nas_runtime import plugins
from nas_runtime.console import brief, did_you_mean
from nas_runtime.errors import full_error, one_line
from nas_runtime.flags import flags_first, flags_of
from nas_runtime.options import no_option
from nas_runtime.plain import is_mapping

__all__ = ["ConfigError", "choices", "compose", "conf_dir", "overview", "plain", "run_hydra", "values_of"]


_LONGEST_NAME = 200  # characters of a setting or a file in conf/; file systems allow 255


class ConfigError(ValueError):
    """A command line that no config can be made of."""


def conf_dir() -> Path:
    """conf/ inside the installed package, or beside the packages in a checkout."""
    here = Path(__file__).parent
    installed, checkout = here / "conf", here.parent / "conf"
    return installed if installed.is_dir() else checkout


def compose(config_name: str, overrides: Sequence[str]) -> Any:
    """The config of ``conf/<config_name>.yaml`` and `overrides`, like ``samples=3``.

    Raises:
        ConfigError: an override that does not fit; says which, and what may be meant.
    """
    with _explained(config_name, overrides):
        _check(config_name, overrides)
        return _composed(config_name, overrides)


def plain(config: Any) -> dict[str, Any]:
    """The values of a composed config; what is missing is ``???``.

    Raises:
        ConfigError: a value stands for another that is not there.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as e:
        name = str(getattr(e, "full_key", "") or "settings")
        value: Any = OmegaConf.to_container(config, resolve=False)
        for part in name.split("."):
            value = value.get(part) if is_mapping(value) else None
        raise ConfigError(f"{name}={brief(value)}: {brief(str(e).splitlines()[0], most=200)}") from None


def overview(config_name: str, arguments: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that `arguments` compose, and the names of the files that were chosen, by group.

    What is missing is ``???``; of what -m gives in turns, nothing is taken.

    Raises:
        ConfigError: an override that does not fit.
    """
    from omegaconf import OmegaConf

    flags = flags_of(arguments)
    overrides = [override.input_line for override in _parsed(arguments) if not override.is_sweep_override()]
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise ConfigError(f"--config-dir {brief(flags.config_dir)}: there is no such folder")
    with _explained(config_name, arguments):
        _check(config_name, arguments)
        config = _composed(flags.config_name or config_name, [*_own(flags), *overrides], hydra=True)
    chosen = {group: name for group, name in config.hydra.runtime.choices.items() if not group.startswith("hydra/")}
    config = OmegaConf.masked_copy(config, [name for name in config if name != "hydra"])
    try:
        return plain(config), chosen
    except ConfigError:  # the value that another stands for is missing
        return OmegaConf.to_container(config), chosen  # type: ignore[return-value]


def choices(group: str, arguments: Sequence[str]) -> dict[str, bool]:
    """The names of the files of a group; whether each stands in conf/, and not in a folder of the user's."""
    return {
        path.stem: folder == conf_dir()
        for folder in _folders(arguments)
        for path in sorted((folder / group).glob("*.yaml"))
    }


def values_of(group: str, name: str) -> dict[str, Any]:
    """The values in the file of that name of a group of conf/, which stand for no others."""
    from omegaconf import OmegaConf

    return plain(OmegaConf.load(conf_dir() / group / f"{name}.yaml"))


def run_hydra(job: Callable[[Any, str | None], None], config_name: str, arguments: Sequence[str]) -> None:
    """Does what `arguments` ask of Hydra: several jobs (``-m``), ``--help``, ``--cfg job``, ``--config-dir`` and so on.

    Nothing is left behind: what Hydra writes about several jobs goes to a folder that is removed.

    Args:
        job: called with the config of each, and its overrides in words where there may be several jobs.

    Raises:
        ConfigError: an override that does not fit.
        SystemExit: after printing what was asked for.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    before = os.environ.get("HYDRA_FULL_ERROR")

    def call(config: Any) -> None:
        about = HydraConfig.get()
        several = about.mode == RunMode.MULTIRUN
        with _environment("HYDRA_FULL_ERROR", before):
            job(config, " ".join(about.overrides.task) if several else None)

    run = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(call)
    with (
        _explained(config_name, arguments),
        _environment("HYDRA_FULL_ERROR", "1"),  # errors arrive here instead of being printed by Hydra
        tempfile.TemporaryDirectory(prefix="hydra-") as folder,
    ):
        own = [f"hydra.sweep.dir='{folder}'", "hydra.sweep.subdir=."]
        own = [] if any("hydra.sweep" in argument for argument in arguments) else own
        _check(config_name, arguments)
        several = flags_of(arguments).multirun or "hydra.mode=MULTIRUN" in arguments
        with _arguments([*flags_first(arguments), *(own if several else ())]):
            _offering(run)


@contextmanager
def _explained(config_name: str, arguments: Sequence[str]) -> Generator[None]:
    """Inside, what Hydra and OmegaConf raise becomes a `ConfigError`; as it is with ``HYDRA_FULL_ERROR=1``."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    raised = full_error()
    try:
        yield
    except YAMLError as e:
        if raised:
            raise
        raise ConfigError(f"a file of conf/ or --config-dir is no YAML: {one_line(e)}") from None
    except (HydraException, OmegaConfBaseException) as e:
        if raised:
            raise
        raise ConfigError(_explain(e, config_name, arguments)) from None


def _composed(config_name: str, overrides: Sequence[str], *, hydra: bool = False) -> Any:
    """The config; with `hydra`, Hydra's own settings are in it."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        return _offering(lambda: compose(config_name, overrides=list(overrides), return_hydra_config=hydra))


def _offering(composes: Callable[[], Any]) -> Any:
    """What `composes` gives; called again where a list of defaults names what `plugins` can offer."""
    from hydra.errors import MissingConfigException

    offered: set[str | None] = set()
    while True:
        try:
            return composes()
        except MissingConfigException as e:
            group, _, name = (e.missing_cfg_file or "").partition("/")
            if e.missing_cfg_file in offered or not plugins.offer(group, name):
                raise
            offered.add(e.missing_cfg_file)


def _own(flags: argparse.Namespace) -> list[str]:
    """The override that has files of ``--config-dir`` found."""
    return [f"hydra.searchpath=['file://{Path(flags.config_dir).absolute()}']"] if flags.config_dir else []


def _check(config_name: str, arguments: Sequence[str]) -> None:
    """Finds what Hydra lets pass, or answers with a traceback: ``+sampels=3``, ``dataset=[]``, ``controller=null``."""
    groups, known = _groups(arguments), None
    _check_mappings(arguments)
    for override in _parsed(arguments):
        name = override.key_or_group
        if len(name) > _LONGEST_NAME:
            raise ConfigError(f"no setting {brief(name)!r}")
        if name in groups and not override.is_delete():
            values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
            if wrong := [value for value in values if not isinstance(value, str) or len(value) > _LONGEST_NAME]:
                value = "null" if wrong[0] is None else brief(wrong[0])
                options = ", ".join(_options(name, arguments))
                raise ConfigError(f"{name}={value}: it must be one name; allowed: {options}")
            for value in values:
                plugins.offer(name, value)
        elif (override.is_add() or override.is_force_add()) and "hydra" not in name and "/" not in name:
            known = known or _known(config_name, arguments)
            if name not in known and not any("hydra.searchpath" in argument for argument in arguments):
                raise ConfigError(no_option(name, known))


def _check_mappings(arguments: Sequence[str]) -> None:
    """Refuses an option that is given twice with names and values, which Hydra would merge."""
    given = [override for override in _parsed(arguments) if not override.is_delete()]
    for override in given:
        name = override.key_or_group
        twice = sum(other.key_or_group == name for other in given) > 1
        if twice and not override.is_sweep_override() and isinstance(override.value(), dict):
            raise ConfigError(f"{name}= is given twice; give it once, with all of its names and values")


def _explain(error: Exception, config_name: str, arguments: Sequence[str]) -> str:
    from hydra.errors import MissingConfigException, OverrideParseException

    message = str(error)
    if isinstance(error, MissingConfigException):
        if match := re.search(r"Cannot find primary config '(?P<name>[^']+)'", message):
            names = _options("", arguments)
            return f"no config {match['name']!r}{did_you_mean(match['name'], names)}; allowed: {', '.join(names)}"
        if match := re.search(r"Could not (?:find|load) '(?P<group>[\w/]+)/(?P<name>[^']+)'", message):
            files = {*(error.options or ())} - plugins.offered(match["group"])
            options = sorted({*files, *_options(match["group"], arguments)})
            name, own = brief(match["name"]), plugins.own(match["group"])
            return f"no {match['group']} {name!r}{did_you_mean(name, options)}; allowed: {', '.join(options)}{own}"
    if isinstance(error, OverrideParseException):
        return f"{brief(error.override)}: write name=value, or quote: 'name=\"value\"'; see hydra.cc, override grammar"
    if match := re.search(r"Could not override '(?P<name>[^']+)'", message):
        name = match["name"]
        if name in _groups(arguments) and not any(argument.startswith(f"+{name}=") for argument in arguments):
            return f"{name} is not set yet; write +{name}=..."
        if not name.startswith("hydra"):
            return no_option(name, _known(config_name, arguments))
    if match := re.search(r"An item is already at '(?P<name>[^']+)'", message):
        return f"{match['name']} is set already; write {match['name']}=... without +"
    if match := re.search(r"Ambiguous value for argument '(?P<argument>[^']+)'", message):
        name, _, values = match["argument"].partition("=")
        return f"{brief(match['argument'])}: a list is written {name}=[{brief(values)}]; -m runs one job for each value"
    if match := re.search(r"Error merging override (?P<override>.+)", message):
        return f"{brief(match['override'])}: its value has another form; --help says what it may be"
    return one_line(error)


def _parsed(arguments: Sequence[str]) -> list[Any]:
    """The overrides among `arguments`, without those that cannot be read, which Hydra finds."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    found: list[Any] = []
    for argument in arguments:
        if not argument.startswith("-") and "=" in argument:
            with suppress(HydraException):
                found.append(parser.parse_override(argument))
    return found


def _known(config_name: str, arguments: Sequence[str]) -> list[str]:
    """The names of all settings, with those of the chosen groups."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    flags, groups = flags_of(arguments), _groups(arguments)
    chosen = [
        override.input_line
        for override in _parsed(arguments)
        if override.key_or_group in groups and not override.is_sweep_override()
    ]
    own = _own(flags)
    for overrides in ([*own, *chosen], own, []):
        with suppress(HydraException, OmegaConfBaseException, ValueError):
            config = _composed(flags.config_name or config_name, overrides)
            return sorted({*_names(OmegaConf.to_container(config)), "target"})
    return []


def _names(config: Any, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")


def _folders(arguments: Sequence[str]) -> list[Path]:
    own = flags_of(arguments).config_dir
    return [conf_dir(), *([Path(own)] if own and Path(own).is_dir() else [])]


def _groups(arguments: Sequence[str]) -> set[str]:
    return {path.name for folder in _folders(arguments) for path in folder.iterdir() if path.is_dir()}


def _options(group: str, arguments: Sequence[str]) -> list[str]:
    files = {path.stem for folder in _folders(arguments) for path in (folder / group).glob("*.yaml")}
    return sorted({*files, *plugins.names(group)})


@contextmanager
def _environment(name: str, value: str | None) -> Generator[None]:
    before = os.environ.get(name)
    try:
        _set(name, value)
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextmanager
def _arguments(arguments: Sequence[str]) -> Generator[None]:
    before = sys.argv
    sys.argv = [before[0], *arguments]
    try:
        yield
    finally:
        sys.argv = before
