"""The file of random weights that all graphs share: they are made on the device, and graphs are small."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WEIGHTS = "weights.bin"  # random numbers in sections: one of int8, then floats of ever smaller deviation
SECTIONS = 14
SECTION_BYTES = 256 << 20  # apart; the file has holes


def weights_section(dtype: str, deviation: float) -> int:
    """The section of the file of weights that holds constants of a type (float32 or int8) and a standard deviation."""
    if dtype == "int8":
        return 0
    halvings = round(-float(np.log2(max(deviation, 1e-9)))) + 2  # from a deviation of 4 on
    return 1 + min(max(halvings, 0), SECTIONS - 2)


def write_weights(path: Path, sections: dict[int, int], section_bytes: int = SECTION_BYTES) -> None:
    """Writes random numbers into the first bytes of sections of the file of weights: ``{section: bytes}``.

    The file is complete or unchanged where there was none; else it grows.
    """
    values = np.random.default_rng(0).standard_normal(max(sections.values()) // 4 + 1, dtype=np.float32)
    partial = path if path.exists() else path.with_name(path.name + ".partial")
    with partial.open("r+b" if path.exists() else "wb") as file:
        for section, size_bytes in sections.items():
            file.seek(section * section_bytes)
            if section == 0:
                file.write((np.arange(size_bytes) % 251 - 125).astype(np.int8).tobytes())
            else:
                file.write((values * np.float32(2.0 ** (3 - section))).tobytes()[:size_bytes])
    if partial != path:
        partial.replace(path)
