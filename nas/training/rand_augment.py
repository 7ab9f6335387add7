"""Changes of colour and shape: colour jitter, and RandAugment (Cubuk et al., 2019, arXiv:1909.13719), by Pillow.

RandAugment's operations and their ranges are those that torchvision took from AutoAugment, so that a larger magnitude
never changes a picture less; there a magnitude of 10 is 30.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.training.augment import Augmentation

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["OPERATIONS", "changed", "jittered"]

Colour = Sequence[int]
Operation = Callable[["Image", float, Colour], "Image"]
"""Of an image, a strength from -1 to 1, and the colour of what comes in from outside."""


def changed(square: np.ndarray, augmentation: Augmentation, colour: Colour, rng: np.random.Generator) -> np.ndarray:
    """`square` (H, W, C) uint8, C 1 or 3, with other colours and, by RandAugment, also turned, sheared or moved.

    Args:
        colour: of what comes in from outside.
    """
    from PIL import Image

    image = Image.fromarray(square[..., 0] if square.shape[2] == 1 else square)
    if augmentation.colour:
        image = jittered(image, augmentation.colour, rng)
    for name in rng.choice(list(OPERATIONS), augmentation.randaugment):
        sign = 1 if rng.random() < 0.5 else -1
        image = OPERATIONS[str(name)](image, sign * augmentation.magnitude / 10, colour)
    return np.asarray(image).reshape(square.shape)


def jittered(image: "Image", most: float, rng: np.random.Generator) -> "Image":
    """Brightness, contrast and saturation times factors between 1 - `most` and 1 + `most`, in random order."""
    from PIL import ImageEnhance

    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = rng.uniform(1 - most, 1 + most, len(kinds)).tolist()
    for i in rng.permutation(len(kinds)).tolist():
        image = kinds[i](image).enhance(factors[i])
    return image


def _moved(image: "Image", matrix: tuple[float, ...], colour: Colour) -> "Image":
    """What is at `matrix` times a point, both from the middle of the image, is moved to that point."""
    from PIL import Image

    a, b, c, d, e, f = matrix
    x, y = image.width / 2, image.height / 2
    about_the_middle = (a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y)
    fill = tuple(colour) if len(colour) > 1 else colour[0]
    return image.transform(
        image.size, Image.Transform.AFFINE, about_the_middle, Image.Resampling.BILINEAR, fillcolor=fill
    )


def _enhanced(kind: str, image: "Image", strength: float) -> "Image":
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(image).enhance(1 + 0.9 * strength)


def _turned(image: "Image", strength: float, colour: Colour) -> "Image":
    cos, sin = np.cos(np.pi / 6 * strength), np.sin(np.pi / 6 * strength)
    return _moved(image, (cos, -sin, 0, sin, cos, 0), colour)


def _of_ops(name: str, *values: float) -> Callable[["Image"], "Image"]:
    def call(image: "Image") -> "Image":
        from PIL import ImageOps

        return getattr(ImageOps, name)(image, *values)

    return call


OPERATIONS: Mapping[str, Operation] = {
    "identity": lambda image, strength, colour: image,
    "shear_x": lambda image, strength, colour: _moved(image, (1, 0.3 * strength, 0, 0, 1, 0), colour),
    "shear_y": lambda image, strength, colour: _moved(image, (1, 0, 0, 0.3 * strength, 1, 0), colour),
    "translate_x": lambda image, strength, colour: _moved(
        image, (1, 0, 150 / 331 * image.width * strength, 0, 1, 0), colour
    ),
    "translate_y": lambda image, strength, colour: _moved(
        image, (1, 0, 0, 0, 1, 150 / 331 * image.height * strength), colour
    ),
    "rotate": _turned,
    "brightness": lambda image, strength, colour: _enhanced("Brightness", image, strength),
    "colour": lambda image, strength, colour: _enhanced("Color", image, strength),
    "contrast": lambda image, strength, colour: _enhanced("Contrast", image, strength),
    "sharpness": lambda image, strength, colour: _enhanced("Sharpness", image, strength),
    "posterize": lambda image, strength, colour: _of_ops("posterize", 8 - round(4 * abs(strength)))(image),
    "solarize": lambda image, strength, colour: _of_ops("solarize", round(255 * (1 - abs(strength))))(image),
    "autocontrast": lambda image, strength, colour: _of_ops("autocontrast")(image),
    "equalize": lambda image, strength, colour: _of_ops("equalize")(image),
}
"""By name. At full strength: shears by 0.3, shifts by 45 % of the side, turns by 30 degrees, factors of 0.1 or 1.9, 4
bits left, all values inverted; identity, autocontrast and equalize know no strength."""
