"""What networks are run with when they are timed: ONNX Runtime, or anybody's own runtime.

A runtime is chosen by name, ``python -m latency_luts.build device=host_mine runtime=my_runtime:Runtime``, and tables
keep it: units that a table lacks are measured with its runtime, and measurements of two runtimes are never mixed.
"""

from collections.abc import Callable
from typing import Protocol

from latency_luts.on_device import Graph
from latency_luts.on_device import runtime as onnxruntime_version
from latency_luts.table import ONNXRUNTIME
from nas_runtime.console import brief
from nas_runtime.declared import call
from nas_runtime.registry import Registry
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["RUNTIMES", "OnnxRuntime", "Runtime", "get"]


class Runtime(Protocol):
    """Runs networks on this machine; made without arguments.

    ONNX Runtime is timed with its profiler, inside networks (`on_device`), and on other machines too. Any other runtime
    is timed by plain calls on this machine: fp32, on one thread.

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


class OnnxRuntime:
    """ONNX Runtime by plain calls, as any other runtime is timed; ``onnxruntime`` is timed with its profiler."""

    @property
    def version(self) -> str:
        return onnxruntime_version().rpartition(" ")[2]

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], object]:
        from search_spaces import onnx_net

        model = onnx_net.model(arch, batch=batch).SerializeToString()
        graph = Graph(model, (batch, *lower(arch)[0].in_shape), threads=1)
        return lambda: graph.session.run(None, graph.feed)


RUNTIMES = Registry("runtime", "platform_aware_nas.runtimes", {ONNXRUNTIME: "latency_luts.runtime:OnnxRuntime"})


def get(name: str) -> Runtime:
    """The runtime of that name, or of a dotted name like ``my_runtime:Runtime``.

    Raises:
        ValueError: there is no such runtime, or it is none.
    """
    kind = RUNTIMES.get(name)
    able = isinstance(kind, type) and callable(getattr(kind, "prepare", None))
    runtime = call(kind, f"runtime {brief(name)}") if able else None
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
