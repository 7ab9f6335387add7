"""LiteRT, TensorFlow Lite by its new name, on the CPU."""

from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from latency_luts.runtime import check_dtype
from nas_runtime.extras import needed
from search_spaces import tflite_net
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["LiteRT"]


class LiteRT:
    """LiteRT's interpreter: XNNPACK's kernels, and LiteRT's own for what XNNPACK does not have.

    Args:
        dtype: one of `tflite_net.DTYPES`. In ``fp16`` the weights are stored; XNNPACK computes in float32 with them.
            In ``int8`` answers mean nothing, see `tflite_net.model`.

    Attributes:
        version: of the package.

    Raises:
        ValueError: there is no such dtype, or LiteRT is not installed.
    """

    in_this_thread = True

    def __init__(self, *, threads: int = 1, dtype: str = "fp32") -> None:
        check_dtype("litert", dtype, tflite_net.DTYPES)
        needed("ai_edge_litert", "litert", "runtime litert")
        self._threads, self._dtype = threads, dtype
        self.version = version("ai-edge-litert")

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], object]:
        """A function that runs `arch`, a network or a block of one, once, always on the same random input.

        Args:
            batch: N of the input (N, resolution_px, resolution_px, in_ch).
        """
        content = tflite_net.model(arch, batch=batch, dtype=self._dtype)
        interpreter = tflite_net.interpreter(content, threads=self._threads)
        channels, height, width = lower(arch)[0].in_shape
        images = np.random.default_rng(0).standard_normal((batch, height, width, channels), dtype=np.float32)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        return interpreter.invoke
