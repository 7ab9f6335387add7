"""`Arch`: a network as a frozen, hashable value, made of blocks (`search_spaces.blocks`).

Channel counts are explicit (``in_ch``, ``mid_ch``, ``out_ch``, ``se_ch``), never ratios, so that a
narrowed network is just another `Arch`. A block knows the operators it is made of (`Block.ops`) and
nothing about shapes, tensors or files.
"""

from dataclasses import dataclass, field
from typing import Any

from nas_runtime.console import brief
from search_spaces.blocks import BLOCKS, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.blocks.fields import MAX_SIZE_PX, SKIPS, check_text
from search_spaces.ops import PADDINGS

__all__ = [
    "BLOCKS",
    "MAX_BLOCKS",
    "SKIPS",
    "Arch",
    "Block",
    "Classifier",
    "ConvBN",
    "MBConv",
    "Mobile",
    "SepConv",
    "check_resolution",
]

MAX_BLOCKS = 10_000

Mobile = ConvBN | SepConv | MBConv  # what search spaces are made of, and NetAdapt narrows


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A whole network: blocks in order, and the resolution it is run at.

    Two networks are equal if they compute the same thing: the name takes no part in comparison.

    Up to 10,000 blocks, 1,000,000 channels and 65,536 px: what is larger is a mistake, and would be found out when the
    memory is full.

    Attributes:
        norm_eps: what batch norm adds to every variance. torch's default stands for all networks here, which are
            trained with it. Weights of others may need another, see `foreign_weights`.
        norm_momentum: the weight of an update's statistics in batch norm's running ones. Of trainings alone, so it
            takes no part in comparison.
        padding: where convolutions with a stride have their zeros: ``symmetric``, as torch has them; ``tensorflow``,
            the odd row below and the odd column at the right, as weights from there need them.

    Raises:
        ValueError: no blocks or too many, a resolution that is no whole number of at least 1, blocks whose channels do
            not fit together, a name that is no text on one line, an epsilon or a momentum that is no number between 0
            and 1, or a padding that is not known.
    """

    name: str = field(compare=False)
    resolution_px: int
    blocks: tuple[Block, ...]
    norm_eps: float = 1e-5
    norm_momentum: float = field(default=0.1, compare=False)
    padding: str = "symmetric"

    def __post_init__(self) -> None:
        check_text(self.name, "a network's name")
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not 0 < len(self.blocks) <= MAX_BLOCKS:
            count = len(self.blocks) or "no"
            raise ValueError(f"network {self.name!r} has {count} blocks; give at least one and at most {MAX_BLOCKS}")
        check_resolution(self.resolution_px, of=f"network {self.name!r}: ")
        for name in ("norm_eps", "norm_momentum"):
            value = getattr(self, name)
            if not isinstance(value, float) or not 0 < value < 1:
                raise ValueError(f"network {self.name!r}: {name} is {value!r}; allowed: 0 < {name} < 1")
        if self.padding not in PADDINGS:
            allowed = ", ".join(PADDINGS)
            raise ValueError(f"network {self.name!r}: padding is {brief(repr(self.padding))}; allowed: {allowed}")
        for i, (before, after) in enumerate(zip(self.blocks, self.blocks[1:], strict=False)):
            if before.out_ch != after.in_ch:
                raise ValueError(
                    f"network {self.name!r}: block {i} has out_ch {before.out_ch} but block {i + 1} "
                    f"has in_ch {after.in_ch}; they must be equal"
                )

    @property
    def in_ch(self) -> int:
        """Channels of the input image."""
        return self.blocks[0].in_ch

    @property
    def classes(self) -> int:
        """Outputs of the last block."""
        return self.blocks[-1].out_ch


def check_resolution(resolution_px: Any, *, of: str = "") -> None:
    """Refuses what is not the height and width of a square image.

    Args:
        of: what stands before the name in the message.
    """
    if type(resolution_px) is not int or not 1 <= resolution_px <= MAX_SIZE_PX:
        raise ValueError(
            f"{of}resolution_px is {resolution_px!r}; it must be at least 1 and at most {MAX_SIZE_PX}, "
            "one whole number: images are square"
        )
