"""Augmentation: crops, colours, what is erased and what is mixed, against what their papers say."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from nas.training import rand_augment
from nas.training.augment import Augmentation, AugmentOptions
from nas.training.crops import augmented, erased, random_crop, resized
from nas.training.datasets import Preprocessing
from nas.training.mixing import mixed

MEAN = (100, 120, 140)


class OnePicture:
    """The same picture at each place, read-only as Pillow gives them."""

    labels = np.zeros(1, np.int64)

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture
        self.picture.flags.writeable = False

    def __len__(self) -> int:
        return 1

    def read(self, place: int, px: int) -> np.ndarray:
        return self.picture

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        square = np.full((rule.resolution_px, rule.resolution_px, self.picture.shape[2]), 7, np.uint8)
        square.flags.writeable = False
        return square

    def name(self, place: int) -> str:
        return "a.jpg"


def plane(height: int, width: int) -> np.ndarray:
    """A picture that says where one is in it: red grows to the right and green to the bottom, from 0 to 255."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)
    grid = np.stack([*np.meshgrid(across, down), np.full((height, width), 140)], 2)
    return np.rint(grid).astype(np.uint8)


def rule(px: int = 32) -> Preprocessing:
    mean = tuple(value / 255 for value in MEAN)
    return Preprocessing(
        mode="RGB",
        resize="shorter_side",
        filter="bicubic",
        resolution_px=px,
        resize_px=px,
        divide_by=255,
        mean=mean,
        std=(0.2,) * 3,
    )


def one(picture: np.ndarray, rng_seed: int, **augmentation) -> np.ndarray:
    given = Augmentation(**{"flip": False, **augmentation})
    return augmented(OnePicture(picture), 0, rule(), given, np.random.default_rng(rng_seed))


# ---- values


def test_options_are_the_values_of_an_augmentation():
    assert AugmentOptions.model_fields.keys() == {field.name for field in dataclasses.fields(Augmentation)}
    mine = Augmentation(crop_area=0.25, randaugment=2, cutmix=1.0)
    assert AugmentOptions(**dataclasses.asdict(mine)).made() == mine
    with pytest.raises(ValueError, match="crop_area"):
        AugmentOptions(**{**dataclasses.asdict(mine), "crop_area": 0})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop_area": 0.0}, "augmentation.crop_area=0.0: allowed are 0.001 to 1"),
        ({"crop_aspect": 0.5}, "augmentation.crop_aspect=0.5: allowed are 1 to 10"),
        ({"erasing": math.nan}, "augmentation.erasing=nan: allowed are 0 to 1"),
        ({"magnitude": 11}, "augmentation.magnitude=11: allowed are 0 to 10"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Augmentation(**wrong)


def test_an_augmentation_says_what_it_does():
    assert Augmentation().describe() == "mirrored"
    assert Augmentation(flip=False).describe() == "none"
    full = Augmentation(crop_area=0.25, colour=0.4, randaugment=2, magnitude=7, erasing=0.25, mixup=0.2, cutmix=1)
    assert full.describe() == (
        "crops of 25 to 100 % of the area, mirrored, colours times 0.6 to 1.4, RandAugment(2, 7), 25 % with a part "
        "erased, mixup(0.2) or cutmix(1)"
    )


# ---- crops


def test_crops_have_the_areas_aspects_and_places_that_were_asked_for():
    rng, picture = np.random.default_rng(0), plane(200, 300)
    part = OnePicture(picture)
    given = Augmentation(crop_area=0.2, crop_aspect=1.5)
    areas, aspects, places = [], [], []
    for _ in range(1500):
        square = random_crop(part, 0, 64, given, rng).astype(float) / 255
        size = np.array([square[55, 32, 1] - square[8, 32, 1], square[32, 55, 0] - square[32, 8, 0]]) / 47 * 64
        areas.append(size.prod())
        aspects.append(math.log(size[1] / size[0] * 1.5))
        if size.max() < 0.8:
            places.append((square[32, 32, 1::-1] - size / 2) / (1 - size))
    assert min(areas) == pytest.approx(0.2, abs=0.02)
    assert np.quantile(areas, 0.25) == pytest.approx(0.35, abs=0.05)  # large ones fit less often
    assert np.mean(areas) < 0.6
    assert max(np.abs(aspects)) == pytest.approx(math.log(1.5), abs=0.04)
    assert 0 < np.mean(aspects) < 0.1  # wide ones fit more often into what is wide
    for along in np.transpose(places):
        assert np.quantile(along, (0.1, 0.5, 0.9)) == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


def test_areas_are_drawn_evenly_where_all_fit():
    rng, part = np.random.default_rng(0), OnePicture(plane(200, 200))
    given = Augmentation(crop_area=0.1, crop_aspect=1.0)
    shares = []
    for _ in range(600):
        square = random_crop(part, 0, 64, given, rng).astype(float)
        shares.append(((square[32, 55, 0] - square[32, 8, 0]) / 47 * 64 / 255) ** 2)
    assert np.quantile(shares, (0.25, 0.5, 0.75)) == pytest.approx([0.325, 0.55, 0.775], abs=0.05)


@pytest.mark.parametrize(("shape", "seen"), [((12, 400), 16 / 400), ((400, 12), 16 / 400), ((1, 1), 0), ((3, 2), 1)])
def test_pictures_in_which_nothing_fits_give_the_largest_that_may_be(shape, seen):
    part = OnePicture(plane(*shape))
    square = random_crop(part, 0, 16, Augmentation(crop_area=0.9), np.random.default_rng(0))
    assert square.shape == (16, 16, 3)
    along = square[..., 1 if shape[0] > shape[1] else 0]
    assert np.ptp(along.astype(int)) / 255 == pytest.approx(seen, abs=0.02)


def test_without_crops_a_picture_is_seen_as_in_an_evaluation():
    assert (one(plane(40, 60), 0) == 7).all()
    assert (one(plane(40, 60), 0, flip=True, erasing=1.0) == 7).any()


@pytest.mark.parametrize(("shape", "px"), [((100, 80, 3), 32), ((20, 30, 3), 64), ((50, 50, 1), 20)])
def test_pictures_are_resized_as_by_pillow(shape, px):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    theirs = Image.fromarray(picture[..., 0] if shape[2] == 1 else picture).resize((px, px), Image.Resampling.BICUBIC)
    ours = resized(picture[: shape[0]], px).astype(int)
    assert np.abs(ours - np.asarray(theirs).reshape(px, px, shape[2])).max() <= 1


# ---- mirrored, colours, erased


def test_half_of_the_pictures_are_mirrored():
    squares = [one(plane(40, 40), seed, flip=True, crop_area=0.9) for seed in range(300)]
    mirrored = sum(int(square[16, 2, 0]) > int(square[16, 29, 0]) for square in squares)
    assert 120 <= mirrored <= 180


def coloured(picture: np.ndarray, rng_seed: int) -> np.ndarray:
    return rand_augment.changed(picture, Augmentation(colour=0.4), MEAN, np.random.default_rng(rng_seed))


def test_colours_are_multiplied():
    grey = np.full((8, 8, 3), 100, np.uint8)
    seen = [
        rand_augment.changed(grey, Augmentation(colour=0.4), MEAN, np.random.default_rng(seed)) for seed in range(300)
    ]
    values = [int(square[0, 0, 0]) for square in seen]  # of a grey picture: only brightness, since contrast keeps it
    assert (min(values), max(values)) == (pytest.approx(60, abs=2), pytest.approx(140, abs=2))
    assert np.mean(values) == pytest.approx(100, abs=4)
    red = np.full((8, 8, 3), (200, 100, 100), np.uint8)
    spans = [np.ptp(coloured(red, seed)[0, 0].astype(int)) for seed in range(100)]
    assert min(spans) < 50 < 150 < max(spans)


def test_grey_pictures_are_changed_too():
    grey = np.full((8, 8, 1), 100, np.uint8)
    for seed in range(60):
        square = rand_augment.changed(
            grey, Augmentation(colour=0.3, randaugment=2, magnitude=9), (100,), np.random.default_rng(seed)
        )
        assert (square.shape, square.dtype) == ((8, 8, 1), np.uint8)


def operated(name: str, picture: np.ndarray, strength: float) -> np.ndarray:
    return np.asarray(rand_augment.OPERATIONS[name](Image.fromarray(picture), strength, MEAN))


@pytest.mark.parametrize(
    ("name", "where", "moved"),
    [
        ("translate_x", (0.5, 0.5), (0.5 + 150 / 331, 0.5)),
        ("translate_y", (0.5, 0.5), (0.5, 0.5 + 150 / 331)),
        ("shear_x", (0.5, 0.75), (0.5 + 0.3 * 0.25, 0.75)),
        ("shear_y", (0.75, 0.5), (0.75, 0.5 + 0.3 * 0.25)),
        ("rotate", (0.75, 0.5), (0.5 + 0.25 * math.cos(math.pi / 6), 0.5 + 0.25 * 0.5)),
    ],
)
def test_shapes_change_as_far_as_they_should(name, where, moved):
    picture = plane(100, 100)
    at_full = operated(name, picture, 1.0).astype(float)
    x, y = (int(100 * share) for share in where)
    assert at_full[y, x, :2] / 255 == pytest.approx(np.array(moved), abs=0.011)
    at_none = operated(name, picture, 0.0)
    assert (at_none == picture).all()
    corner = operated(name, picture, -1.0)
    assert (corner == MEAN).all(2).any()  # what comes in


@pytest.mark.parametrize(
    ("name", "strength", "values"),
    [
        ("brightness", 0.5, (159, 159, 159)),
        ("brightness", -1.0, (11, 11, 11)),
        ("solarize", 1.0, (145, 145, 145)),
        ("solarize", 0.5, (110, 110, 110)),
        ("posterize", 1.0, (96, 96, 96)),
        ("posterize", 0.0, (110, 110, 110)),
        ("identity", 1.0, (110, 110, 110)),
        ("colour", 1.0, (110, 110, 110)),
    ],
)
def test_colours_change_as_far_as_they_should(name, strength, values):
    grey = np.full((8, 8, 3), 110, np.uint8)
    assert operated(name, grey, strength)[4, 4].tolist() == pytest.approx(values, abs=1)


def test_each_operation_of_randaugment_is_as_likely(monkeypatch):
    used = []

    def counting(name):
        return lambda image, strength, colour: used.append((name, strength)) or image

    names = list(rand_augment.OPERATIONS)
    monkeypatch.setattr(rand_augment, "OPERATIONS", {name: counting(name) for name in names})
    for seed in range(700):
        given = Augmentation(randaugment=2, magnitude=6)
        rand_augment.changed(plane(8, 8), given, MEAN, np.random.default_rng(seed))
    counts = Counter(name for name, _ in used)
    assert (len(names), counts.total(), set(counts)) == (14, 1400, set(names))
    assert min(counts.values()) >= 70
    assert max(counts.values()) <= 135
    assert {strength for _, strength in used} == {0.6, -0.6}


def test_rectangles_of_the_mean_colour_are_erased():
    white = np.full((32, 32, 3), 255, np.uint8)
    squares = [erased(white, MEAN, np.random.default_rng(seed)) for seed in range(400)]
    holes = [(square == MEAN).all(2) for square in squares]
    shares = [hole.mean() for hole in holes]
    assert (white == 255).all()  # not overwritten
    assert min(shares) > 0.01
    assert max(shares) <= 0.36
    assert np.mean(shares) == pytest.approx(0.17, abs=0.02)
    for hole in holes:
        rows, columns = hole.any(1), hole.any(0)
        assert hole.sum() == rows.sum() * columns.sum()
    covered = np.mean(holes, 0)
    assert covered[16, 16] > 3 * covered[0, 0] > 0
    assert covered == pytest.approx(covered[::-1, ::-1], abs=0.1)  # anywhere


def test_the_share_of_erased_pictures_is_what_was_asked_for():
    holes = [(one(plane(40, 40), seed, erasing=0.25) == MEAN).all(2).any() for seed in range(400)]
    assert 75 <= sum(holes) <= 125
    assert not any((one(plane(40, 40), seed) == MEAN).all(2).any() for seed in range(50))


def test_everything_at_once_is_the_same_for_the_same_generator():
    given = {"flip": True, "crop_area": 0.2, "colour": 0.4, "randaugment": 2, "erasing": 0.5}
    first, again = ([one(plane(50, 40), seed, **given) for seed in range(20)] for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert len({square.tobytes() for square in first}) == 20


# ---- mixed


def batch(n: int = 6, px: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that are their number everywhere."""
    return torch.arange(n).float().view(n, 1, 1, 1).repeat(1, 2, px, px), torch.arange(n)


def mix(rng_seed: int, n: int = 6, **augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    return mixed(*batch(n), n + 2, Augmentation(**augmentation), np.random.default_rng(rng_seed))


@pytest.mark.parametrize("given", [{"mixup": 0.3}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_labels_are_the_shares_of_the_images_in_each(given):
    for seed in range(50):
        x, y = mix(seed, **given)
        assert (y.shape, y.dtype) == ((6, 8), torch.float32)
        assert y.sum(1).tolist() == pytest.approx([1.0] * 6)
        assert y[:, 6:].sum() == 0
        seen = x.mean((1, 2, 3))
        assert seen.tolist() == pytest.approx((y[:, :6] @ torch.arange(6.0)).tolist(), abs=1e-4)
        assert ((y > 0).sum(1) <= 2).all()


def test_cutmix_pastes_one_rectangle_and_mixup_blends():
    for seed in range(50):
        x, y = mix(seed, cutmix=1.0)
        pasted = x[3, 0] == 2
        assert ((x[3] == 3) | (x[3] == 2)).all()
        assert pasted.sum() == pasted.any(0).sum() * pasted.any(1).sum()
        assert y[3, 2].item() == pytest.approx(pasted.float().mean().item(), abs=1e-6)
        x, _ = mix(seed, mixup=0.4)
        assert np.ptp(x[3].numpy()) == 0


def test_shares_follow_the_beta_distribution():
    shares = np.array([mix(seed, mixup=0.4)[1][0, 0].item() for seed in range(1000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.02)
    areas = np.array([mix(seed, cutmix=1.0)[1][0, 0].item() for seed in range(400)])
    assert areas.min() < 0.25
    assert areas.max() > 0.95
    assert areas.mean() == pytest.approx(1 - (1 / 2 - 1 / 5 + 1 / 48), abs=0.03)  # what is pasted is cut off at borders


def test_with_both_each_is_as_likely():
    blends = sum(bool(np.ptp(mix(seed, mixup=1.0, cutmix=1.0)[0][3].numpy()) == 0) for seed in range(300))
    assert 110 <= blends <= 200  # a paste of nothing, or of all, looks like a blend


def test_a_batch_of_one_image_stays_as_it_is():
    x, y = mix(0, n=1, mixup=1.0)
    assert torch.equal(x, batch(1)[0])
    assert y.tolist() == [[1, 0, 0]]
