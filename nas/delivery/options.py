"""The options of what a run delivers; conf/delivery has their values."""

from typing import Literal

from pydantic import Field

from nas_runtime.options import Options

__all__ = ["Delivery"]


class Delivery(Options):
    """The files that a trained network is delivered as."""

    input: Literal["uint8", "float32"] = Field(
        description="uint8: best.onnx takes pixels (N, H, W, C) and normalises them itself; float32: normalised planes "
        "(N, C, H, W)"
    )
    batch: int | None = Field(ge=1, le=65_536, description="pictures that best.onnx takes at a time; null: any number")
    opset: int = Field(
        ge=13, le=21, description="of best.onnx; onnxruntime 1.16 reads up to 19, and 20 and 21 need 1.17 and 1.18"
    )
    quantize: Literal["none", "static", "qat"] = Field(
        description="static: also best_int8.onnx, ranges from training pictures; qat: where that loses a point, its "
        "weights learn on, rounded"
    )
