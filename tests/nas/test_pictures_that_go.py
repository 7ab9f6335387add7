"""Full trainings whose pictures, or readers, are gone in the middle: what was learnt is kept, and is of use."""

from dataclasses import dataclass, replace

import pytest
import torch

from nas import networks
from nas.training.checkpoint import CheckpointError, peek
from nas.training.full import FILE
from nas.training.pictures import Pictures
from nas.training.seat import Seat
from nas.training.sources import DataError
from tests.tiny_training import tiny_data, tiny_training


@dataclass(frozen=True)
class Gone:
    """Pictures that from some look on cannot be read."""

    pictures: Pictures
    after: int
    error: Exception
    looks: list

    @property
    def labels(self):
        return self.pictures.labels

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, place: int, px: int):
        return self.pictures.read(place, px)

    def square(self, place: int, rule):
        self.looks.append(place)
        if len(self.looks) > self.after:
            raise self.error
        return self.pictures.square(place, rule)

    def name(self, place: int) -> str:
        return self.pictures.name(place)


@pytest.mark.parametrize("error", [DataError("17.png is gone"), ChildProcessError("a reader is gone")])
@pytest.mark.parametrize(("part", "after", "updates"), [("train", 8 * 16 + 3, 8), ("holdout", 60 + 5, 12)])
def test_what_was_learnt_is_kept(part, after, updates, error, tmp_path):
    """In an epoch, and in the evaluation after it; and it goes on to the same weights."""
    whole, file, data = tiny_training(), tmp_path / "parts", tiny_data()
    whole.run(Seat(file=tmp_path / "whole"))
    broken = replace(data, **{part: Gone(getattr(data, part), after, error, [])})
    with pytest.raises(type(error), match="is gone"):
        tiny_training(data=broken).run(Seat(file=file))
    assert peek(file, whole.identity)[1].updates == updates
    whole.run(Seat(file=file))
    first, second = (peek(path, whole.identity)[0] for path in (tmp_path / "whole", file))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pictures_that_are_others_now(tmp_path):
    """The message says how to go on, and so it does: from the weights, which are the averages, and as normalised."""
    its, data, file = tiny_training(), tiny_data(), tmp_path / FILE
    broken = replace(data, train=Gone(data.train, 100, DataError("17.png is gone"), []))
    with pytest.raises(DataError):
        tiny_training(data=broken).run(Seat(file=file))
    others = replace(data, identity="stripes-2", mean=(0.3,))
    message = f"with other pictures .data=stripes-1, not stripes-2.: have they .* by network={tmp_path} weights=own"
    with pytest.raises(CheckpointError, match=message):
        tiny_training(data=others).run(Seat(file=file))
    found = networks.find(str(tmp_path), weights=networks.OWN)
    assert found.arch == its.arch
    assert (found.mean, found.std, found.new) == (tuple(data.mean), tuple(data.std), ())
    assert found.weights is not None
    kept = peek(file, its.identity)[0]
    same = [torch.equal(value, kept[name]) for name, value in found.weights.items() if "num_batches" not in name]
    assert len(same) > 20
    assert all(same)
    progress = tiny_training(data=others, weights=found.weights).run(Seat(file=tmp_path / "second"))
    assert progress.updates == 18
