"""LiteRT, TensorFlow Lite by its new name, on the CPU."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from search_spaces import tflite_net
from search_spaces.arch import Arch
from search_spaces.lower import lower
from search_spaces.tflite_file import EXTRA

__all__ = ["LiteRT"]

_PACKAGE = "ai-edge-litert"


class LiteRT:
    """LiteRT's interpreter: XNNPACK's kernels, and LiteRT's own for what XNNPACK does not have.

    Attributes:
        dtypes: what networks can be run in. In ``fp16`` the weights are stored; XNNPACK computes in float32 with them.
    """

    dtypes = tflite_net.DTYPES

    @property
    def version(self) -> str:
        """That of the package.

        Raises:
            ValueError: it is not installed.
        """
        try:
            return version(_PACKAGE)
        except PackageNotFoundError:
            raise ValueError(
                f"LiteRT is the package {_PACKAGE}, which is not installed; pip install 'platform-aware-nas[{EXTRA}]'"
            ) from None

    def prepare(self, arch: Arch, *, batch: int, threads: int = 1, dtype: str = "fp32") -> Callable[[], object]:
        """A function that runs `arch`, a network or a block of one, once, always on the same random input.

        Args:
            batch: N of the input (N, resolution_px, resolution_px, in_ch).
            dtype: one of `dtypes`; in ``int8`` its answers mean nothing, see `tflite_net.model`.

        Raises:
            ValueError: there is no such dtype, or LiteRT is not installed.
        """
        interpreter = tflite_net.interpreter(tflite_net.model(arch, batch=batch, dtype=dtype), threads=threads)
        channels, height, width = lower(arch)[0].in_shape
        images = np.random.default_rng(0).standard_normal((batch, height, width, channels), dtype=np.float32)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
        return interpreter.invoke
