"""The options of this package's commands; conf/ has their values."""

from typing import Annotated, Literal

from pydantic import Field

from latency_luts.runtime import RUNTIMES
from nas_runtime.amounts import Numbers
from nas_runtime.kinds import AnyPath, Several, Text, named_in
from nas_runtime.options import CommandOptions, Options
from search_spaces.options import Space

__all__ = [
    "RANDOM_FROM",
    "BuildOptions",
    "BundleOptions",
    "CalibrateOptions",
    "CompareOptions",
    "DevicesOptions",
    "ImportOptions",
    "Measurement",
    "MeasurementHere",
    "MeasuringNode",
    "ShowOptions",
    "TablesDir",
    "ValidateOptions",
]

RANDOM_FROM = ("mnasnet", "mobilenet_v3")
"""Spaces whose random networks a table is validated on."""


TablesDir = Annotated[
    AnyPath | None,
    Field(description="where latency tables are; null: latency_luts/tables of a checkout, else the user's data folder"),
]
NewTable = Annotated[Text, Field(description="the name of the table")]


class Measurement(Options):
    """How networks are timed, which is part of what a table is."""

    threads: int = Field(
        ge=1,
        le=256,
        description="threads that run a network; with batch and dtype part of what a table is: one name each",
    )
    batch: int = Field(ge=1, le=1024, description="images that run through it together")


class MeasurementHere(Measurement):
    """How they are timed on this machine, where anybody's runtime may run them."""

    runtime: Annotated[str, named_in(RUNTIMES)] = Field(
        description="what runs them, which is part of what a table is, too: openvino, litert and ncnn are extras"
    )
    dtype: Literal["fp32", "fp16", "int8"] = Field(
        description="of its weights; int8: static quantization, weights per channel; fp16: litert and ncnn only"
    )


class MeasuringNode(Options):
    """A node of a Ray cluster that is measured instead of this machine."""

    address: Text | None = Field(description="HOST:PORT of a Ray cluster, on whose node is measured; null: here")
    resource: Text | None = Field(description="the resource that only this node of the cluster has; null: none")


class BuildOptions(CommandOptions, MeasurementHere):
    """Measures the networks of a search space, unit by unit, and saves the table of their latencies."""

    command, config = "latency_luts.build", "lut"

    space: Space
    device: Text = Field(description="the name of the table; this machine is host, or host_NAME")
    file: AnyPath | None = Field(
        alias="from",
        description="what a bundle's on_device.py wrote; null: this machine, or the cluster's node, is measured",
    )
    fresh: bool = Field(description="whether to forget what was measured before")
    ray: MeasuringNode
    tables_dir: TablesDir


class BundleOptions(CommandOptions, Measurement):
    """Packs what measures the networks of a search space on a device that has no more than Python and a runtime."""

    command, config = "latency_luts.bundle", "bundle"

    space: Space
    device: NewTable
    runtime: Literal["onnxruntime", "litert"] = Field(
        description="that the device has; litert: also of an Android phone, without Python, by adb"
    )
    dtype: Literal["fp32", "fp16", "int8"] = Field(
        description="of its weights; int8: static quantization, weights per channel; fp16: of litert only"
    )
    out: AnyPath | None = Field(description="the bundle; null: <device>.zip in the current directory")


class ValidateOptions(CommandOptions, MeasurementHere):
    """Times random networks, and those of the zoo, and says how wrong a table of this machine is about them."""

    command, config = "latency_luts.validate", "validate"

    device: Text = Field(description="a table of this machine")
    model: Literal["table", "interpolated"] = Field(
        description="table: units that the table lacks are measured; interpolated: they are interpolated"
    )
    nets: int = Field(ge=10, le=10_000, description="networks to time; more are slower and say more")
    spaces: Annotated[tuple[str, ...], Several(lambda: RANDOM_FROM)] = Field(
        description="where random networks come from, besides the zoo"
    )
    widths: Annotated[tuple[float, ...], Numbers(above=0, high=4)] = Field(description="their base widths, in turn")
    resolution_px: int = Field(ge=32, le=1024, description="height and width of their images")
    bursts: int = Field(
        ge=4, le=10_000, description="bursts of runs of each network in each of 10 turns; fewer are faster and noisier"
    )
    rng_seed: int = Field(ge=0, le=10**9, description="of the random networks")
    tables_dir: TablesDir


class CalibrateOptions(CommandOptions):
    """Fits a table to latencies of whole networks, where a device cannot be measured unit by unit."""

    command, config = "latency_luts.calibrate", "calibrate"

    device: NewTable
    latencies: AnyPath | None = Field(
        description="CSV of network, resolution_px, <device>_ms, source_set; null: what the zoo knows as published"
    )
    reference: Text | None = Field(
        description="the source_set that the table predicts; null: the MobileNetV3 paper's table 3, else the largest"
    )
    prior: Text | None = Field(
        description="what such devices are like: tflite_fp32, tflite_int8, ncnn; auto: the best, of 5 networks or more"
    )
    correct: Text | None = Field(
        description="a measured or imported table, whose units stay: only its scale and offset are fitted; null: none"
    )
    force: bool = Field(
        description="whether to save the table also if it is more than 30 % off on networks left out of the fit"
    )
    tables_dir: TablesDir


class ImportOptions(CommandOptions):
    """Makes a table of latencies that others measured, in the format of ProxylessNAS and Once-for-All."""

    command, config = "latency_luts.import_table", "import_table"

    device: NewTable
    path: AnyPath = Field(description="a file in the format of ProxylessNAS and Once-for-All")
    cpu: Text | None = Field(description="what was measured, for the table's description; null: the device")
    tables_dir: TablesDir


class ShowOptions(CommandOptions):
    """Prints what is in a table, where it is from and how wrong it is, and draws a map of its latencies."""

    command, config = "latency_luts.show", "lut_show"

    device: Text = Field(description="a table's name or file")
    out: AnyPath | None = Field(description="the picture; null: <device>.heatmap.png in the current directory")
    tables_dir: TablesDir


class DevicesOptions(Options):
    """Lists the devices that have a table."""

    tables_dir: TablesDir = None


class CompareOptions(Options):
    """Options:"""

    tables_dir: TablesDir = None
