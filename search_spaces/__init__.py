"""Networks as values, and spaces of them.

>>> from search_spaces import cost, spaces, zoo
>>> cost.madds(zoo.get("mobilenet_v3_small")) // 10**6
56
>>> spaces.names()
('mnasnet', 'mobilenet_v3', 'accel_nasbench')
"""

from typing import TYPE_CHECKING

from nas_runtime.lazy import lazily

if TYPE_CHECKING:
    from search_spaces import (
        blocks,
        cost,
        dense,
        lower,
        onnx_net,
        redesign,
        rewrite,
        spaces,
        text,
        timm_export,
        timm_notation,
        torch_net,
        zoo,
    )
    from search_spaces.arch import Arch, Block
    from search_spaces.space import Choice, Layer, OneOf, SearchSpace, declare

__all__ = [
    "Arch",
    "Block",
    "Choice",
    "Layer",
    "OneOf",
    "SearchSpace",
    "blocks",
    "cost",
    "declare",
    "dense",
    "lower",
    "onnx_net",
    "redesign",
    "rewrite",
    "spaces",
    "text",
    "timm_export",
    "timm_notation",
    "torch_net",
    "zoo",
]

__getattr__ = lazily(
    __name__,
    __all__,
    {"arch": ("Arch", "Block"), "space": ("Choice", "Layer", "OneOf", "SearchSpace", "declare")},
)
