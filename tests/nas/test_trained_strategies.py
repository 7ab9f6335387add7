"""What strategies that train say before they begin, how long they think it takes, and what they read of the options."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nas.estimate import Pace, in_words
from nas.executor import SerialExecutor
from nas.references import REFERENCES
from nas.seeds import final_seed
from nas.strategies import own_training, shared_weights, trained
from nas.strategies.own_training import OwnTraining
from nas.strategies.shared_weights import Shared
from nas.supernet import prepare
from nas.supernet.phases import Joint, Phase
from nas.supernet.prepare import SharedPlan
from nas.training.place import Workers
from nas.training.recipe import Recipe
from search_spaces import spaces, zoo
from tests.nas.test_strategies import options, trainings

DATA = "tests.own_parts:noise"
PLAN = SharedPlan(
    recipe=Recipe(epochs=100, batch=64),
    phases={"largest": Phase(share=1, lr=1e-3), "align": Phase(share=2, lr=1e-3), "mixed": Phase(share=7, lr=1e-3)},
    kernels="centre",
    band=0.5,
    images=2000,
    bn_images=500,
)


def of_epochs(sample: int, final: int, **changes):
    """Trainings of samples and finals of so many epochs."""
    its = trainings()
    trainer = replace(its.trainer, recipe=replace(its.trainer.recipe, epochs=sample))
    return replace(its, trainer=trainer, final_epochs=final, **changes)


# ---- in words


def test_own_trainings_in_words():
    own = OwnTraining(trainings=of_epochs(3, 5, finalists=4))
    assert own.describe(9) == f"3 epochs of {DATA} by each of 9 samples, then 5 epochs by the best 4"
    stopping = replace(own, tune=2)
    assert ", of which ASHA stops the worse after 2 epochs or later, then 5 epochs" in stopping.describe(9)
    assert own.sample_accuracy == "top-1 on the holdout after 3 epochs"
    assert own.accuracy == "top-1 on the holdout after the final training of 5 epochs"
    assert own.policy == ""
    assert own.classes == own.trainings.facts.classes
    own.check(spaces.get("mnasnet"))


def test_shared_weights_in_words():
    shared = Shared(trainings=of_epochs(3, 5, finalists=4, final_start="inherited"), shared=PLAN)
    assert shared.describe(9) == (
        f"9 samples with weights shared by all, trained for 100 epochs of {DATA}, then 5 epochs more by the best 4"
    )
    assert shared.sample_accuracy == "top-1 on the holdout with shared weights"
    assert shared.accuracy == (
        "top-1 on the holdout after the final training of 5 epochs; found's begins with the shared weights, the "
        "others' from scratch"
    )
    assert shared.policy == ""
    assert replace(shared, shared=replace(PLAN, mode="joint")).policy.startswith("reinforce, which learns already")
    with pytest.raises(ValueError, match="space 'mnasnet' is a function alone"):
        shared.check(replace(spaces.get("mnasnet"), declaration=None))


def test_images_in_words():
    own = OwnTraining(trainings=trainings())
    px, classes = own.trainings.facts.resolution_px, own.trainings.facts.classes
    assert own.describe_images(zoo.get("mnasnet_small", resolution_px=96, classes=7)) == (
        f"latencies are for 96 px and 7 classes; trainings use {px} px and {classes} classes"
    )


# ---- how long it takes

PACE = Pace(image_s=0.01, shared_image_s=0.003, look_s=0.002, images=6000, at_once=2.0)  # an epoch is a minute
BESIDE = len(REFERENCES)


START = 0.3  # minutes, of processes


@pytest.fixture
def asked(monkeypatch):
    """What `pace` is asked, which answers `PACE`."""
    calls = []

    def pace(networks, facts, trainer, executor, **more):
        calls.append((networks, facts, trainer, executor, more))
        return PACE

    monkeypatch.setattr(own_training, "pace", pace)
    monkeypatch.setattr(shared_weights, "pace", pace)
    return calls


@pytest.mark.parametrize(("tune", "word"), [(None, "about"), (1, "at most")])
def test_the_time_of_own_trainings_by_hand(asked, tune, word):
    """Samples and references have 3 epochs, finalists and references 5, two networks at once; the winner 5 more; and
    15 % on top for all but these."""
    own = OwnTraining(trainings=of_epochs(3, 5, finalists=4), tune=tune)
    minutes = 1.15 * ((9 + BESIDE) * 3 / 2 + (4 + BESIDE) / 2 * 5) + 5
    assert own.estimate(9, ["networks"], "executor") == f"{word} {minutes + START:.1f} minutes"
    assert asked == [(["networks"], own.trainings.facts, own.trainings.trainer, "executor", {})]
    more = 1.15 * ((9 + BESIDE) * 3 / 2 + (3 * 4 + BESIDE) / 2 * 5) + 3 * 5
    assert own.estimate(9, ["networks"], "executor", winners=3) == f"{word} {more + START:.1f} minutes"


@pytest.mark.parametrize(
    ("mode", "start"), [("two_stage", "scratch"), ("two_stage", "inherited"), ("joint", "scratch")]
)
def test_the_time_of_shared_weights_by_hand(asked, mode, start):
    """Inherited finals leave the references, and the winner from scratch, to a round of their own. With mode=joint an
    image costs the looks at the holdout besides, and much more where the phase that learns is warmed up."""
    joint = Joint(warmup=0.4, delay=0.5, reward_batches=2)
    shared = Shared(
        trainings=of_epochs(3, 5, finalists=4, final_start=start), shared=replace(PLAN, mode=mode, joint=joint)
    )
    images = shared.trainings.facts.train_images
    assert images == 40
    epochs = (4 / 2 + (BESIDE + 1) / 2) * 5 if start == "inherited" else (4 + BESIDE) / 2 * 5
    an_image = 1.0
    if mode == "joint":  # 0.3 of the updates are of the first phases, so that 0.1 are warmed up: ten times as dear
        an_image = (1 + 0.3 * 2) * (1 + 9 * 0.1)
    seconds = 60 * epochs + an_image * 100 * images * 0.003 + 9 * (2500 * 0.002 / 2 + 0.1)
    minutes = (1.15 * seconds + 5 * 60) / 60
    assert shared.estimate(9, ["networks"], "executor") == f"about {minutes + START:.1f} minutes"
    rounds = (3 * 4 / 2 + (BESIDE + 3) / 2) * 5 if start == "inherited" else (3 * 4 + BESIDE) / 2 * 5
    several = (1.15 * (seconds + 60 * (rounds - epochs)) + 3 * 5 * 60) / 60
    assert shared.estimate(9, ["networks"], "executor", winners=3) == f"about {several + START:.1f} minutes"
    asked.pop()
    more = {"shared_batch": 64, "looked_at": 2500}
    assert asked == [(["networks"], shared.trainings.facts, shared.trainings.trainer, "executor", more)]


def test_a_warm_up_that_ends_with_the_first_phases_costs_nothing(asked):
    shared = Shared(trainings=trainings(), shared=replace(PLAN, mode="joint", joint=Joint(warmup=0.25)))
    assert shared._updates_cost() == pytest.approx(1 + 0.3 * 4)


# ---- options


def test_a_plan_of_shared_weights_is_what_the_options_say():
    asked = options(
        "evaluator=shared_weights", "evaluator.shared.epochs=7", "evaluator.shared.batch=32", "evaluator.lr=0.03",
        "evaluator.shared.band=0.4", "evaluator.shared.images=11", "evaluator.shared.bn_images=12",
        "evaluator.shared.align.share=0.25", "evaluator.shared.mixed.lr=0.002", "final.networks=3", "final.epochs=2",
    )  # fmt: skip
    read = shared_weights.read(asked)
    plan = read.shared
    assert (plan.recipe.epochs, plan.recipe.batch, plan.recipe.lr) == (7, 32, 0.03)
    assert (plan.band, plan.images, plan.bn_images, plan.mode) == (0.4, 11, 12, "two_stage")
    assert plan.phases["align"].share == 0.25
    assert plan.phases["mixed"].lr == 0.002
    assert list(plan.phases) == ["largest", "align", "mixed"]
    assert (plan.kernels, plan.workers) == ("centre", None)
    assert (read.trainings.finalists, read.trainings.final_epochs, read.trainings.final_start) == (3, 2, "inherited")
    joint = ["evaluator=shared_weights", "mode=joint", "reward=absolute"]
    assert shared_weights.read(options(*joint, "controller=reinforce")).shared.kernels == "own"
    for controller in ("rnn_ppo", "reinforce"):
        assert shared_weights.read(options(*joint, f"controller={controller}")).shared.mode == "joint"
    own = shared_weights.read(options(*joint, "evaluator.shared.kernels=centre"))
    assert own.shared.kernels == "centre"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mode=joint", "adjust_after=9"], "^adjust_after is not for mode=joint; reward=absolute lands on the target$"),
        (["mode=joint", "controller=evolution"], "^mode=joint trains controller=reinforce, not evolution; leave contr"),
        (
            ["mode=joint", "evaluator.shared.mixed.share=0"],
            "^mode=joint learns in the phase mixed; evaluator.shared.mixed.share must be above 0$",
        ),
        (
            ["ray.train_workers=3"],
            "^ray.train_workers=3 cannot share batches of evaluator.shared.batch=64 evenly, with",
        ),
        (["ray.train_workers=64"], "^ray.train_workers=64 cannot share batches of evaluator.shared.batch=64 evenly"),
        (["ray.train_workers=2", "ray.num_gpus=0.5"], "^ray.train_workers takes whole GPUs: ray.num_gpus=1 for each w"),
        (["ray.train_workers=2", "executor=serial"], "^ray.train_workers=2 takes executor=ray, not serial$"),
    ],
)
def test_options_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        shared_weights.read(options("evaluator=shared_weights", *arguments))


@pytest.mark.parametrize(("count", "gpus"), [(32, 0), (2, 1)])
def test_workers_that_train_together(count, gpus):
    asked = ["evaluator=shared_weights", f"ray.train_workers={count}", f"ray.num_gpus={gpus}", "ray.num_cpus=3"]
    assert shared_weights.read(options(*asked, "retries=4")).shared.workers == Workers(
        count=count, num_cpus=3, num_gpus=gpus, retries=4
    )


def test_own_trainings_are_what_the_options_say():
    read = own_training.read(options("duplicates=train", "evaluator.epochs=7"))
    assert (read.again, read.tune, read.trainings.trainer.recipe.epochs) == (True, None, 7)
    read = own_training.read(options("engine=tune", "grace_epochs=2"))
    assert (read.again, read.tune) == (False, 2)
    for wrong in ("executor=serial", "adjust_after=9", "duplicates=train"):
        with pytest.raises(
            ValueError, match="^engine=tune takes executor=ray, an evaluator that trains, duplicates=re"
        ):
            own_training.read(options("engine=tune", wrong))


def test_what_finals_depend_on_is_what_the_weights_depend_on():
    """Not how many processes trained them, nor how many images look at networks."""
    kept = shared_weights._plain(replace(PLAN, workers=Workers(count=2)))
    assert kept == shared_weights._plain(replace(PLAN, images=1, bn_images=2))
    for changed in ({"band": 0.4}, {"mode": "joint"}, {"kernels": "own"}, {"recipe": Recipe(epochs=1)}):
        assert shared_weights._plain(replace(PLAN, **changed)) != kept


@pytest.mark.parametrize(("before", "factor", "inside"), [(10.0, 3.0, 30.0), (10.0, 0.5, 10.0), (None, 3.0, None)])
def test_finals_may_take_longer_than_samples(before, factor, inside):
    executor = SerialExecutor()
    executor.timeout_s = before
    seen = []

    def broken():
        with trained._longer(executor, factor):
            seen.append(executor.timeout_s)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (seen, executor.timeout_s) == ([inside], before)


def test_samples_again_are_trained_with_other_seeds(monkeypatch):
    """Those of the run's seed and the next ones; without being asked, none."""
    given = {}
    monkeypatch.setattr(own_training.loop, "sample", lambda sampling, **how: given.update(how))
    trainer = SimpleNamespace(evaluate=lambda arch, rng_seed: rng_seed)
    for again in (False, True):
        own = OwnTraining(trainings=trainings(), again=again)
        own._by_loop(SimpleNamespace(rng_seed=40), trainer, "executor")("sampling")
        assert given["evaluate"]("arch") == 40
        assert given["executor"] == "executor"
        assert (given["evaluate_again"] is not None) == again
    assert [given["evaluate_again"](n)("arch") for n in (1, 2)] == [41, 42]


# ---- what a search is given


def opened(strategy, monkeypatch, folder, **task):
    """The judge of `strategy`, and what `judged_references` is given; nothing is trained."""
    given = {}

    def judged(*its):
        given.update(zip(("stage", "archs", "evaluate", "executor", "latency", "reward"), its, strict=True))
        return {"some network": {}}

    trainer = SimpleNamespace(
        identity=lambda: {"images": "1"}, recipe=Recipe(epochs=1), evaluate=lambda *a, **k: None, threads=1
    )
    monkeypatch.setattr(own_training.finish, "judged_references", judged)
    monkeypatch.setattr(trained.Trainings, "load", lambda self, console: trainer)
    monkeypatch.setattr(trained.Trainings, "longer", lambda self, its: its)
    run = SimpleNamespace(stage=lambda name, identity: (name, identity), path=folder)
    names = ("controller", "latency", "device", "target_ms", "longest_ms", "reward")
    space = spaces.get("mnasnet", base_width=0.35)
    task = SimpleNamespace(space=space, rng_seed=5, **{name: name for name in names}, **task)
    return strategy.open(task, run, SerialExecutor(), "console"), trainer, given


def test_own_trainings_begin_with_the_references(monkeypatch, tmp_path):
    """Kept by the run, for the same images, trainings and seed; the last round has a seed of its own."""
    strategy = OwnTraining(trainings=trainings())
    judge, trainer, given = opened(strategy, monkeypatch, tmp_path)
    assert given["stage"] == ("references", {"images": "1", "rng_seed": 5})
    assert list(given["archs"]) == list(REFERENCES)
    assert {arch.classes for arch in given["archs"].values()} == {1000}
    assert (given["evaluate"].func, given["evaluate"].keywords) == (trainer.evaluate, {"rng_seed": 5})
    assert (given["executor"], given["latency"], given["reward"]) == (judge.executor, "latency", "reward")
    assert (judge.controller, judge.trainer, judge.console) == ("controller", trainer, "console")
    assert (judge.references, judge.inherited) == ({"some network": {}}, None)
    assert judge.final.identity == {"images": "1", "rng_seed": final_seed(5), "start": "scratch"}
    assert judge.final.from_scratch.keywords == {"rng_seed": final_seed(5)}
    assert judge.sample.keywords["evaluate"].keywords == {"rng_seed": 5}


def test_ray_tune_is_given_the_trainings(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(
        own_training, "_search_with_tune", lambda: lambda sampling, **how: asked.update(how, s=sampling)
    )
    strategy = OwnTraining(trainings=trainings(), tune=2)
    judge, trainer, _ = opened(strategy, monkeypatch, tmp_path, executor="its settings")
    judge.search("sampling")
    expected = {"trainer": trainer, "rng_seed": 5, "executor": "its settings", "grace_epochs": 2, "s": "sampling"}
    assert asked == {**expected, "storage": tmp_path.resolve()}


@pytest.mark.parametrize("start", ["scratch", "inherited"])
@pytest.mark.parametrize("learned", [None, "learned"])
def test_shared_weights_are_prepared_for_the_task(monkeypatch, tmp_path, start, learned):
    """Finals that inherit depend on the weights, too, and the winner begins with its part of them."""
    asked = {}

    def prepared(folder, plan, problem, **how):
        asked.update(how, folder=folder, plan=plan, problem=problem)
        (folder / prepare.FILE).touch()
        return {"w": "weights"}, learned

    monkeypatch.setattr(prepare, "prepare", prepared)
    its = replace(trainings(), final_start=start)
    executor = SimpleNamespace(workers_here=3)
    judge, trainer, _ = opened(Shared(trainings=its, shared=PLAN), monkeypatch, tmp_path, executor=executor)
    problem = asked.pop("problem")
    assert (problem.latency, problem.target_ms, problem.longest_ms) == ("latency", "target_ms", "longest_ms")
    assert (problem.space, problem.reward) == (judge.task.space, "reward")
    expected = {"folder": tmp_path, "plan": PLAN, "trainer": trainer, "rng_seed": 5, "threads": 3, "console": "console"}
    assert asked == expected
    assert judge.controller == (learned or "controller")
    evaluate = judge.sample.keywords["evaluate"]
    supernet = evaluate.func.__self__
    assert evaluate.keywords == {"rng_seed": 5}
    assert judge.sample.keywords["executor"] is judge.executor
    assert (supernet.kernels, supernet.images, supernet.bn_images) == ("centre", 2000, 500)
    assert supernet.key.startswith(str(tmp_path))
    assert supernet.weights.get() == {"w": "weights"}
    scratch = {"images": "1", "rng_seed": final_seed(5), "start": "scratch"}
    assert judge.final.identity == scratch
    if start == "scratch":
        assert (judge.inherited, judge.final.trained_on) == (None, None)
        return
    assert judge.inherited.__self__.weights.get() == {"w": "weights"}
    assert judge.final.trained_on.keywords == {"rng_seed": final_seed(5)}
    assert judge.final.inherited_identity == {
        **scratch, "start": "inherited", "shared": shared_weights._plain(PLAN),
    }  # fmt: skip


def test_the_time_in_words():
    said = [in_words(minutes) for minutes in (0, 0.69, 0.7, 119, 120, 60 * 47, 60 * 48, 60 * 24 * 30)]
    assert said[:4] == ["less than a minute", "less than a minute", "about 1.0 minutes", "about 119.3 minutes"]
    assert said[4:] == ["about 2.0 hours", "about 47.0 hours", "about 2 days", "about 30 days"]
    assert in_words(3, "at most") == "at most 3.3 minutes"
