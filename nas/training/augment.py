"""`Augmentation`: what is done at random to pictures that a network is trained on, as plain values and as options."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from nas_runtime.options import Options

__all__ = ["AugmentOptions", "Augmentation"]

_LIMITS: dict[str, tuple[float, float]] = {
    "crop_area": (1e-3, 1),
    "crop_aspect": (1, 10),
    "colour": (0, 1),
    "randaugment": (0, 20),
    "magnitude": (0, 10),
    "erasing": (0, 1),
    "mixup": (0, 100),
    "cutmix": (0, 100),
}
"""The least and the most that each may be."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done at random to pictures of the training part. The defaults do nothing but mirror.

    Attributes:
        crop_area: the least share of a picture's area that a crop shows, in (0, 1]: it is drawn between this and 1
            (Szegedy et al., 2015, take 0.08). 1: no crop, a picture is seen as in an evaluation.
        crop_aspect: the most that a crop's width is of its height or the reverse, at least 1; drawn evenly on a
            logarithmic scale.
        flip: whether half of the pictures are mirrored, where the data set allows it.
        colour: brightness, contrast and saturation are multiplied by factors between 1 - colour and 1 + colour, each
            drawn by itself, in random order; in [0, 1].
        randaugment: how many operations of RandAugment (Cubuk et al., 2019) are done to a picture.
        magnitude: how strong they are, from 0 to 10.
        erasing: the share of pictures in which a rectangle is erased (Zhong et al., 2017).
        mixup: alpha of the beta distribution of shares in which two pictures are mixed (Zhang et al., 2017); 0: not.
        cutmix: alpha of the beta distribution of the share of a picture's area that another one keeps when it is pasted
            over (Yun et al., 2019); 0: not. With `mixup` too, each batch has one of them, with equal chances.
    """

    crop_area: float = 1.0
    crop_aspect: float = 4 / 3
    flip: bool = True
    colour: float = 0.0
    randaugment: int = 0
    magnitude: float = 9.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"augmentation.{name}={value}: allowed are {least:g} to {most:g}")

    @property
    def mixes(self) -> bool:
        """Whether labels are shares of classes, not classes."""
        return self.mixup > 0 or self.cutmix > 0

    def describe(self) -> str:
        """What it does, in words."""
        either = [f"{name}({alpha:g})" for name in ("mixup", "cutmix") if (alpha := getattr(self, name))]
        said = {
            f"crops of {100 * self.crop_area:g} to 100 % of the area": self.crop_area < 1,
            "mirrored": self.flip,
            f"colours times {1 - self.colour:g} to {1 + self.colour:g}": self.colour,
            f"RandAugment({self.randaugment}, {self.magnitude:g})": self.randaugment,
            f"{100 * self.erasing:g} % with a part erased": self.erasing,
            " or ".join(either): either,
        }
        return ", ".join(words for words, done in said.items() if done) or "none"


def _field(name: str, description: str) -> Any:
    least, most = _LIMITS[name]
    return Field(ge=least, le=most, description=description)


class AugmentOptions(Options):
    """What is done at random to pictures that a network is trained on."""

    crop_area: float = _field(
        "crop_area", "a crop shows at least this share of a picture's area; 1: as an evaluation sees it"
    )
    crop_aspect: float = _field("crop_aspect", "the most that a crop's width is of its height, or the reverse")
    flip: bool = Field(description="whether half of the pictures are mirrored, where the data set allows it")
    colour: float = _field(
        "colour", "brightness, contrast and saturation are multiplied by 1 - this to 1 + this; 0: they are not"
    )
    randaugment: int = _field("randaugment", "operations of RandAugment that are done to a picture")
    magnitude: float = _field("magnitude", "of RandAugment's operations: how strong they are, up to 10")
    erasing: float = _field("erasing", "the share of pictures in which a rectangle is erased")
    mixup: float = _field("mixup", "alpha of the beta distribution of shares in which two pictures are mixed; 0: not")
    cutmix: float = _field(
        "cutmix", "alpha of the beta distribution of the area that stays when a picture is pasted into another; 0: not"
    )

    def made(self) -> Augmentation:
        return Augmentation(**dict(self))
