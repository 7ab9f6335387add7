"""Networks as ncnn runs them on this processor, whole or block by block."""

from collections.abc import Callable
from typing import Any

import numpy as np

from latency_luts.on_device import clock
from latency_luts.runtime import check_dtype
from nas_runtime.extras import needed
from search_spaces import ncnn_net
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["Ncnn"]

_AS_COMPUTED, _AS_VALUES = 1, 0  # how a blob is handed out: in the layout that the kernels left it in, or (C, H, W)


class Ncnn:
    """ncnn without a GPU: one image at a time, with the options that it has by itself.

    Its answers are those of other runtimes in fp32. In fp16 weights are stored in 16 bits, and computed with where the
    processor can (Arm from v8.2 on; on x86 only linear layers change); int8 is for timing alone, see `ncnn_net.model`.

    Args:
        dtype: one of `ncnn_net.DTYPES`.

    Attributes:
        version: of the package.

    Raises:
        ValueError: there is no such dtype, or ncnn is not installed.
    """

    in_this_thread, batches = True, False

    def __init__(self, *, threads: int = 1, dtype: str = "fp32") -> None:
        check_dtype("ncnn", dtype, ncnn_net.DTYPES)
        self._threads, self._dtype = threads, dtype
        self._clock = clock(threads)
        self._package = needed("ncnn", "ncnn", "runtime ncnn")
        self.version = str(self._package.__version__)

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], Any]:
        """A function that runs `arch` once on a random image and gives its output, a matrix of ncnn's.

        Args:
            batch: 1; ncnn has no other.

        Raises:
            ValueError: another batch.
        """
        net, image = self._prepared(arch, batch)

        def run() -> Any:
            extractor = net.create_extractor()  # it keeps what it has computed: each run needs a new one
            extractor.input(ncnn_net.INPUT, image)
            return _extract(extractor, ncnn_net.OUTPUT, _AS_VALUES)

        return run

    def prepare_blocks(self, arch: Arch, *, batch: int) -> Callable[[], list[float]]:
        """A function that runs `arch` once and gives the seconds of each block, measured inside of it.

        One extractor is asked for the output of each block in turn, and computes what it has not computed yet, so that
        the blocks read what the blocks before have just written, as in a run of the whole. Their sum is a call of
        `prepare` within 2 % (-1.0 to 1.4 %, medians of five networks); of that 1.5 us a block are the question's own.
        """
        net, image = self._prepared(arch, batch)
        # a pool of our own, as ncnn's own is: out of its own ncnn copies whatever it hands out, 2 to 8 % of a run
        pool = self._package.PoolAllocator()
        pool.set_size_compare_ratio(0.0)
        *inner, last = ncnn_net.block_outputs(arch)
        wanted = [*((name, _AS_COMPUTED) for name in inner), (last, _AS_VALUES)]

        def run() -> list[float]:
            extractor = net.create_extractor()
            extractor.set_blob_allocator(pool)
            extractor.input(ncnn_net.INPUT, image)
            seconds = []
            start = self._clock()
            for name, layout in wanted:
                # the blob is let go at once: a layer that could work in place copies one that somebody else holds
                _extract(extractor, name, layout)
                end = self._clock()
                seconds.append(end - start)
                start = end
            return seconds

        return run

    def _prepared(self, arch: Arch, batch: int) -> tuple[Any, Any]:
        """The net, and an image (in_ch, resolution_px, resolution_px) for it."""
        if batch != 1:
            raise ValueError(f"batch={batch}: ncnn runs one image at a time; give batch=1")
        net = ncnn_net.load(*ncnn_net.model(arch, dtype=self._dtype), threads=self._threads, dtype=self._dtype)
        values = np.random.default_rng(0).standard_normal(lower(arch)[0].in_shape, dtype=np.float32)
        return net, self._package.Mat(values).clone()  # what it is made of an array is the array's own memory


def _extract(extractor: Any, name: str, layout: int) -> Any:
    failed, blob = extractor.extract(name, layout)
    if failed:
        raise RuntimeError(f"ncnn cannot compute {name} ({failed})")
    return blob
