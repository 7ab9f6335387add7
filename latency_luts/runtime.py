"""What networks are run with when they are timed: ONNX Runtime, OpenVINO, LiteRT, ncnn, or anybody's own runtime.

A runtime is chosen by name, ``python -m latency_luts.build device=host_mine runtime=my_runtime:Runtime``, and tables
keep it: units that a table lacks are measured with its runtime, and measurements of two runtimes are never mixed.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from latency_luts.on_device import Graph
from latency_luts.on_device import runtime as onnxruntime_version
from latency_luts.table import ONNXRUNTIME
from nas_runtime.console import brief
from nas_runtime.declared import call
from nas_runtime.registry import Registry
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["ONNX_DTYPES", "RUNTIMES", "BlockRuntime", "OnnxRuntime", "Runtime", "check_dtype", "get"]

ONNX_DTYPES = ("fp32", "int8")
"""That ONNX Runtime's tables are of."""


class Runtime(Protocol):
    """Runs networks on this machine; made without arguments, or with `threads` or `dtype` where these are not as usual.

    ONNX Runtime is timed with its profiler, inside networks (`on_device`), and on other machines too. Any other runtime
    is timed on this machine: by its own counters if it is a `BlockRuntime`, else by plain calls. It is one thread and
    fp32 for a class whose ``__init__`` has no ``threads=`` or ``dtype=``. One that computes in the thread that calls
    it, if it has one thread, may say so with ``in_this_thread = True``: it is timed by the CPU time of that thread
    then, which other programs do not add to. One that runs single images only says ``batches = False``.

    Example:
        PyTorch without a compiler, as a runtime::

            class Runtime:
                version = torch.__version__

                def prepare(self, arch, *, batch):
                    net = torch_net.build(arch).eval()
                    images = torch.zeros(batch, arch.in_ch, arch.resolution_px, arch.resolution_px)
                    return torch.inference_mode()(lambda: net(images))
    """

    @property
    def version(self) -> str:
        """Without spaces. What was measured with two versions is never mixed."""
        ...

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], object]:
        """A function that runs `arch`, a network or a block of one, once, and returns when the output is there.

        Args:
            batch: N of the input (N, in_ch, resolution_px, resolution_px).
        """
        ...


@runtime_checkable
class BlockRuntime(Protocol):
    """A `Runtime` that can tell what each block of a network takes, inside the network."""

    def prepare_blocks(self, arch: Arch, *, batch: int) -> Callable[[], Sequence[float]]:
        """A function that runs `arch` once and gives the seconds of each of its blocks, in order."""
        ...


class OnnxRuntime:
    """ONNX Runtime by plain calls, as any other runtime is timed; ``onnxruntime`` is timed with its profiler."""

    in_this_thread = True

    def __init__(self, *, threads: int = 1, dtype: str = "fp32") -> None:
        check_dtype(ONNXRUNTIME, dtype, ONNX_DTYPES)
        self._threads, self._int8 = threads, dtype == "int8"

    @property
    def version(self) -> str:
        return onnxruntime_version().rpartition(" ")[2]

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], object]:
        from search_spaces import onnx_net

        model = onnx_net.model(arch, batch=batch, int8=self._int8).SerializeToString()
        graph = Graph(model, (batch, *lower(arch)[0].in_shape), self._threads)
        return lambda: graph.session.run(None, graph.feed)


_SHIPPED = {
    ONNXRUNTIME: "latency_luts.runtime:OnnxRuntime",
    "openvino": "latency_luts.runtimes.openvino:OpenVino",
    "litert": "latency_luts.runtimes.litert:LiteRT",
    "ncnn": "latency_luts.runtimes.ncnn:Ncnn",
}
RUNTIMES = Registry("runtime", "platform_aware_nas.runtimes", _SHIPPED)


def get(name: str, *, threads: int = 1, dtype: str = "fp32") -> Runtime:
    """The runtime of that name, or of a dotted name like ``my_runtime:Runtime``.

    Raises:
        ValueError: there is no such runtime, it is none, it is not installed, or it cannot run networks in this way.
    """
    kind = RUNTIMES.get(name)
    able = isinstance(kind, type) and callable(getattr(kind, "prepare", None))
    unusual = {
        option: value for option, value, usual in (("threads", threads, 1), ("dtype", dtype, "fp32")) if value != usual
    }
    for option in unusual if able else ():
        if option not in inspect.signature(kind).parameters:
            raise ValueError(
                f"runtime={brief(name)} has no {option}=: it runs networks on one thread with fp32; leave {option} out"
            )
    runtime = call(kind, f"runtime {brief(name)}", **unusual) if able else None
    try:
        version = getattr(runtime, "version", None)
    except Exception as e:  # anyone's code
        raise ValueError(f"runtime {brief(name)} has no version ({type(e).__name__}: {brief(str(e))})") from e
    if runtime is None or not isinstance(version, str) or version.split() != [version]:
        raise ValueError(
            f"runtime={brief(name)} is no runtime: give a class that has prepare(arch, batch=) and a version without "
            "spaces, as latency_luts.runtime.Runtime says"
        )
    return runtime


def check_dtype(runtime: str, dtype: str, known: Sequence[str]) -> None:
    """Raises:
    ValueError: `dtype` is not one of those that the runtime has.
    """
    if dtype not in known:
        raise ValueError(
            f"dtype={dtype}: runtime {runtime} computes in {', '.join(known[:-1])} or {known[-1]}; give one of these"
        )
