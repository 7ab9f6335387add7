"""The kinds of blocks: each is frozen data that checks its values and knows its operators."""

from search_spaces.blocks.branches import BLOCKS, Block, Branches
from search_spaces.blocks.families import Bottleneck, MixedMBConv, PartialMBConv, ShuffleUnit, ShuffleUnitV2
from search_spaces.blocks.heads import Classifier, ConvClassifier, DenseClassifier
from search_spaces.blocks.layers import Flat, GlobalAverage, PlainConv, Pooling, Resample
from search_spaces.blocks.mobile import ConvBN, MBConv, SepConv

__all__ = [
    "BLOCKS",
    "Block",
    "Bottleneck",
    "Branches",
    "Classifier",
    "ConvBN",
    "ConvClassifier",
    "DenseClassifier",
    "Flat",
    "GlobalAverage",
    "MBConv",
    "MixedMBConv",
    "PartialMBConv",
    "PlainConv",
    "Pooling",
    "Resample",
    "SepConv",
    "ShuffleUnit",
    "ShuffleUnitV2",
]
