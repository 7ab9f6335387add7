"""What takes long to read is kept, as one array file."""

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nas.training.datasets import Split
from nas_runtime.files import complete

__all__ = ["cache_dir", "cached"]


def cache_dir() -> Path:
    """The project's folder among the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "platform-aware-nas"


def cached(source: Path, kind: str, read: Callable[[], dict[str, Split]]) -> dict[str, Split]:
    """`read()`, kept in the user's cache folder under the path, size and time of `source`."""
    stamp = source.resolve()
    files = sorted(p for p in source.rglob("*") if p.is_dir()) if source.is_dir() else [source]
    seen = "|".join(f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in (source, *files))
    name = hashlib.sha256(f"{kind}|{stamp}|{seen}".encode()).hexdigest()[:16]
    path = cache_dir() / f"{kind}-{name}.npz"
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {part: Split(file[f"{part}_images"], file[f"{part}_labels"]) for part in ("train", "test")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not cached yet, or the cache is damaged: read the source
    splits = read()
    try:
        with complete(path) as partial, partial.open("wb") as file:
            np.savez(file, **{f"{p}_{f}": getattr(s, f) for p, s in splits.items() for f in ("images", "labels")})
    except OSError:
        pass  # a cache that cannot be written only costs time
    return splits
