"""Where something ran: versions, machine and code, for the record of a run."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from latency_luts.on_device import cpu_name
from nas_runtime.cluster import available_cpus

__all__ = ["code", "environment", "version"]

_PACKAGES = ("torch", "ray", "numpy", "onnx", "onnxruntime", "hydra-core")


def environment(rng_seed: int) -> dict[str, Any]:
    """Plain data, as ``environment.json`` has it."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpus": available_cpus(),
        "packages": {name: version(name) for name in _PACKAGES},
        "git_commit": code(),
        "rng_seed": rng_seed,
    }


def version(package: str) -> str | None:
    """None if it is not installed: a search in one process needs no Ray."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def code(checkout: Path = Path(__file__).parents[1]) -> str | None:
    """The commit that this code is of, as ``4f2a91c 2026-11-30``, with `` with changes`` behind it if tracked files are
    not as committed (recorded results aside); None if the code is no checkout's."""
    here = ("git", "-C", str(checkout))
    commit = _output(*here, "log", "-1", "--format=%h %cs")
    if not commit or _output(*here, "ls-files", "nas/environment.py") is None:
        return None
    changes = _output(*here, "status", "--porcelain", "--untracked-files=no", "--", ":!experiments/results")
    return f"{commit} with changes" if changes else commit


def _output(*command: str) -> str | None:
    """What the command prints; None if it prints nothing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
