"""TensorFlow Lite files: tensors and operators, written as a FlatBuffer of schema version 3."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas_runtime.extras import needed

__all__ = ["File", "Quantized", "package"]

_ALIGNMENT = 16  # bytes, as the schema has it: runtimes compute on constants where they lie in the file
_OPTIONS = {  # of operators whose options are not called as they are
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "PADV2": "PadV2Options",
}
_NO_OPTIONS = ("LOGISTIC", "RELU", "RELU6")
_TYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "int8": "INT8"}


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What whole numbers stand for: ``scale * (whole - zero)``, with a scale for all, or one along an axis each."""

    scale: tuple[float, ...]
    zero: int = 0
    axis: int = 0


class File:
    """Tensors and operators under construction. Tensors are known by their place in the file.

    Raises:
        ValueError: the package with the schema is not installed.
    """

    def __init__(self) -> None:
        self._schema = package().schema_py_generated
        self._tensors: list[Any] = []
        self._constants: list[np.ndarray] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._makers: dict[int, Any] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: str, quantized: Quantized | None = None) -> int:
        """Appends a tensor that is computed, or an input."""
        parameters = None
        if quantized is not None:
            parameters = self._schema.QuantizationParametersT(
                scale=np.array(quantized.scale, np.float32),
                zeroPoint=np.full(len(quantized.scale), quantized.zero, np.int64),
                quantizedDimension=quantized.axis,
            )
        self._tensors.append(
            self._schema.TensorT(
                shape=np.array(shape, np.int32),
                type=getattr(self._schema.TensorType, _TYPES[dtype]),
                name=name,
                quantization=parameters,
                hasRank=True,
            )
        )
        return len(self._tensors) - 1

    def constant(self, name: str, value: np.ndarray, quantized: Quantized | None = None) -> int:
        """Appends a tensor of known values."""
        index = self.tensor(name, value.shape, str(value.dtype), quantized)
        self._constants.append(value)
        self._tensors[index].buffer = len(self._constants)  # buffer 0 is that of all computed ones
        return index

    def operator(self, kind: str, inputs: Sequence[int], output: int, version: int, options: dict[str, Any]) -> None:
        """Appends an operator; they are computed in this order.

        Args:
            kind: as in the schema's ``BuiltinOperator``.
            version: of the operator, the first that has what is used of it.
            options: those of the schema, by name.
        """
        name = None if kind in _NO_OPTIONS else _OPTIONS.get(kind, f"{kind.title().replace('_', '')}Options")
        code = self._codes.setdefault((kind, version), len(self._codes))
        operator = self._schema.OperatorT(opcodeIndex=code, inputs=list(inputs), outputs=[output])
        if name is not None:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(self._schema, f"{name}T")(**options)
        self._operators.append(operator)
        self._makers[output] = operator.builtinOptions

    def fuse(self, tensor: int, activation: int) -> bool:
        """Makes the operator that computes a tensor apply an activation to it; False if it applies one already.

        Args:
            activation: one of the schema's ``ActivationFunctionType``.
        """
        options = self._makers[tensor]
        if options.fusedActivationFunction:
            return False
        options.fusedActivationFunction = activation
        return True

    def rename(self, tensor: int, name: str) -> None:
        self._tensors[tensor].name = name

    def content(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file, as a graph called `name` with some of the tensors as its inputs and outputs."""
        import flatbuffers  # pyright: ignore[reportMissingImports]

        schema = self._schema
        model = schema.ModelT(
            version=3,
            description="search_spaces.tflite_net",
            operatorCodes=[self._code(kind, version) for kind, version in self._codes],
            buffers=[schema.BufferT(), *(_Aligned(schema, value) for value in self._constants)],
            subgraphs=[
                schema.SubGraphT(
                    name=name,
                    tensors=self._tensors,
                    inputs=list(inputs),
                    outputs=list(outputs),
                    operators=self._operators,
                )
            ],
        )
        size = sum(value.nbytes for value in self._constants)
        builder = flatbuffers.Builder(size + 512 * (len(self._tensors) + len(self._operators) + 8))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(memoryview(builder.Bytes)[builder.Head() :])

    def _code(self, kind: str, version: int) -> Any:
        number = getattr(self._schema.BuiltinOperator, kind)
        return self._schema.OperatorCodeT(builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=version)


class _Aligned:
    """The schema's ``BufferT`` of a constant. That aligns by the size of its elements, which are bytes."""

    def __init__(self, schema: Any, value: np.ndarray) -> None:
        self._schema, self._value = schema, value

    def Pack(self, builder: Any) -> int:  # noqa: N802 - what the schema's own are called
        content = self._value.tobytes()
        builder.Prep(_ALIGNMENT, len(content))
        data = builder.CreateByteVector(content)
        self._schema.BufferStart(builder)
        self._schema.BufferAddData(builder, data)
        return self._schema.BufferEnd(builder)


def package() -> Any:
    """The package with the schema and the interpreter.

    Raises:
        ValueError: it is not installed.
    """
    for module in ("ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"):
        needed(module, "litert", "format tflite")
    return needed("ai_edge_litert", "litert", "format tflite")
