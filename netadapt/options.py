"""The options of an adaptation; conf/ has their values."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from nas.delivery import Delivery
from nas.options import Data, ProxyTrainingOptions, Ray, Running, RunOptions, Target
from nas.recipe_options import RecipeOptions
from nas_runtime.kinds import Among, Mark, Several, Text
from nas_runtime.options import CommandOptions, Options
from netadapt.propose import KINDS, SELECTIONS
from netadapt.weights import INHERIT
from search_spaces.redesign import REDESIGNS

__all__ = ["COMPARED", "NetadaptOptions"]

COMPARED = ("seed", "uniform", "chance", "published")


@dataclass(frozen=True)
class _Rungs(Mark):
    """Rising shares."""

    @property
    def words(self) -> str:
        return "shares, 0 to below 1, rising, like [0,0.5]; [] for none"

    def read(self, value: Any) -> tuple[float, ...]:
        values = value if isinstance(value, list) else [] if value is None else [value]
        numbers = [x for x in values if isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1]
        if numbers != values or sorted(set(numbers)) != numbers:
            raise ValueError
        return tuple(map(float, numbers))

    def refusal(self, value: Any) -> str:
        return ": they must be shares of fine_tune.steps, from 0 to below 1, rising: [0,0.5]"


class FineTuneOptions(Options):
    """The short training of each proposal, with its inherited weights."""

    steps: int = Field(ge=1, le=10_000_000, description="updates of each proposal; the paper's T is 10,000")
    lr: float = Field(gt=0, le=10, description="AdamW's peak learning rate")
    holdout_images: int | None = Field(ge=1, le=10**9, description="that proposals are measured on; null: all")
    norm_images: int | None = Field(
        ge=2, le=10**9, description="that give batch norms' statistics before that; null: 256 of pictures, else none"
    )


class NetadaptOptions(CommandOptions, RunOptions, Running):
    """Adapts a network to a device, narrowing it layer by layer until it is fast enough."""

    command, config = "netadapt.run", "netadapt"

    target: Target | None
    evaluator: ProxyTrainingOptions
    dataset: Data
    delivery: Delivery
    seed: Text = Field(description="a network of the zoo (as mnasnet_a1), a run's folder or a network's file")
    width: float = Field(gt=0, le=4, description="width multiplier of a network of the zoo")
    weights: Text | None = Field(
        description="the seed's: a file, or pretrained (a package's); null: those of a run, else the seed is trained"
    )
    redesign: Annotated[tuple[str, ...], Several(lambda: ("mobilenet_v3", *REDESIGNS), empty=True)] = Field(
        description="what is changed before adapting; mobilenet_v3 is all of it"
    )
    device: Text = Field(description="whose latency counts; +target=NAME gives a device and its milliseconds instead")
    target_ms: float | None = Field(
        gt=0, le=1e7, description="milliseconds to come down to; null: those of +target=, or `ratio`"
    )
    ratio: float = Field(gt=0, le=1, description="the share of the seed's latency to come down to")
    delta: float = Field(gt=0, le=0.5, description="each step saves at least this share of the seed's latency")
    decay: float = Field(gt=0, le=1, description="of delta, from step to step")
    kinds: Annotated[tuple[str, ...], Several(lambda: KINDS)] = Field(
        description="what may be less: channels of four kinds, whole blocks (depth), sizes of kernels"
    )
    selection: Annotated[str, Among(lambda: SELECTIONS)] = Field(
        description="ratio: least accuracy lost a millisecond (MobileNetV3); accuracy: most accurate (NetAdapt)"
    )
    inherit: Annotated[str, Among(lambda: INHERIT)] = Field(
        description="channels that stay: largest filters, batch norm scales, effect on the loss, outputs; or the first"
    )
    fine_tune: FineTuneOptions
    rungs: Annotated[tuple[float, ...], _Rungs()] = Field(
        description="successive halving: shares of fine_tune.steps at which the better half of the proposals goes on"
    )
    epochs: int | None = Field(
        ge=1,
        le=100_000,
        description="of the seed's training; null: 6 on small images, of pictures 30, or 3 from weights on",
    )
    recipe: RecipeOptions
    final: Literal["scratch", "finetune", "both"] | None = Field(
        description="how the last training begins; both: the better is delivered; null: finetune where weights come"
    )
    final_epochs: int | None = Field(
        ge=1,
        le=100_000,
        description="of the last training; null: as epochs, by how it begins; final=both: as from scratch",
    )
    final_repeats: int = Field(
        ge=1, le=1000, description="last trainings of each network, with seeds of their own; tables then have a spread"
    )
    ray: Ray
    compare: Annotated[tuple[str, ...], Several(lambda: COMPARED, empty=True)] | None = Field(
        description="with the seed, it scaled uniformly, chance, MobileNetV3; null: no chance; of tunings the first two"
    )
