"""Trainings at the size at which networks are used: they can be stopped and continued, and what they give."""

import io
import json
import resource
import signal
from dataclasses import replace

import pytest
import torch

from nas.training.checkpoint import CheckpointError, Epoch, peek
from nas.training.full import FILE, Beginning, Place, train_network
from nas.training.seat import Seat, Updates
from nas.training.session import FullTraining
from nas.training.teacher import Teacher
from nas_runtime.console import new_console
from nas_runtime.run import Run
from search_spaces import rewrite, torch_net
from tests.commands.test_commands import command
from tests.tiny_training import RECIPE, tiny_arch, tiny_data, tiny_training


@pytest.fixture(scope="module")
def arch():
    return tiny_arch()


@pytest.fixture(scope="module")
def data():
    return tiny_data()


def trained(arch, data, recipe, folder, **how):
    folder.mkdir(exist_ok=True)
    given = {"place": Place(), "rng_seed": 0, "console": new_console(file=io.StringIO()), **how}
    return train_network(arch, data, recipe, run=Run(folder), **given)


def flat(net) -> torch.Tensor:
    return torch.cat([value.detach().flatten().double() for value in net.state_dict().values()])


def weights_in(file, its: FullTraining) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in peek(file, its.identity)[0].values()])


class StopError(Exception):
    pass


def stopped_after(epoch: float):
    def say(news):
        if isinstance(news, Epoch) and news.epoch >= epoch:
            raise StopError

    return say


def test_a_training_learns_and_is_not_done_twice(arch, data, tmp_path):
    done = trained(arch, data, replace(RECIPE, epochs=8), tmp_path / "run")
    assert done.holdout_top1 > 0.6  # one third by chance
    assert done.test_top1 > 0.6
    assert [epoch.epoch for epoch in done.epochs] == list(range(1, 9))
    assert done.epochs[-1].loss < done.epochs[0].loss
    assert done.epochs[-1].holdout_top1 == done.holdout_top1
    again = trained(arch, data, replace(RECIPE, epochs=8), tmp_path / "run")
    assert torch.equal(flat(again.net), flat(done.net))
    assert again.seconds == done.seconds


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_what_is_stopped_goes_on_to_the_same_weights(optimizer, tmp_path):
    its = tiny_training(replace(RECIPE, optimizer=optimizer, micro_batch=8))
    whole = its.run(Seat(file=tmp_path / "whole"))
    for epoch in (1, 2):
        with pytest.raises(StopError):
            its.run(Seat(file=tmp_path / "parts", say=stopped_after(epoch)))
    parts = its.run(Seat(file=tmp_path / "parts"))
    assert torch.equal(weights_in(tmp_path / "whole", its), weights_in(tmp_path / "parts", its))
    assert [(e.epoch, e.loss, e.holdout_top1) for e in whole.epochs] == [
        (e.epoch, e.loss, e.holdout_top1) for e in parts.epochs
    ]
    assert whole.test_top1 == parts.test_top1


def test_an_interrupt_within_an_epoch_keeps_what_was_learnt(tmp_path, monkeypatch):
    its = tiny_training()
    its.run(Seat(file=tmp_path / "whole"))
    calls = []
    update = torch.optim.AdamW.step

    def interrupted(self, *given):
        calls.append(1)
        if len(calls) == 9:  # of 18, in the middle of an update
            signal.raise_signal(signal.SIGINT)
        return update(self, *given)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            its.run(Seat(file=tmp_path / "parts"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert peek(tmp_path / "parts", its.identity)[1].updates == 9
    its.run(Seat(file=tmp_path / "parts"))
    assert torch.equal(weights_in(tmp_path / "whole", its), weights_in(tmp_path / "parts", its))


@pytest.mark.parametrize("updates", [6, 18])
def test_an_interrupt_between_an_epoch_and_its_evaluation(updates, tmp_path):
    """The evaluation is made up for, also after the last epoch."""

    def say(news):
        if isinstance(news, Updates) and news.done == updates:
            raise KeyboardInterrupt

    its = tiny_training()
    whole = its.run(Seat(file=tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        its.run(Seat(file=tmp_path / "parts", say=say))
    assert len(peek(tmp_path / "parts", its.identity)[1].epochs) == updates // 6 - 1
    parts = its.run(Seat(file=tmp_path / "parts"))
    rows = [[(e.epoch, e.loss, e.lr, e.holdout_top1) for e in progress.epochs] for progress in (whole, parts)]
    assert rows[0] == rows[1]


def test_steps_may_end_within_an_epoch(tmp_path):
    its = tiny_training(replace(RECIPE, steps=8))
    progress = its.run(Seat(file=tmp_path / "x"))
    assert progress.updates == 8
    assert [epoch.epoch for epoch in progress.epochs] == [1, 8 / 6]
    assert progress.images == 8 * 16


def test_a_checkpoint_belongs_to_one_training(data, tmp_path):
    file = tmp_path / FILE
    its = tiny_training(replace(RECIPE, epochs=1))
    its.run(Seat(file=file))
    with pytest.raises(CheckpointError, match=r"holds a training with recipe.lr=0.02, not 0.01; use another run_dir"):
        tiny_training(replace(RECIPE, epochs=1, lr=0.01)).run(Seat(file=file))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged .* remove it and train again"):
        its.run(Seat(file=file))


def test_what_a_training_depends_on(arch, data):
    weights = torch_net.build(arch, generator=torch.Generator().manual_seed(5)).state_dict()
    teacher = Teacher(arch=arch, weights=weights)
    wider = replace(arch, norm_eps=2 * arch.norm_eps)
    teachers = [teacher, replace(teacher, mean=(0.2,)), replace(teacher, std=(0.7,)), replace(teacher, arch=wider)]
    its = [
        tiny_training(),
        tiny_training(data=replace(data, crop=0.875)),
        *(tiny_training(teacher=teacher) for teacher in teachers),
    ]
    assert len({json.dumps(training.identity) for training in its}) == len(its)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    its, file = tiny_training(), tmp_path / FILE
    with pytest.raises(StopError):
        its.run(Seat(file=file, say=stopped_after(1)))
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            its.run(Seat(file=file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_training_that_diverges_says_what_to_lower(tmp_path):
    its = tiny_training(replace(RECIPE, lr=1e12, lr_batch=160))
    with pytest.raises(ValueError, match="diverged .* in epoch 1; .* than 1e.12, which is 1e.11 for batch=16"):
        its.run(Seat(file=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_a_network_must_fit_the_data(arch, data, tmp_path):
    with pytest.raises(ValueError, match="is for 4 classes, and stripes has 3"):
        trained(rewrite.classes(arch, 4), data, RECIPE, tmp_path)
    with pytest.raises(ValueError, match="batch=97 is more than the 96 training images of stripes"):
        trained(arch, data, replace(RECIPE, batch=97), tmp_path)


def test_scalars_for_tensorboard(arch, data, tmp_path):
    """A continued training adds a file, which begins after what its checkpoint has."""
    file = tmp_path / FILE
    with pytest.raises(StopError):
        tiny_training().run(Seat(file=file, say=stopped_after(1)))
    trained(arch, data, RECIPE, tmp_path, place=Place(tensorboard=True))
    (events,) = (tmp_path / "tensorboard").iterdir()
    written = events.read_bytes()
    assert all(name in written for name in (b"loss", b"lr", b"images_per_s", b"epoch/holdout_top1"))
    trained(arch, data, RECIPE, tmp_path, place=Place(tensorboard=True))  # it was done
    assert list((tmp_path / "tensorboard").iterdir()) == [events]


def test_a_training_begins_with_given_weights(arch, data, tmp_path):
    begun = torch_net.build(arch, generator=torch.Generator().manual_seed(5))
    still = replace(RECIPE, epochs=1, lr=1e-12, weight_decay=0.0, ema=None)
    given = trained(arch, data, still, tmp_path / "a", beginning=Beginning(weights=begun.state_dict()))
    new = trained(arch, data, still, tmp_path / "b")
    first = "blocks.0.conv.conv.weight"
    torch.testing.assert_close(given.net.state_dict()[first], begun.state_dict()[first])
    assert (new.net.state_dict()[first] - begun.state_dict()[first]).abs().max() > 0.1
    assert given.identity["weights"] != new.identity["weights"] is None


def test_a_teacher_is_obeyed(arch, data, tmp_path):
    """It knows nothing but one class, and its share of the loss is all."""
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(5))
    last = torch_net.last_layer(arch)
    state = {name: value * (name not in last) for name, value in net.state_dict().items()}
    state[last[1]] = torch.tensor([0.0, 9.0, 0.0])
    recipe = replace(RECIPE, epochs=6, teacher_weight=1.0)
    taught = trained(arch, data, recipe, tmp_path, beginning=Beginning(teacher=Teacher(arch=arch, weights=state)))
    share = (data.holdout.labels == 1).mean()
    assert taught.holdout_top1 == pytest.approx(share)


def test_a_teacher_sees_images_as_its_weights_ask_for(arch, data):
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(5)).eval()
    x = torch.randn((4, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    teacher = Teacher(arch=arch, weights=net.state_dict(), mean=(0.2,), std=(0.7,))
    expected = net((x * data.std[0] + data.mean[0] - 0.2) / 0.7)
    torch.testing.assert_close(teacher.on("cpu", data)(x), expected)
    same = Teacher(arch=arch, weights=net.state_dict())
    torch.testing.assert_close(same.on("cpu", data)(x), net(x))


def test_a_training_killed_again_and_again_is_the_training_that_was_not(tmp_path):
    done = command("tests.killed_training", str(tmp_path), "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["arrived"]) >= 2
    assert result["arrived"] == sorted(result["arrived"])
    assert any(updates > 0 for updates in result["arrived"])
    assert result["same"]
    assert result["top1s"][0] == result["top1s"][1]
    assert result["files"] == ["killed", "whole"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_training_on_a_gpu_goes_on(tmp_path):
    its = tiny_training(replace(RECIPE, epochs=8, micro_batch=8))
    with pytest.raises(StopError):
        its.run(Seat(file=tmp_path / "x", device="cuda", say=stopped_after(4)))
    progress = its.run(Seat(file=tmp_path / "x", device="cuda"))
    assert progress.updates == 48
    assert progress.test_top1 is not None
    assert progress.test_top1 > 0.6
