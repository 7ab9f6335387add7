"""TensorFlow Lite graphs of smaller numbers: weights in half precision, or everything as int8."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from search_spaces.tflite_file import Quantized
from search_spaces.tflite_graph import Graph, Value

__all__ = ["HalfGraph", "Int8Graph"]

_RANGE = Quantized(scale=(6 / 127,))  # -6 to 6
_GATE = Quantized(scale=(1 / 256,), zero=-128)  # 0 to 1, as integer kernels of sigmoids want it
# operators that hand numbers on as they are
_KEEPING = (
    *("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "CONCATENATION", "SLICE", "RESHAPE", "TRANSPOSE", "RESIZE_BILINEAR"),
    *("PAD", "PADV2", "RELU", "RELU6"),
)
# the first versions of operators that have kernels for int8
_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1, "HARD_SWISH": 1, "QUANTIZE": 1}


class HalfGraph(Graph):
    """Weights are stored in half precision. What a kernel makes of them is its own: where there is no arithmetic for
    them, they are turned to float32 when the model is loaded."""

    def _params(self, weight: np.ndarray, bias: np.ndarray, prefix: str, x: Value, axis: int | None) -> list[Value]:
        return [self._halved(f"{prefix}.{name}", value) for name, value in (("weight", weight), ("bias", bias))]

    def _halved(self, name: str, value: np.ndarray) -> Value:
        half = self._constant(f"{name}.half", value.astype(np.float16))
        return self._node("DEQUANTIZE", [half], value.shape, name)

    def _version(self, kind: str, inputs: Sequence[Value], options: dict[str, Any]) -> int:
        return 3 if kind == "DEQUANTIZE" else super()._version(kind, inputs, options)


class Int8Graph(Graph):
    """Every tensor is int8, with made-up scales, but for the input and the output: such a model takes as long as a
    calibrated one, and its answers mean nothing."""

    dtype = "int8"

    def read(self, value: Value) -> Value:
        return self._node("QUANTIZE", [value], value.shape, "input.int8")

    def add_output(self, value: Value) -> Value:
        index = self.file.tensor("output", value.shape, "float32")
        self.file.operator("DEQUANTIZE", [value.index], index, self._version("DEQUANTIZE", [value], {}), {})
        return Value(index=index, shape=value.shape)

    def _concat(self, inputs: list[Value], shape: tuple[int, ...], prefix: str) -> Value:
        alike = [  # as kernels want them
            x if x.quantized == _RANGE else self._node("QUANTIZE", [x], x.shape, f"{prefix}.input{i}")
            for i, x in enumerate(inputs)
        ]
        return super()._concat(alike, shape, prefix)

    def _params(self, weight: np.ndarray, bias: np.ndarray, prefix: str, x: Value, axis: int | None) -> list[Value]:
        assert x.quantized is not None
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.abs(weight).max(axis=None if axis is None else others, keepdims=True) / 127 + 1e-9
        scales = Quantized(scale=tuple(scale.ravel().tolist()), axis=axis or 0)
        sums = scale.ravel() * x.quantized.scale[0]
        limit = np.iinfo(np.int32).max - 127  # which float32 has
        whole = np.round(bias / sums).clip(-limit, limit).astype(np.int32)
        return [
            self._constant(f"{prefix}.weight", np.round(weight / scale).astype(np.int8), scales),
            self._constant(f"{prefix}.bias", whole, Quantized(scale=tuple(sums.tolist()))),
        ]

    def _numbers(self, name: str, value: np.ndarray | float) -> Value:
        scale = float(np.max(value)) / 127
        whole = np.round(np.asarray(value) / scale).astype(np.int8)
        index = self.file.constant(name, whole, Quantized(scale=(scale,)))
        return Value(index=index, shape=whole.shape, positive=True)

    def _lowest(self, name: str, x: Value) -> Value:
        return self._constant(name, np.array(-128, np.int8), x.quantized)

    def _range(self, kind: str, inputs: Sequence[Value], gate: bool) -> Quantized | None:
        if kind in _KEEPING:
            return inputs[0].quantized
        return _GATE if gate else _RANGE

    def _version(self, kind: str, inputs: Sequence[Value], options: dict[str, Any]) -> int:
        return max(_VERSIONS.get(kind, 2), super()._version(kind, inputs, options))
