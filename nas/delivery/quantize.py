"""A graph with 8-bit integers: static quantisation by ONNX Runtime, in the QDQ format, weights by channel.

The ranges of values are those of training pictures. How they are taken (the largest values, percentiles, or by entropy)
is decided by what comes nearest to the float graph on the holdout. Where more than half a point of top-1 is lost, the
blocks of the network that cost most stay in float.
"""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_runtime.files import write_bytes
from nas_runtime.scratch import private_folder
from search_spaces import onnx_net

__all__ = ["ACCEPTED", "Pairs", "Quantized", "quantize"]

ACCEPTED = 0.005
"""Of top-1, that the integers may cost before blocks stay in float."""

_METHODS: dict[str, dict[str, Any]] = {
    "MinMax": {},
    "Percentile": {"percentile": 99.99, "symmetric": False},
    "Entropy": {},
}
_AT_ONCE = 8  # pictures whose values are in memory at the same time
_PIXELS = "image."  # how the operators are called that read pixels: they stay in float
_LOOK = 64  # pictures for a first look at how near a graph comes
_MOST_LOOKS = 24  # at what blocks cost: a number, so that the same file comes of it however busy the machine is


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pictures with their labels.

    Attributes:
        inputs: of the graph (N, ...).
        labels: (N,).
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A quantised graph.

    Attributes:
        method: by which ranges were taken.
        in_float: the blocks that stay in float, by their numbers.
        top1, float_top1: of it, and of the float graph, on the pictures by which it was chosen.
        divergence: mean KL divergence of its class probabilities from the float graph's, on these.
    """

    content: bytes
    method: str
    in_float: tuple[int, ...] = ()
    top1: float
    float_top1: float
    divergence: float

    @property
    def lost(self) -> float:
        """Top-1 that the integers cost."""
        return self.float_top1 - self.top1


def quantize(content: bytes, calibration: np.ndarray, judged: Pairs) -> Quantized:
    """A graph of `onnx_net` that takes one picture, quantised.

    Args:
        calibration: inputs of the graph (N, ...), from the training pictures.
        judged: pictures of the holdout, by which what is uncertain is decided.
    """
    with private_folder("nas-int8-") as folder, _quiet():
        ready = folder / "ready.onnx"
        _prepare(content, ready)
        expected = onnx_net.run(content, judged.inputs)
        tried = [_Try(ready, method, calibration, judged, expected) for method in _METHODS]
        nearest = min(tried, key=lambda attempt: attempt.with_float((), most=_LOOK).divergence)
        best, accepted = nearest.with_float(()), max(ACCEPTED, 2 / len(judged))  # two pictures can be chance
        return best if best.lost <= accepted else _with_blocks_in_float(nearest, best, accepted)


def _prepare(content: bytes, ready: Path) -> None:
    """Adds the shapes of all values, as the runtime's documentation asks for; norms are folded already."""
    from onnxruntime.quantization import quant_pre_process

    write_bytes(ready, content)
    quant_pre_process(str(ready), str(ready), skip_optimization=True, skip_symbolic_shape=True)


class _Try:
    """Quantisations with the ranges of one method."""

    def __init__(self, ready: Path, method: str, calibration: np.ndarray, judged: Pairs, expected: np.ndarray) -> None:
        self.method = method
        self._ready, self._judged, self._expected = ready, judged, expected
        self._ranges = _ranges(ready, method, calibration)
        self.nodes = _nodes(ready)

    def with_float(self, blocks: Sequence[int], *, most: int | None = None) -> Quantized:
        """All but these blocks in integers, judged by at most so many pictures."""
        excluded = [name for name, block in self.nodes.items() if block is None or block in blocks]
        content = _quantized(self._ready, self._ranges, excluded)
        labels, expected = self._judged.labels[:most], self._expected[:most]
        outputs = onnx_net.run(content, self._judged.inputs[:most])
        return Quantized(
            content=content,
            method=self.method,
            in_float=tuple(sorted(blocks)),
            top1=float((outputs.argmax(1) == labels).mean()),
            float_top1=float((expected.argmax(1) == labels).mean()),
            divergence=_divergence(expected, outputs),
        )


def _with_blocks_in_float(attempt: _Try, whole: Quantized, accepted: float) -> Quantized:
    """`whole` with as few blocks in float as it takes to lose no more top-1 than is accepted; at most half of them.

    Two neighbours at a time (more, in networks of more than `_MOST_LOOKS` blocks), so that also what stands between
    them can be what costs: those come first without whose integers the answers are nearest to the float graph's.
    """
    blocks = sorted({block for block in attempt.nodes.values() if block is not None})
    near = {some: attempt.with_float(some, most=_LOOK).divergence for some in _neighbours(blocks)}
    order, best, count = sorted(near, key=lambda some: near[some]), whole, 1
    while best.lost > accepted and count <= len(order):
        chosen = {block for some in order[:count] for block in some}
        if len(chosen) > len(blocks) // 2:
            break
        candidate = attempt.with_float(sorted(chosen))
        best = candidate if candidate.lost < best.lost else best
        count *= 2
    return best


def _neighbours(blocks: Sequence[int]) -> list[tuple[int, ...]]:
    """Blocks that follow each other, at least two, each with one of the next group; at most `_MOST_LOOKS` groups."""
    step = max(1, -(-(len(blocks) - 1) // _MOST_LOOKS))
    return [tuple(blocks[first : first + step + 1]) for first in range(0, len(blocks) - 1, step)]


def _nodes(ready: Path) -> dict[str, int | None]:
    """The operators by name, and the number of the block that each belongs to; None: to none, it reads pixels."""
    import onnx

    nodes = onnx.load(ready).graph.node
    return {
        node.name: None if node.name.startswith(_PIXELS) else int(node.name.partition(".")[0].removeprefix("block"))
        for node in nodes
    }


def _ranges(ready: Path, method: str, calibration: np.ndarray) -> Any:
    """The ranges of all values, by the runtime's calibrator of this name."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self, inputs: np.ndarray) -> None:
            self._inputs: Iterator[np.ndarray] = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            one = next(self._inputs, None)
            return None if one is None else {source: one[None]}

    calibrator = create_calibrator(
        str(ready),
        _kinds(),
        str(ready.with_name("augmented.onnx")),
        calibrate_method=getattr(CalibrationMethod, method),
        extra_options=dict(_METHODS[method]),
    )
    assert calibrator.infer_session is not None
    source = calibrator.infer_session.get_inputs()[0].name
    for first in range(0, len(calibration), _AT_ONCE):
        calibrator.collect_data(Reader(calibration[first : first + _AT_ONCE]))
    return calibrator.compute_data()


def _quantized(ready: Path, ranges: Any, excluded: Sequence[str]) -> bytes:
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType

    quantizer = QDQQuantizer(
        onnx.load(ready), True, False, QuantType.QInt8, QuantType.QUInt8, ranges, [], list(excluded), _kinds(), {}
    )
    quantizer.quantize_model()
    return quantizer.model.model.SerializeToString()


def _kinds() -> list[str]:
    """The kinds of operators that `quantize_static` quantises where none are given."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


def _divergence(expected: np.ndarray, outputs: np.ndarray) -> float:
    """Mean KL divergence of class probabilities from those that were expected; logits are (N, classes)."""
    p, q = (_log_softmax(logits.astype(np.float64)) for logits in (expected, outputs))
    return float((np.exp(p) * (p - q)).sum(1).mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what the runtime's quantiser prints and logs; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
