"""The directory of a run: its config, its environment, and the files that a search leaves behind."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nas_runtime.files import write_json, write_text

__all__ = ["RunDirError", "open_run_dir"]

_PACKAGES = ("torch", "ray", "numpy", "onnx", "onnxruntime", "hydra-core")


class RunDirError(ValueError):
    """A run directory that cannot be used."""


def open_run_dir(path: Path, config: Mapping[str, Any], *, may_differ: Iterable[str], rng_seed: int) -> bool:
    """Creates the directory with ``config.yaml`` and ``environment.json``, or checks that it belongs to this config.

    Args:
        may_differ: top-level settings that do not change what a search finds, only how or how far it goes.

    Returns:
        Whether a run is being continued.

    Raises:
        RunDirError: the directory cannot be written, holds something else, or a run with other settings.
    """
    import yaml

    ignored = set(may_differ)
    config_path = path / "config.yaml"
    if config_path.exists():
        try:
            before = yaml.safe_load(config_path.read_text())
        except (OSError, yaml.YAMLError) as e:
            raise RunDirError(f"{config_path} cannot be read ({e}); use another run_dir") from None
        if difference := _first_difference(before, config, ignored):
            name, was, now = difference
            raise RunDirError(
                f"{path} holds a run with {name}={was}, not {name}={now}; use the same settings or another run_dir"
            )
        return True
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirError(f"{path} exists and is not a run's directory; use another run_dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "environment.json", _environment(rng_seed))
        write_text(config_path, yaml.safe_dump(dict(config), sort_keys=False))
    except OSError as e:
        raise RunDirError(f"run_dir={path} cannot be written ({e.strerror}); choose another run_dir") from None
    return False


def _first_difference(before: Any, now: Any, ignored: Iterable[str], prefix: str = "") -> tuple[str, Any, Any] | None:
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return None if before == now else (prefix, before, now)
    for name in dict.fromkeys((*before, *now)):
        if name in ignored:
            continue
        full = f"{prefix}.{name}" if prefix else str(name)
        if found := _first_difference(before.get(name), now.get(name), (), full):
            return found
    return None


def _environment(rng_seed: int) -> dict[str, Any]:
    from latency_luts.on_device import cpu_name

    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
        "rng_seed": rng_seed,
    }


def _version(package: str) -> str | None:
    """None if it is not installed: a search in one process needs no Ray."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None if it does not run from one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
