"""Groups of options: data, trainings, evaluators, where they run; conf/ has their values."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from latency_luts.options import TablesDir
from nas.supernet.phases import KERNELS, PHASES
from nas.training import sources
from nas_runtime.kinds import Among, AnyPath, Text, named_in
from nas_runtime.options import Options
from search_spaces import zoo

if TYPE_CHECKING:
    from rich.console import Console

    from nas.training.datasets import Dataset
    from nas.training.pictures import PictureSet
    from nas.training.sources import DataFacts

__all__ = [
    "AnyRun",
    "Data",
    "ProxyTrainingOptions",
    "Ray",
    "RunOptions",
    "Running",
    "SharedTraining",
    "SharedWeightsOptions",
    "SurrogateOptions",
    "Target",
    "TrainingOptions",
    "Usual",
]


class Target(Options):
    """A device, and how many milliseconds a network may take there."""

    name: Text = Field(description="of the target")
    device: Text = Field(description="whose latency counts: the name of a latency table, or its file")
    target_ms: float | None = Field(gt=0, le=1e7, description="milliseconds that a network may take; null: as `like`")
    like: Annotated[str, Among(zoo.names)] | None = Field(
        description="the network of the zoo whose latency is the target; null: target_ms says it"
    )
    base_width: float = Field(gt=0, le=4, description="a base width of spaces with which the target can be reached")

    def asked(self, given: Callable[[str], bool]) -> "Target":
        """The target as the command line asks for it: ``target.like=`` takes the place of milliseconds in its file.

        Args:
            given: whether the command line sets an option.
        """
        instead = self.like and given("target.like") and not given("target.target_ms")
        return self.model_copy(update={"target_ms": None}) if instead else self


class Data(Options):
    """A data set."""

    name: Annotated[str, named_in(sources.DATASETS)] = Field(description="of the data set")
    path: AnyPath | None = Field(description="its folder or file; null: where it is looked for, or none is needed")
    download: bool = Field(description="whether it may be fetched from its publisher if it is not there")
    train_images: int | None = Field(
        ge=1, le=10**9, description="for each training, drawn at random; null: all of them"
    )
    holdout: float | None = Field(
        gt=0,
        le=10**9,
        description="cut from the training images to select networks by: a share below 1, or a number of images; null: "
        "as the data set has it",
    )
    test: float | None = Field(
        gt=0,
        le=10**9,
        description="cut from the images, likewise, where there are no test images; null: a tenth",
    )
    resolution_px: int | None = Field(
        ge=8, le=4096, description="height and width that images are resized to; null: as they are"
    )
    crop: float | None = Field(
        ge=0.1,
        le=1,
        description="the share of a picture's shorter side that evaluations look at, 0.875 for many; null: all of it",
    )

    @classmethod
    def of_run(cls, config: Mapping[str, Any]) -> "Data":
        """The data set that the config.yaml of a run names; options that an earlier version had not are null.

        Raises:
            TypeError, ValueError: it is none, or none that is known here.
        """
        its = dict(config)
        if "holdout_images" in its:
            its.setdefault("holdout", its.pop("holdout_images"))  # its earlier name
        return cls.model_validate({**dict.fromkeys(cls.model_fields), **its})

    def at(self, resolution_px: int) -> "Data":
        """The same data set with images of that size."""
        return self.model_copy(update={"resolution_px": resolution_px})

    def look(self) -> "DataFacts":
        """What can be said of it before it is read.

        Raises:
            nas.training.sources.DataError: it is not there, or is not as the options say.
        """
        return sources.look(**self._of_arrays())

    def load(self, console: "Console", facts: "DataFacts") -> "Dataset":
        """The data set. What is doubtful about it, and was not known before it was read (`facts`), is printed."""
        data = sources.load(**self._of_arrays())
        _print_notes(console, data.notes, facts)
        return data

    def pictures(self, console: "Console", facts: "DataFacts") -> "PictureSet":
        """The data set as pictures that are read when they are needed. What is doubtful is printed as by `load`, and
        what is kept of them."""
        data = sources.pictures(**dict(self))
        _print_notes(console, data.notes, facts)
        if data.kept:
            console.print(data.kept)
        return data

    def _of_arrays(self) -> dict[str, Any]:
        """The options that matter for arrays: `crop` is for pictures."""
        return {name: value for name, value in self if name != "crop"}


def _print_notes(console: "Console", notes: Iterable[str], known: "DataFacts") -> None:
    for note in notes:
        if note not in known.notes:
            console.print(f"note: {note}")


class Usual(Options):
    """What a search has with an evaluator, unless it is given."""

    samples: int = Field(ge=1, le=10_000_000, description="samples=, unless it is given")
    batch: int = Field(ge=1, le=100_000, description="batch=, unless it is given")
    executor: Literal["ray", "serial"] = Field(description="executor=, unless it is given")


class TrainingOptions(Options):
    """How networks are trained by themselves."""

    epochs: int = Field(ge=1, le=100_000, description="of each training")
    batch: int = Field(ge=2, le=65_536, description="images of an update")
    lr: float = Field(gt=0, le=10, description="AdamW's peak learning rate, after a warm-up, before a cosine")
    weight_decay: float = Field(ge=0, le=10, description="AdamW's")
    label_smoothing: float = Field(ge=0, le=0.9, description="the share of a label that goes to all classes alike")
    crop_px: int = Field(ge=0, le=64, description="augmentation shifts by up to so many pixels, besides mirroring")
    dropout: float = Field(ge=0, le=0.9, description="before the last layer, instead of the network's own")
    resolution_px: int | None = Field(
        ge=8,
        le=4096,
        description="of the images of these trainings; null: as the data's, in a search at most 64",
    )
    min_px: int = Field(ge=1, le=1024, description="feature maps of small images are not halved below this size")
    device: Literal["cpu", "cuda"] = Field(description="what networks are trained on")
    threads: int = Field(ge=1, le=1024, description="of one training; several trainings run side by side")
    search: Usual


class ProxyTrainingOptions(TrainingOptions):
    """A short training of each network by itself."""

    name: Literal["proxy_training"] = Field(description="of the evaluator")


class Phase(Options):
    """A phase of the training of shared weights."""

    share: float = Field(ge=0, le=1e6, description="its share of all updates")
    lr: float = Field(gt=0, le=10, description="peak learning rate")


class SharedTraining(Options):
    """How weights that all networks share are trained, and networks evaluated with them."""

    epochs: int = Field(ge=1, le=1_000_000, description="of the training of the shared weights, all phases together")
    batch: int = Field(ge=2, le=65_536, description="images of an update of the shared weights")
    band: float = Field(
        gt=0,
        le=1000,
        description="how far from the target's latency random networks may be that are trained: 0.5 is half of it",
    )
    kernels: Annotated[str, Among(lambda: KERNELS)] | None = Field(
        description="centre: small kernels are the largest one's centre; own: they are not; null: own with mode=joint"
    )
    images: int = Field(ge=1, le=10_000_000, description="of the holdout, for one evaluation")
    bn_images: int = Field(ge=2, le=10_000_000, description="for a network's own statistics of batch norm")
    largest: Phase = Field(description="phase 1, the largest network alone")
    align: Phase = Field(description="phase 2, stretches of random networks learn what the largest one's compute")
    mixed: Phase = Field(description="phase 3, random networks as a whole")

    @model_validator(mode="after")
    def _begins_with_the_largest(self) -> "SharedTraining":
        shares = {name: getattr(self, name).share for name in PHASES}
        if not sum(shares.values()) or (shares["align"] and not shares["largest"]):
            raise ValueError(
                f"evaluator.shared: shares {', '.join(f'{name} {share:g}' for name, share in shares.items())}; "
                "allowed: some above 0, and with align also largest"
            )
        return self


class SharedWeightsOptions(TrainingOptions):
    """One set of weights for all networks of the space, each of which is evaluated with its part of them.

    Batch and learning rate outside `shared` are those of final trainings.
    """

    name: Literal["shared_weights"] = Field(description="of the evaluator")
    shared: SharedTraining


class SurrogateOptions(Options):
    """ImageNet accuracy, predicted in microseconds; only for space=accel_nasbench."""

    name: Literal["surrogate"] = Field(description="of the evaluator")
    search: Usual


class Ray(Options):
    """Where and how evaluations run with executor=ray."""

    address: Text | None = Field(description="HOST:PORT of a cluster to join; null: one of our own on this machine")
    num_cpus: float = Field(ge=0, le=10_000, description="CPUs that one evaluation takes")
    num_gpus: float = Field(ge=0, le=10_000, description="GPUs that one evaluation takes; may be a fraction")
    timeout_s: float = Field(
        gt=0, le=1e8, description="an evaluation that takes longer is cancelled and tried again; finals may take longer"
    )


class Running(Options):
    """Where evaluations run."""

    executor: Literal["ray", "serial"] = Field(description="ray, or serial: in this process, with the same results")
    workers: int | None = Field(
        ge=1, le=10_000, description="evaluations at a time; null: one for each CPU, or what a cluster has room for"
    )
    retries: int = Field(
        ge=0, le=1000, description="of an evaluation that fails or takes too long; then it is recorded as failed"
    )


class AnyRun(Options):
    """What every run has."""

    rng_seed: int = Field(ge=0, le=2**63 - 1, description="of all that is random")
    run_dir: AnyPath | None = Field(description="a run that exists is continued; null: a new one under runs/")
    dry_run: bool = Field(description="whether to print the plan, with an estimate of its time, and stop")


class RunOptions(AnyRun):
    """What every run has that goes by a latency table."""

    tables_dir: TablesDir
    table_error: float = Field(
        gt=0, le=10, description="a measured table with a larger mean error on whole networks is refused; 0.05 is 5 %"
    )
