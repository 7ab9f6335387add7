"""The options of a search; conf/ has their values."""

from typing import Annotated, Literal

from pydantic import Field

from nas import controllers
from nas import reward as rewards
from nas.callbacks import CALLBACKS
from nas.delivery import Delivery
from nas.options import (
    Data,
    ProxyTrainingOptions,
    Ray,
    Running,
    RunOptions,
    SharedWeightsOptions,
    SurrogateOptions,
    Target,
    Usual,
)
from nas.recipe_options import RecipeOptions
from nas.strategies import EVALUATORS
from nas_runtime.amounts import Amounts, Numbers
from nas_runtime.kinds import Free, Paths, named_in, some_of
from nas_runtime.options import CommandOptions, Options, settings_in
from search_spaces.options import Space

__all__ = ["ControllerOptions", "Final", "OwnEvaluator", "SearchOptions", "SearchRay"]


_UNREAD = {
    ("reward", "hard"): ("w", "w_above", "beta"),
    ("reward", "absolute"): ("w", "w_above"),
    ("executor", "serial"): ("workers", "ray.address", "ray.timeout_s"),
    ("engine", "loop"): ("grace_epochs",),
    ("engine", "tune"): ("max_minutes", "patience"),
}
"""Options that nothing reads beside a choice."""


class ControllerOptions(Options):
    """What proposes networks."""

    name: Annotated[str, named_in(controllers.CONTROLLERS)] = Field(description="of the controller")
    settings: Annotated[Free, settings_in(controllers.CONTROLLERS)] = Field(description="the controller's own")


class OwnEvaluator(Options):
    """An evaluator of somebody else (`nas.strategies.plugged`)."""

    name: Annotated[str, named_in(EVALUATORS)] = Field(description="of the evaluator")
    settings: Annotated[Free, settings_in(EVALUATORS)] = Field(description="the evaluator's own")
    search: Usual


class Final(Options):
    """The last round, which finds the winner."""

    networks: int = Field(ge=1, le=10_000, description="the best samples, which are trained for longer; the best wins")
    epochs: int = Field(ge=1, le=100_000, description="of these trainings")
    full_epochs: int = Field(
        ge=1, le=100_000, description="of the winner's training at its full size, by recipe=, where samples are smaller"
    )
    start: Literal["scratch", "inherited"] | None = Field(
        description="what they begin with; inherited: the shared weights; null: these, if there are any"
    )


class SearchRay(Ray):
    """Where and how evaluations run with executor=ray, and shared weights are trained."""

    train_workers: int = Field(
        ge=1, le=10_000, description="so many train shared weights together, each on its part of every batch"
    )


class SearchOptions(CommandOptions, RunOptions, Running):
    """Searches for a network that is accurate and fast enough on a device."""

    command, config = "nas.search", "search"

    target: Target | None
    space: Space
    controller: ControllerOptions
    evaluator: ProxyTrainingOptions | SharedWeightsOptions | SurrogateOptions | OwnEvaluator
    recipe: RecipeOptions
    dataset: Data
    delivery: Delivery
    reward: Annotated[str, named_in(rewards.REWARDS)] = Field(
        description="soft: ACC x (LAT/TAR)^w; hard: the target is a limit; absolute: ACC - beta x |LAT/TAR - 1|"
    )
    w: float = Field(
        ge=-10, le=0, description="of soft; MnasNet and MobileNetV3-Large: -0.07, MobileNetV3-Small: -0.15"
    )
    w_above: float | None = Field(ge=-10, le=0, description="of soft, above the target (the paper's beta); null: w")
    beta: float = Field(
        gt=0, le=1000, description="of absolute; 0.1 in TuNAS's code, where networks are trained for longer"
    )
    adjust_after: int | None = Field(
        ge=1,
        le=10**9,
        description="with soft: samples after which w changes once, if they miss the target; null: never",
    )
    targets: Annotated[tuple[float, ...], Numbers(above=0, high=1e7, empty=True)] = Field(
        description="milliseconds, for each of which a network is found in one search, with reward=hard: [8,12,16]"
    )
    front: bool | None = Field(
        description="true: a network for each of 8 targets, from the space's fastest network to its slowest; null: no"
    )
    devices: Amounts = Field(
        description="milliseconds on other devices that it is for as well; the worst LAT/TAR counts: {pixel2: 12}"
    )
    weights: Amounts = Field(
        description="with devices: the weighted geometric mean of LAT/TAR counts instead: {pixel1: 3, pixel2: 1}"
    )
    limits: Amounts = Field(
        description="what a network may have at most: {pixel2_ms: 20, params_m: 2, size_mb: 6, peak_memory_mb: 1.5}"
    )
    sure: bool | None = Field(
        description="true: a latency counts with the upper end of its 90 % interval; null: with what is expected"
    )
    warm_start: Paths = Field(
        description="earlier runs, whose networks are known from the start, and networks of the zoo to begin with"
    )
    samples: int = Field(ge=1, le=10_000_000, description="networks to sample")
    max_minutes: float | None = Field(
        gt=0, le=1e7, description="after which sampling ends, in this call; the last round comes on top; null: never"
    )
    patience: int | None = Field(
        ge=1, le=10**9, description="sampling ends when so many samples were no better than the best; null: never"
    )
    batch: int = Field(ge=1, le=100_000, description="samples between two updates of the controller")
    epochs: int = Field(ge=1, le=100_000, description="of each sample's training")
    final: Final
    engine: Literal["loop", "tune"] = Field(
        description="tune: by Ray Tune, whose ASHA stops the worse half of the networks early"
    )
    grace_epochs: int = Field(ge=1, le=100_000, description="with engine=tune: none is stopped before")
    mode: Literal["two_stage", "joint"] = Field(
        description="of shared weights: two_stage: weights, then a controller; joint: both at once, as TuNAS does"
    )
    duplicates: Literal["reuse", "train"] = Field(
        description="a network that is sampled again is not trained again; train: it is, with another seed"
    )
    ray: SearchRay
    tensorboard: bool = Field(description="whether scalars are written to the run directory's folder tensorboard")
    callbacks: Annotated[tuple[str, ...], some_of(CALLBACKS)] = Field(
        description="what else follows the search: mlflow (the folder mlruns, or MLFLOW_TRACKING_URI), or your own"
    )

    @property
    def several(self) -> str:
        """The option that asks for several targets; "" if none does."""
        return "targets" if self.targets else "front" if self.front else ""

    @property
    def reward_in_use(self) -> str:
        """For several targets ``hard``, unless another one is asked for."""
        usual = self.several and not any(map(self.given, ("reward", "w", "w_above")))
        return "hard" if usual else self.reward

    @property
    def unheeded(self) -> tuple[str, ...]:
        """What the command line sets though nothing reads it, a sentence each."""
        trains = isinstance(self.evaluator, ProxyTrainingOptions | SharedWeightsOptions)
        chosen = {"reward": self.reward_in_use, "executor": self.executor, "engine": self.engine}
        without = [(f"{name}={value}", _UNREAD.get((name, value), ())) for name, value in chosen.items()]
        if not trains:
            without.append((f"evaluator={self.evaluator.name}", ("epochs", "final.networks", "final.epochs")))
        elif self.dataset.resolution_px != self.space.px:
            small = f"images smaller than the {self.space.px} px that latencies are for"
            without.append((small, ("recipe", "final.full_epochs")))
        return tuple(
            f"{name}= means nothing with {beside}" for beside, names in without for name in names if self.given(name)
        )
