"""The winner of a search at its full size, where samples saw smaller images: trained, measured and delivered."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas import delivery
from nas.estimate import full_training_s
from nas.options import Data
from nas.report import training
from nas.train_plan import fitted
from nas.training.full import Place, train_network
from nas.training.pictures import PictureSet
from nas.training.recipe import Recipe
from nas_runtime.console import counted
from nas_runtime.run import Run
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from rich.console import Console

    from latency_luts import LatencyModel
    from nas.training.sources import DataFacts

__all__ = ["FullSize"]


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """The training of the winner on the images that it was searched for.

    Attributes:
        facts: what is known of the data set before it is read.
        recipe_name: of the recipe.
    """

    data: Data
    facts: "DataFacts"
    recipe: Recipe
    recipe_name: str
    place: Place

    def describe(self) -> str:
        """What comes after the last round, in words."""
        epochs, px = counted(self.recipe.epochs, "epoch"), self.facts.resolution_px
        return f"then {epochs} at {px} px by the winner (recipe {self.recipe_name})"

    def minutes(self, networks: Sequence[Arch]) -> float:
        """How long the training of a network like these takes."""
        images = self.recipe.epochs * self.facts.train_images
        looked_at = self.recipe.epochs * self.facts.holdout_images
        place = self.place
        seconds = [
            full_training_s(
                self._fitted(arch), images=images, looked_at=looked_at, device=place.device, cores=place.cores
            )
            for arch in networks
        ]
        return float(np.mean(seconds)) / 60

    def _fitted(self, arch: Arch) -> Arch:
        return fitted(arch, self.facts, self.recipe)

    def _folder(self, winner: Arch, data: PictureSet, rng_seed: int) -> str:
        """Where the training is kept: a continued search may have another winner, or ask for another recipe."""
        it = [text.to_dict(winner), self.recipe.identity(), data.identity, rng_seed]
        return f"full_{hashlib.sha256(json.dumps(it).encode()).hexdigest()[:12]}"

    def deliver(
        self,
        run: Run,
        winner: Arch,
        *,
        into: Path,
        rng_seed: int,
        latency: "LatencyModel",
        options: delivery.Delivery,
        console: "Console",
    ) -> dict[str, Any]:
        """Trains the winner, measures it on `test`, and delivers it. What was interrupted goes on.

        Args:
            run: keeps the training.
            into: the folder of what is delivered.

        Returns:
            ``epochs``, ``resolution_px``, ``holdout_top1``, ``test_top1``, and ``delivered``, all figures of the files.
        """
        px = self.facts.resolution_px
        console.print(f"training the winner at {px} px, {counted(self.recipe.epochs, 'epoch')} ({self.recipe_name})")
        data = self.data.pictures(console, self.facts)
        trained = train_network(
            self._fitted(winner),
            data,
            self.recipe,
            place=self.place,
            run=Run(run.path / self._folder(winner, data, rng_seed)),
            rng_seed=rng_seed,
            console=console,
        )
        training.plot(into / "training.png", trained.epochs, title=f"the winner on {self.facts.name}, {px} px")
        finished = delivery.Finished(
            net=trained.net,
            data=data,
            searched=winner,
            training=trained.identity,
            recipe=f"{self.recipe_name}: {self.recipe.describe()}",
            holdout_top1=trained.holdout_top1,
            test_top1=trained.test_top1,
            latency=latency,
            place=self.place,
        )
        figures = delivery.deliver(into, finished, options, console)
        return {
            "delivered": {**figures, "data": data.record()},
            "epochs": self.recipe.epochs,
            "resolution_px": px,
            "holdout_top1": trained.holdout_top1,
            "test_top1": trained.test_top1,
        }
