"""This machine: what it is called, with which runtime, and on which of its cores a process stays."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """The CPU's name with what tells two kinds of one name apart (family and model on x86)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if fields.get("model name"):
        detail = "/".join(fields[k] for k in ("cpu family", "model", "stepping") if k in fields)
        return "{} ({})".format(fields["model name"], detail) if detail else fields["model name"]
    if fields.get("CPU part"):
        return "{} {}:{}".format(platform.machine(), fields.get("CPU implementer", "?"), fields["CPU part"])
    return platform.processor() or platform.machine()


def runtime() -> str:
    """ONNX Runtime with its version."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def pin(threads: int, core: str | None) -> None:
    """Keeps the process on as many cores as it has threads, from `core` on, or else the last that it may use, where the
    system can.

    Raises:
        SystemExit: there is no such core.
    """
    if not hasattr(os, "sched_setaffinity"):
        if core is not None:
            raise SystemExit(f"error: core={core}: this system lets no program choose its core; leave it out")
        return
    usable = sorted(os.sched_getaffinity(0))
    cores = usable[-threads:]
    if core is not None:
        if len(usable) < threads:
            raise SystemExit(f"error: core={core}: here are {len(usable)} cores for {threads} threads; leave it out")
        cores = list(range(int(core), int(core) + threads)) if core.isdecimal() else []
        if not cores or set(cores) - set(usable):
            raise SystemExit(
                f"error: core={core}: it must be one of {', '.join(map(str, usable[: len(usable) - threads + 1]))}"
            )
    try:
        os.sched_setaffinity(0, cores)
    except OSError as e:
        print(f"not pinned to cores {cores}: {e}")
