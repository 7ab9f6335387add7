"""Networks as ncnn runs them on this processor, whole or block by block."""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from latency_luts.runtime import check_dtype
from nas_runtime.extras import needed
from search_spaces import ncnn_net
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["Ncnn", "load"]

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

    def __init__(self, *, threads: int = 1, dtype: str = "fp32") -> None:
        check_dtype("ncnn", dtype, ncnn_net.DTYPES)
        self._threads, self._dtype = threads, dtype
        self.version = str(_package().__version__)

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], Any]:
        """A function that runs `arch` once on a random image and gives its output, a matrix of ncnn's.

        Args:
            batch: 1; ncnn has no other.

        Raises:
            ValueError: another batch.
        """
        net, image = _prepared(arch, batch, self._threads, self._dtype)

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
        net, image = _prepared(arch, batch, self._threads, self._dtype)
        # a pool of our own, as ncnn's own is: out of its own ncnn copies whatever it hands out, 2 to 8 % of a run
        pool = _package().PoolAllocator()
        pool.set_size_compare_ratio(0.0)
        *inner, last = ncnn_net.block_outputs(arch)
        wanted = [*((name, _AS_COMPUTED) for name in inner), (last, _AS_VALUES)]

        def run() -> list[float]:
            extractor = net.create_extractor()
            extractor.set_blob_allocator(pool)
            extractor.input(ncnn_net.INPUT, image)
            seconds = []
            start = time.perf_counter()
            for name, layout in wanted:
                # the blob is let go at once: a layer that could work in place copies one that somebody else holds
                _extract(extractor, name, layout)
                end = time.perf_counter()
                seconds.append(end - start)
                start = end
            return seconds

        return run


def load(param: str, content: bytes, *, threads: int = 1, dtype: str = "fp32") -> Any:
    """A net of ncnn's, with the text and the weights of `ncnn_net.model`. Nothing is written to a file.

    Raises:
        ValueError: ncnn is not installed.
        RuntimeError: it cannot load the model, of which it says more on standard error.
    """
    package = _package()
    net = package.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    if dtype == "fp32":  # where the processor can, 16 bits are what ncnn computes in by itself
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param_mem(param) or net.load_model(_reader(package, content)):
        raise RuntimeError(f"ncnn {package.__version__} cannot load a model of {len(param.splitlines()) - 2} layers")
    return net


def _package() -> Any:
    return needed("ncnn", "ncnn", "runtime ncnn")


def _prepared(arch: Arch, batch: int, threads: int, dtype: str) -> tuple[Any, Any]:
    """The net, and an image (in_ch, resolution_px, resolution_px) for it."""
    if batch != 1:
        raise ValueError(f"batch={batch}: ncnn runs one image at a time; give batch=1")
    net = load(*ncnn_net.model(arch, dtype=dtype), threads=threads, dtype=dtype)
    values = np.random.default_rng(0).standard_normal(lower(arch)[0].in_shape, dtype=np.float32)
    return net, _package().Mat(values).clone()  # what it is made of an array is the array's own memory


def _extract(extractor: Any, name: str, layout: int) -> Any:
    failed, blob = extractor.extract(name, layout)
    if failed:
        raise RuntimeError(f"ncnn cannot compute {name} ({failed})")
    return blob


def _reader(package: Any, content: bytes) -> Any:
    """Hands `content` out piece by piece: what ncnn reads from memory itself it may still refer to afterwards."""
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    left = memoryview(content)

    class Reader(package.DataReader):
        def read(self, buffer: Any, size: int) -> int:
            nonlocal left
            part, left = bytes(left[:size]), left[size:]
            ctypes.memmove(address(buffer, None), part, len(part))
            return len(part)

    return Reader()
