"""Where something ran: versions, machine and code, for the record of a run."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from latency_luts.on_device import cpu_name
from nas_runtime.cluster import available_cpus

__all__ = ["environment"]

_PACKAGES = ("torch", "ray", "numpy", "onnx", "onnxruntime", "hydra-core")


def environment(rng_seed: int) -> dict[str, Any]:
    """Plain data, as ``environment.json`` has it."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": available_cpus(),
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
