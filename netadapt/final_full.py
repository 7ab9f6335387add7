"""Trainings at the size at which the network is used: of the seed, and of what an adaptation comes to."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nas import delivery
from nas.estimate import full_training_s
from nas.options import Data
from nas.report import training
from nas.seeds import final_seed
from nas.train_plan import fitted
from nas.training.full import Beginning, train_network
from nas.training.place import Place
from nas.training.recipe import Recipe
from nas_runtime.console import counted
from nas_runtime.run import Run
from netadapt.final import ADAPTED, Contender, better
from netadapt.seed import normalised
from netadapt.weights import BY_IMAGES, IMPORTANCE_IMAGES, TrainedNet
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from nas.training.sources import DataFacts
    from nas.training.teacher import Teacher
    from nas.training.trainer import Trainer
    from netadapt.plan import Plan
    from netadapt.seed import Seed
    from search_spaces.torch_net import Net

__all__ = ["FullSize", "FullTrainings"]


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """How networks are trained at full size.

    Attributes:
        data: the pictures, as networks are given them that are used; with the crop that the seed's weights ask for.
        facts: what is known of them before they are read.
        tune: the recipe of trainings that begin with weights.
        tune_name: its name.
        new: of those that begin from scratch.
        new_name: its name.
        place: where they run.
    """

    data: Data
    facts: "DataFacts"
    tune: Recipe
    tune_name: str
    new: Recipe
    new_name: str
    place: Place

    def recipe(self, start: str, epochs: int) -> Recipe:
        """Of a training of so many epochs that begins from ``scratch``, or with weights."""
        return replace(self.new if start == "scratch" else self.tune, epochs=epochs)

    def minutes(self, arch: Arch, start: str, epochs: int) -> float:
        """How long such a training of a network like `arch` takes; a teacher's answers cost a look at each image."""
        facts, place = self.facts, self.place
        taught = facts.train_images if start != "scratch" and self.tune.teacher_weight else 0
        return (
            full_training_s(
                fitted(arch, facts, self.recipe(start, epochs)),
                images=epochs * facts.train_images,
                looked_at=epochs * (facts.holdout_images + taught),
                device=place.device,
                cores=place.cores,
            )
            / 60
        )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A network at full size, and what it came to."""

    net: "Net"
    holdout_top1: float
    test_top1: float
    identity: Mapping[str, Any]


class FullTrainings:
    """The trainings of one adaptation at full size. Each is kept in a folder of its own: what was interrupted goes on,
    and what is done is not done again.

    Args:
        full: how they are made.
        run: keeps them.
        trainer: of the adaptation, whose images are smaller.
    """

    def __init__(self, plan: "Plan", full: FullSize, run: Run, trainer: "Trainer", console: "Console") -> None:
        self._plan, self._full, self._run, self._trainer, self._console = plan, full, run, trainer, console
        self._data = normalised(plan.seed, full.data.pictures(console, full.facts))
        self._adapted: dict[str, _Known] = {}
        self._seed: _Known | None = None

    def seed(self) -> TrainedNet:
        """The seed with its weights, for the images of the adaptation; top-1 is that at full size.

        Its weights are those that it came with, tuned on where its last layer is new for other classes; without any it
        is trained from scratch.
        """
        from netadapt.fine_tune import arrays_of

        plan, found = self._plan, self._plan.seed.found
        if found is None or found.new:
            start = "scratch" if found is None else "finetune"
            weights = found and found.weights
            self._seed = self._train(
                "seed", plan.seed.arch, start, plan.epochs, plan.rng_seed, Beginning(weights=weights)
            )
        else:
            self._seed = self._given(plan.seed)
        its = self._seed
        self._console.print(
            f"the seed has top-1 {its.holdout_top1:.1%} on the holdout, {its.test_top1:.1%} on the test pictures"
        )
        small, arrays = self._trainer.small(plan.seed.arch), arrays_of(its.net.state_dict())
        return TrainedNet(arch=small, weights=arrays, first={}, second={}, updates=0, top1=its.holdout_top1)

    def train(
        self, contenders: Sequence[Contender], seed: TrainedNet, adapted: TrainedNet
    ) -> dict[str, list[dict[str, Any]]]:
        """Trains the contenders, each repetition with its own seed (`nas.seeds`), and measures them on `test`.

        Those that begin with weights learn from the seed, too, by ``recipe.teacher_weight``.

        Args:
            seed, adapted: whose weights they begin with, on the images of the adaptation: the adapted network with
                `adapted`, others with what they have of the seed's.

        Returns:
            A record of each training of each contender.
        """
        plan = self._plan
        found: dict[str, list[dict[str, Any]]] = {}
        for contender in contenders:
            archs = contender.archs[:1] if contender.start == "given" else contender.archs
            for i, arch in enumerate(archs):
                if contender.start == "given":
                    assert self._seed is not None
                    known = self._seed
                else:
                    beginning = Beginning()
                    if contender.start == "finetune":
                        parent = adapted if contender.name == ADAPTED else seed
                        beginning = Beginning(weights=self._inherited(parent, arch), teacher=self._teacher())
                    rng_seed = final_seed(plan.rng_seed, i)
                    epochs = plan.final_epochs
                    known = self._train(contender.name, arch, contender.start, epochs, rng_seed, beginning)
                if contender.name.startswith(ADAPTED) and i == 0:
                    self._adapted[contender.name] = known
                figures = {"holdout_top1": known.holdout_top1, "test_top1": known.test_top1}
                found.setdefault(contender.name, []).append({"final": contender.start, **figures})
        return found

    def deliver(self, arch: Arch, trained: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Writes the adapted network to the run's directory (`nas.delivery`); of two trainings of it the one that is
        better on the holdout.

        Args:
            arch: as it was priced.
            trained: what `train` gave.
        """
        name, plan, full = better(trained), self._plan, self._full
        known, records = self._adapted[name], trained[name]
        start = records[0]["final"]
        called = full.tune_name if start == "finetune" else full.new_name
        finished = delivery.Finished(
            net=known.net,
            data=self._data,
            searched=arch,
            training=known.identity,
            recipe=f"{called}: {full.recipe(start, plan.final_epochs).describe()}",
            holdout_top1=known.holdout_top1,
            test_top1=known.test_top1,
            test_top1s=tuple(record["test_top1"] for record in records),
            latency=plan.latency,
            licence=plan.seed.found.licence if plan.seed.found and start == "finetune" else None,
            place=full.place,
        )
        delivery.deliver(self._run.path, finished, plan.delivery, self._console)

    def _train(self, name: str, arch: Arch, start: str, epochs: int, rng_seed: int, beginning: Beginning) -> _Known:
        full, data = self._full, self._data
        recipe = full.recipe(start, epochs)
        self._console.print(f"training {name} at {data.resolution_px} px, {counted(epochs, 'epoch')}")
        from nas.training import tensor_file

        begun = [
            None if beginning.weights is None else tensor_file.sum_of(beginning.weights),
            None if beginning.teacher is None else beginning.teacher.identity,
        ]
        about = [text.to_dict(arch), recipe.identity(), data.identity, data.crop, data.mean, data.std, rng_seed, begun]
        key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
        trained = train_network(
            fitted(arch, full.facts, recipe),
            data,
            recipe,
            place=full.place,
            run=Run(self._run.path / f"full_{name.replace(',', '').replace(' ', '_')}_{key}"),
            rng_seed=rng_seed,
            console=self._console,
            beginning=beginning,
        )
        if name == ADAPTED:
            training.plot(self._run.path / "training.png", trained.epochs, title=f"{name} on {data.name}")
        return _Known(
            net=trained.net,
            holdout_top1=trained.holdout_top1,
            test_top1=trained.test_top1,
            identity=trained.identity,
        )

    def _given(self, seed: "Seed") -> _Known:
        """The seed as it came, measured once."""
        from nas.training import tensor_file
        from nas.training.feed import count_correct
        from search_spaces import torch_net

        assert seed.found is not None
        assert seed.found.weights is not None
        data, place = self._data, self._full.place
        arch = fitted(seed.arch, self._full.facts, self._full.tune)
        net = torch_net.build(arch, weights=seed.found.weights).eval()
        identity = {
            "network": text.to_dict(arch),
            "weights": tensor_file.sum_of(seed.found.weights),
            "data": [data.identity, data.crop, list(data.mean), list(data.std)],
        }
        stage = self._run.stage("seed", identity)
        for name in ("holdout", "test"):
            if name not in stage.values:
                correct, of = count_correct(net, getattr(data, name), data, device=place.device, workers=place.readers)
                stage.keep(name, correct / of)
        return _Known(
            net=net.cpu(), holdout_top1=stage.values["holdout"], test_top1=stage.values["test"], identity=identity
        )

    def _inherited(self, parent: TrainedNet, arch: Arch) -> "Mapping[str, Tensor]":
        """The weights of `parent` that `arch`, which is as it was priced, has channels for. Where channels have left,
        batch norms get statistics of their own."""
        from nas.training.datasets import drawn
        from nas.training.train import calibrate_norms
        from netadapt.fine_tune import tensors_of
        from netadapt.importance import by_images
        from netadapt.inherit import inherit
        from search_spaces import torch_net

        by, its = self._plan.inherit, tensors_of(parent.weights)
        found = None
        if by in BY_IMAGES:
            found = by_images(parent.arch, its, self._trainer.data, by=by, images=IMPORTANCE_IMAGES)
        small = self._trainer.small(arch)
        weights, _ = inherit(parent.arch, small, its, by=by, importance=found)
        if small.blocks == parent.arch.blocks:
            return weights
        net, data = torch_net.build(small, weights=weights), self._trainer.data
        calibrate_norms(net, drawn(data.train, self._plan.norm_images or len(data.train)), data)
        return net.state_dict()

    def _teacher(self) -> "Teacher | None":
        """The seed, where it is to be learnt from."""
        from nas.training.teacher import Teacher

        if not self._full.tune.teacher_weight:
            return None
        assert self._seed is not None
        return Teacher(arch=self._seed.net.arch, weights=self._seed.net.state_dict())
