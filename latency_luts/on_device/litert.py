"""Graphs of LiteRT (TensorFlow Lite) in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .graphs import burst, clock


def litert() -> str:
    """LiteRT with its version."""
    from importlib.metadata import version

    return "litert " + version("ai-edge-litert")


class LiteGraph:
    """A ``.tflite`` file that can be run."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        if not path.exists():
            raise FileNotFoundError(2, "it is missing", str(path))
        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as e:
            reason = " ".join(str(e).split())[:200]
            raise OSError(5, f"the runtime cannot load it ({reason}); unzip the bundle again", str(path)) from None
        source = self._interpreter.get_input_details()[0]
        values = np.random.default_rng(0).standard_normal(tuple(source["shape"]))
        self._interpreter.set_tensor(source["index"], values.astype(source["dtype"]))
        self._clock = clock(threads)

    def burst(self) -> float:
        """Seconds of one inference; see `graphs.burst`."""
        return burst(self._run_s)

    def _run_s(self) -> float:
        start = self._clock()
        self._interpreter.invoke()
        return self._clock() - start
