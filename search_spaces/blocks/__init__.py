"""Blocks of the families around MobileNet.

Like those of `search_spaces.arch`, each is frozen data that knows its operators.
"""

from search_spaces.blocks.layers import (
    Branches,
    ConvClassifier,
    DenseClassifier,
    Flat,
    GlobalAverage,
    PlainConv,
    Pooling,
    Resample,
)
from search_spaces.blocks.units import Bottleneck, MixedMBConv, PartialMBConv, ShuffleUnit, ShuffleUnitV2

__all__ = [
    "Bottleneck",
    "Branches",
    "ConvClassifier",
    "DenseClassifier",
    "Flat",
    "GlobalAverage",
    "MixedMBConv",
    "PartialMBConv",
    "PlainConv",
    "Pooling",
    "Resample",
    "ShuffleUnit",
    "ShuffleUnitV2",
]
