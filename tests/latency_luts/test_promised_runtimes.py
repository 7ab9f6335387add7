"""What `nas.testing` promises of runtimes: those that are shipped keep it, and what does not is found."""

import itertools
import time

import pytest

from latency_luts import runtime
from latency_luts.runtime import OnnxRuntime
from nas import testing
from tests.latency_luts.test_runtime import Spaced


@pytest.mark.parametrize("name", runtime.RUNTIMES.names())
def test_those_that_are_shipped_keep_what_is_promised(name):
    if name != "onnxruntime":
        pytest.importorskip({"litert": "ai_edge_litert"}.get(name, name))
    testing.check_runtime(runtime.RUNTIMES.get(name))


class Restless(OnnxRuntime):
    made = itertools.count()

    def __init__(self):
        super().__init__()
        self._number = next(self.made)

    @property
    def version(self):
        return str(self._number)


class Once(OnnxRuntime):
    """Runs what was prepared last only."""

    def prepare(self, arch, *, batch):
        run = super().prepare(arch, batch=batch)
        self.last = run

        def call():
            assert self.last is run, "another network was prepared"
            return run()

        return call


class InMilliseconds(OnnxRuntime):
    def prepare_blocks(self, arch, *, batch):
        run = self.prepare(arch, batch=batch)

        def call():
            start = time.perf_counter()
            run()
            return [1e3 * (time.perf_counter() - start) / len(arch.blocks)] * len(arch.blocks)

        return call


class OfOneBlock(OnnxRuntime):
    def prepare_blocks(self, arch, *, batch):
        return lambda: [0.001]


class Careless(OnnxRuntime):
    """Takes any dtype."""

    def __init__(self, *, threads=1, dtype="fp32"):
        super().__init__()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Spaced, "the version is '1 2'; it must be a text without spaces"),
        (Restless, "it must not change"),
        (Once, "another network was prepared"),
        (InMilliseconds, "are these seconds"),
        (OfOneBlock, "it must have one for each block"),
        (Careless, "dtype='none' must be refused with a ValueError, and was accepted"),
    ],
)
def test_what_does_not_keep_it_is_found(kind, said):
    with pytest.raises(AssertionError, match=said):
        testing.check_runtime(kind)
