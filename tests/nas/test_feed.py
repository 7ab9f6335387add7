"""Batches of pictures: the same whoever makes them, each picture once an epoch."""

import numpy as np
import pytest
import torch
from torch import nn

from nas.training import on_gpu
from nas.training.augment import Augmentation
from nas.training.datasets import Split, make
from nas.training.feed import Feed, count_correct
from nas.training.pictures import PictureSet, of_arrays
from nas.training.train import normalise

ALL = Augmentation(crop_area=0.3, mixup=0.2, cutmix=1.0)


def numbered(n: int = 50) -> PictureSet:
    """Pictures of 8 px that are each of one grey, their place in train; labels are places modulo 3."""

    def split(n: int) -> Split:
        images = np.full((n, 8, 8, 1), np.arange(n)[:, None, None, None], np.uint8)
        return Split(images, np.arange(n, dtype=np.int64) % 3)

    return of_arrays(make("numbered", train=split(n), holdout=split(7), test=split(5), classes=3), "numbered")


def fed(data: PictureSet, augmentation: Augmentation | None = None, **other) -> Feed:
    given = {"batch": 16, "micro_batch": 16, "rng_seed": 0, "workers": 0, "device": "cpu", **other}
    return Feed(data.train, data, augmentation or Augmentation(), **given)


def places(data: PictureSet, x: torch.Tensor) -> list[int]:
    """Which of the `numbered` pictures these are, seen whole."""
    (mean,), (std,) = data.mean, data.std
    return ((x * std + mean)[:, 0, 0, 0] * 255).round().int().tolist()


def test_an_epoch_has_each_picture_once_but_for_the_last_incomplete_batch():
    data = numbered()
    seen = [places(data, x) for ((x, _),) in fed(data).epoch(0)]
    assert [len(some) for some in seen] == [16, 16, 16]
    assert len({place for some in seen for place in some}) == 48
    again = [places(data, x) for ((x, _),) in fed(data).epoch(0)]
    others = [places(data, x) for feeds in (fed(data).epoch(1), fed(data, rng_seed=1).epoch(0)) for ((x, _),) in feeds]
    assert again == seen
    assert all(other not in seen for other in others)


def test_labels_are_those_of_the_pictures():
    data = numbered()
    for ((x, y),) in fed(data).epoch(0):
        assert y.tolist() == [place % 3 for place in places(data, x)]
        assert (x.dtype, x.shape, y.dtype) == (torch.float32, (16, 1, 8, 8), torch.int64)


def test_fewer_pictures_than_a_batch_are_one_update():
    feed = fed(numbered(), batch=64)
    assert feed.updates == 1
    (update,) = feed.epoch(0)
    assert [len(x) for x, _ in update] == [13, 13, 12, 12]  # as even as possible


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_micro_batches_of_each_update(ranks):
    whole = list(fed(numbered(), ALL, micro_batch=4).epoch(3))
    parts = [list(fed(numbered(), ALL, micro_batch=4, rank=rank, ranks=ranks).epoch(3)) for rank in range(ranks)]
    for update, all_of_it in enumerate(whole):
        for i, (x, y) in enumerate(all_of_it):
            own_x, own_y = parts[i % ranks][update][i // ranks]
            assert torch.equal(own_x, x)
            assert torch.equal(own_y, y)


def test_an_epoch_is_resumed_at_any_update():
    whole = [update for number in (2, 3) for update in fed(numbered(), ALL).epoch(number)]
    feed = fed(numbered(), ALL)
    resumed = [*feed.epoch(2, first=1), *feed.epoch(3)]
    for ((x, y),), ((x2, y2),) in zip(whole[1:], resumed, strict=True):
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)


@pytest.mark.parametrize(("allowed", "asked", "mirrored"), [(True, True, 24), (True, False, 0), (False, True, 0)])
def test_half_of_the_pictures_are_mirrored_where_the_data_allows_it(allowed, asked, mirrored):
    ramp = np.tile(np.arange(8, dtype=np.uint8) * 20, (48, 8, 1))[..., None]
    split = Split(ramp, np.arange(48, dtype=np.int64) % 2)
    other = Split(ramp + np.arange(48, dtype=np.uint8)[:, None, None, None], split.labels)
    data = of_arrays(make("ramp", train=other, holdout=split, test=split, classes=2, flip=allowed), "ramp")
    ((x, _),) = next(fed(data, Augmentation(flip=asked), batch=48, micro_batch=48).epoch(0))
    assert abs(int((x[:, 0, 0, 0] > x[:, 0, 0, 7]).sum()) - mirrored) <= (10 if mirrored else 0)


class Third(nn.Module):
    """Says 0, 1, 2 of three greys that `numbered` has, whatever the mode."""

    def __init__(self, data: PictureSet) -> None:
        super().__init__()
        self.data = data

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return nn.functional.one_hot(torch.tensor(places(self.data, x)) % 3, 3).float()


def test_an_evaluation_counts_over_all_ranks():
    data = numbered()
    net = Third(data).train()
    assert count_correct(net, data.holdout, data, device="cpu", workers=0) == (7, 7)
    counts = [count_correct(net, data.holdout, data, device="cpu", workers=0, rank=rank, ranks=3) for rank in range(3)]
    assert counts == [(3, 3), (2, 2), (2, 2)]


def test_an_evaluation_shows_what_programs_show():
    data = numbered()
    seen = []
    net = nn.Module()
    net.forward = lambda x: seen.append(x) or torch.zeros(len(x), 3)
    count_correct(net, data.test, data, device="cpu", workers=0)
    squares = np.stack([data.test.square(place, data.preprocessing) for place in range(5)])
    assert torch.equal(torch.cat(seen), normalise(torch.from_numpy(squares), data, "cpu"))


def test_an_evaluation_is_in_float32_on_a_gpu_too(monkeypatch):
    """As the delivered files compute, though updates are not; here bfloat16 of the CPU stands for the GPU's."""
    data, seen = numbered(), []
    layer = nn.Linear(64, 3)
    net = nn.Module()
    net.forward = lambda x: seen.append(layer(x.flatten(1))) or seen[-1]
    monkeypatch.setattr(on_gpu, "autocast", lambda device, px: torch.autocast("cpu", dtype=torch.bfloat16))
    count_correct(net, data.test, data, device="cpu", workers=0)
    assert seen[0].dtype == torch.float32
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with on_gpu.exact("cuda"):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert flags == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)


def noisy() -> PictureSet:
    """Pictures that differ everywhere, each of a class of its own."""
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8), np.arange(24, dtype=np.int64))
    return of_arrays(make("noisy", train=split, holdout=split, test=split, classes=24), "noisy")


def test_how_a_picture_is_augmented_depends_on_seed_epoch_and_place_alone():
    data, how = noisy(), Augmentation(crop_area=0.3, colour=0.4, randaugment=1, erasing=0.5)

    def seen(epoch: int, rng_seed: int, **other) -> dict[int, bytes]:
        batches = fed(data, how, rng_seed=rng_seed, **other).epoch(epoch)
        return {
            label: image.numpy().tobytes()
            for update in batches
            for x, y in update
            for image, label in zip(x, y.tolist(), strict=True)
        }

    first = seen(0, 0, batch=12, micro_batch=12)
    assert len(first) == 24
    assert seen(0, 0, batch=4, micro_batch=3) == first
    for other in (seen(1, 0, batch=12), seen(0, 1, batch=12), seen(0, 2**40, batch=12)):
        assert all(other[place] != first[place] for place in range(24))


def test_micro_batches_of_an_update_are_mixed_each_by_itself():
    data, how = noisy(), Augmentation(flip=False, mixup=0.5)
    shares = [y.max(1).values for update in fed(data, how, batch=12, micro_batch=3).epoch(0) for _, y in update]
    assert all(torch.allclose(one, one[0]) for one in shares)  # one share for all that are mixed together
    assert len({round(one[0].item(), 5) for one in shares}) == 8
