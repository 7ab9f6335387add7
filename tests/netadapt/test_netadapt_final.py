"""Final trainings of an adaptation: which seeds they have, how long they are, and what is written down of them."""

import contextlib
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

import latency_luts
from latency_luts import measure
from nas.executor import SerialExecutor
from nas.seeds import final_seed
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas.trial import Evaluation
from nas_runtime.records import Records
from nas_runtime.run import Run
from netadapt import compare, final, final_small
from netadapt.adapt import Adaptation, Rule, Step
from netadapt.blocks import without
from netadapt.channels import groups, narrow
from netadapt.final import Contender
from netadapt.fine_tune import FineTune, Train
from netadapt.propose import Proposal
from netadapt.weights import TrainedNet
from search_spaces import cost, text, zoo
from search_spaces.arch import Arch, ConvBN
from tests.nas.test_splits import TINY, trained

ADAPTED, SEED = zoo.get("mnasnet_small", width=0.35), zoo.get("mnasnet_small", width=0.5)
KEEP, KEPT = final_small._keep, final_small._kept
NET = TrainedNet(arch=ADAPTED, weights={}, first={}, second={}, updates=0, top1=0.7)


class Watching(SerialExecutor):
    """Trains nothing: remembers tasks and networks. Accuracies say which repetition they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = []

    def run(self, evaluate, archs):
        for i, arch in enumerate(archs):
            self.tasks.append((evaluate.task, arch))
            yield i, Evaluation(top1=0.7, state=(NET, 0.6))


def train(folder, executor, *, how: str, rng_seed: int = 0):
    plan = SimpleNamespace(
        rng_seed=rng_seed,
        final=how,
        final_epochs=5,
        repeats=2,
        recipe=Recipe(epochs=1, lr=0.02),
        fine_tune=Recipe(epochs=1, lr=0.001),
        inherit="l2",
    )
    starts = {"adapted": how} if how != "both" else {"adapted": "finetune", "adapted, from scratch": "scratch"}
    contenders = [Contender(name=name, archs=(ADAPTED,) * 2, start=start) for name, start in starts.items()]
    contenders.append(Contender(name="seed", archs=(SEED,) * 2))
    return final_small.train(Run(folder), plan, contenders, executor, executor.share(None), NET)


@pytest.fixture(autouse=True)
def no_weights_are_kept_and_little_is_drawn(monkeypatch):
    monkeypatch.setattr(final_small, "_keep", lambda *_: None)
    monkeypatch.setattr(final_small, "_kept", lambda *_: NET)
    monkeypatch.setattr(final, "CHANCES", 4)


@pytest.mark.parametrize("how", ["scratch", "finetune"])
@pytest.mark.parametrize("rng_seed", [0, 7])
def test_each_repetition_has_a_seed_of_its_own_and_all_that_are_compared_the_same(tmp_path, how, rng_seed):
    executor = Watching()
    train(tmp_path, executor, how=how, rng_seed=rng_seed)
    seeds = {(arch, task.rng_seed) for task, arch in executor.tasks}
    assert seeds == {(arch, final_seed(rng_seed, i)) for arch in (ADAPTED, SEED) for i in range(2)}
    assert {task.recipe.epochs for task, _ in executor.tasks} == {5}
    kinds = {arch: (type(task), task.recipe.lr) for task, arch in executor.tasks}
    assert kinds == {ADAPTED: (FineTune, 0.001) if how == "finetune" else (Train, 0.02), SEED: (Train, 0.02)}


def test_what_is_written_down_is_which_accuracy_is_which_and_nothing_is_trained_twice(tmp_path):
    executor = Watching()
    found = train(tmp_path, executor, how="scratch")
    assert list(found) == ["adapted", "seed"]
    for name, records in found.items():
        assert [(r["network"], r["holdout_top1"], r["test_top1"], r["rng_seed"]) for r in records] == [
            (name, 0.7, 0.6, final_seed(0, i)) for i in range(2)
        ]
    assert len(Records(tmp_path / "final.jsonl", "final trainings").records) == len(executor.tasks) == 4
    assert train(tmp_path, executor, how="scratch") == found
    assert len(executor.tasks) == 4
    train(tmp_path, executor, how="finetune")  # the seed's are the same
    assert len(executor.tasks) == 6


def test_of_both_the_better_is_delivered_and_what_is_known_of_either_counts(tmp_path):
    executor = Watching()
    train(tmp_path, executor, how="scratch")
    found = train(tmp_path, executor, how="both")
    assert list(found) == ["adapted", "adapted, from scratch", "seed"]
    assert [type(task) for task, _ in executor.tasks] == [Train] * 4 + [FineTune] * 2
    assert [record["final"] for name in list(found)[:2] for record in found[name]] == ["finetune"] * 2 + ["scratch"] * 2
    train(tmp_path, executor, how="finetune")
    assert len(executor.tasks) == 6
    accuracies = {"adapted": (0.7, 0.8), "adapted, from scratch": (0.9, 0.5), "seed": (1.0, 1.0)}
    records = {name: [{"holdout_top1": each} for each in its] for name, its in accuracies.items()}
    assert final.better(records) == "adapted"
    records["adapted, from scratch"][1]["holdout_top1"] = 0.7
    assert final.better(records) == "adapted, from scratch"


def test_a_final_training_that_fails_is_named(tmp_path):
    class Failing(Watching):
        def run(self, evaluate, archs):
            for i, evaluation in super().run(evaluate, archs):
                broken = archs[i] == SEED
                yield i, Evaluation(top1=0.0, status="failed", note="no memory") if broken else evaluation

    with pytest.raises(ValueError, match="^the final training of seed failed: no memory$"):
        train(tmp_path, Failing(), how="scratch")
    assert [r["network"] for r in Records(tmp_path / "final.jsonl", "final trainings").records] == ["adapted"]


# ---- what is compared, and what is said of it

MODEL = latency_luts.load("pixel1")
A1, V3 = zoo.get("mnasnet_a1"), zoo.get("mobilenet_v3_large")


def adaptation(*widths: int) -> Adaptation:
    """Of MnasNet-A1, whose block 8 becomes narrower in each step."""
    arch, steps = A1, []
    for number, after in enumerate(widths, 1):
        group = next(g for g in groups(arch) if g.name == "expansion of block 8")
        before, arch = arch, narrow(arch, group, after)
        saved_ms = MODEL.latency_ms(before) - MODEL.latency_ms(arch)
        kept = Proposal(
            arch=arch, group=group.name, kind=group.kind, before=group.channels, after=after,
            latency_ms=MODEL.latency_ms(arch), saved_ms=saved_ms,
        )  # fmt: skip
        steps.append(Step(number=number, kept=kept, top1=0.7 - 0.01 * number, proposals=9, cut_ms=0.1))
    return Adaptation(
        seed=A1, seed_ms=MODEL.latency_ms(A1), seed_top1=0.7, target_ms=60.0, steps=tuple(steps), stopped="no more"
    )


def plan(*names: str, repeats: int = 2, how: str = "finetune", full: object = None) -> SimpleNamespace:
    return SimpleNamespace(
        latency=MODEL,
        repeats=repeats,
        compare=names,
        rule=Rule(kinds=("expansion",)),
        final=how,
        final_epochs=5,
        full=full,
        facts=SimpleNamespace(resolution_px=28),
    )


def test_an_adapted_network_is_compared_with_what_the_plan_says():
    found = adaptation(240)
    names = ("published", "chance", "uniform", "seed")
    made = {each.name: each.archs for each in final.contenders(plan(*names), found)}
    assert list(made) == ["adapted", "mobilenet_v3_large", "by chance", "uniform scaling", "seed"]
    assert made["adapted"] == (found.arch,) * 2
    assert made["seed"] == (A1,) * 2
    assert made["mobilenet_v3_large"] == (V3,) * 2
    scaled, again = made["uniform scaling"]
    assert scaled == again == compare.uniform(A1, MODEL.latency_ms, found.latency_ms)
    first, second = made["by chance"]
    assert found.arch not in (first, second)
    assert first != second
    assert max(map(MODEL.latency_ms, (first, second, scaled))) <= found.latency_ms
    assert [each.name for each in final.contenders(plan(), found)] == ["adapted"]
    everything = [each.start for each in final.contenders(plan(*names), found)]
    assert everything == ["finetune", "scratch", "scratch", "scratch", "scratch"]
    full = [each.start for each in final.contenders(plan(*names, how="both", full="pictures"), found)]
    assert full == ["finetune", "scratch", "scratch", "finetune", "finetune", "given"]
    nothing = {each.name: each.archs for each in final.contenders(plan("chance", repeats=3), adaptation())}
    assert nothing == {"adapted": (A1,) * 3, "by chance": (A1,) * 3}


def test_a_result_says_what_was_found_and_how_it_compares():
    found = adaptation(480 - 80, 240)
    contenders = [Contender(name="adapted", archs=(found.arch,) * 2), Contender(name="by chance", archs=(A1, V3))]
    trained = {
        "adapted": [{"test_top1": 0.5, "holdout_top1": 0.7}, {"test_top1": 0.6, "holdout_top1": 0.9}],
        "by chance": [{"test_top1": 0.1, "holdout_top1": 0.2}, {"test_top1": 0.3, "holdout_top1": 0.6}],
    }
    said = final.result(plan(), found, contenders, trained, {"adapted": 11.0, "by chance": 22.0})
    own_ms, seed_ms, v3_ms = map(MODEL.latency_ms, (found.arch, A1, V3))
    assert (said["seed_ms"], said["seed_top1"], said["target_ms"], said["reached_ms"]) == (seed_ms, 0.7, 60.0, own_ms)
    assert (said["stopped"], said["final"], said["final_epochs"]) == ("no more", "finetune", 5)
    assert (said["px"], said["compared_px"]) == (None, 28)
    assert (said["published"], said["device"]) == ("mobilenet_v3_large", "pixel1")
    assert said["latency_model"].startswith("pixel1: calibrated to ")
    assert (text.from_dict(said["seed"]), text.from_dict(said["adapted"])) == (A1, found.arch)
    assert said["blocks"][0] == "cn_r1_k3_s2_c32_nre"
    assert len(said["blocks"]) >= 7
    steps = said["steps"]
    assert [(s["step"], s["narrowed"], s["before"], s["after"], s["proposals"]) for s in steps] == [
        (1, "expansion of block 8", 480, 400, 9),
        (2, "expansion of block 8", 400, 240, 9),
    ]
    assert [s["top1"] for s in steps] == pytest.approx([0.69, 0.68])
    assert steps[-1]["latency_ms"] == own_ms
    assert sum(s["saved_ms"] for s in steps) == pytest.approx(seed_ms - own_ms)
    own, chance = said["networks"]["adapted"], said["networks"]["by chance"]
    assert (own["test_top1s"], own["here_ms"], own["latency_ms"]) == ([0.5, 0.6], 11.0, own_ms)
    assert (own["test_top1"], own["holdout_top1"]) == pytest.approx((0.55, 0.8))
    assert (own["madds"], own["params"]) == (cost.madds(found.arch), cost.params(found.arch))
    assert chance["latency_ms"] == pytest.approx((seed_ms + v3_ms) / 2)
    assert chance["madds"] == pytest.approx((cost.madds(A1) + cost.madds(V3)) / 2, abs=1)
    assert chance["params"] == pytest.approx((cost.params(A1) + cost.params(V3)) / 2, abs=1)
    json.dumps(said)


def test_distances_to_the_published_network_are_those_of_networks_of_the_same_latency():
    """The seed's 480 channels of block 8 are 2.4 times the published 200, the adapted ones 1.2 times."""
    found = adaptation(240)
    said = final.result(plan(), found, [], {}, {})["distance_to_published"]
    fourteen = 14 * (said["seed"] - said["adapted"])
    assert fourteen == pytest.approx(math.log2(480 / 240))
    assert said["seed"] == compare.distance(A1, V3)
    assert said["uniform scaling"] == compare.distance(compare.uniform(A1, MODEL.latency_ms, found.latency_ms), V3)
    assert len(said["by chance"]) == final.CHANCES
    assert len(set(said["by chance"])) > 2
    assert all(0.3 < distance < 2 for distance in said["by chance"])
    assert final.result(plan(), adaptation(), [], {}, {})["distance_to_published"] is None
    other = zoo.get("mnasnet_small")
    alone = replace(found, seed=other, steps=(replace(found.steps[0], kept=replace(found.steps[0].kept, arch=other)),))
    assert final.result(plan(), alone, [], {}, {})["distance_to_published"] is None


def test_networks_that_have_lost_a_block_have_no_distance(monkeypatch):
    fewer = without(A1, 3)
    monkeypatch.setattr(final, "_by_chance", lambda plan, adaptation, n: [fewer, A1])
    assert compare.distance(fewer, V3) is None
    said = final.result(plan(), adaptation(240), [], {}, {})["distance_to_published"]
    assert said["by chance"] == [said["seed"]]
    monkeypatch.setattr(final, "_by_chance", lambda plan, adaptation, n: [fewer])
    assert final.result(plan(), adaptation(240), [], {}, {})["distance_to_published"] is None


def test_blocks_that_timm_has_no_words_for_are_said_field_by_field():
    dilated = ConvBN(in_ch=8, out_ch=8, kernel=3, dilation=2)
    arch = Arch(name="", resolution_px=32, blocks=(ConvBN(in_ch=3, out_ch=8, kernel=3), dilated))
    assert [text.block_from_dict(json.loads(line)) for line in final._blocks(arch)] == list(arch.blocks)


def test_the_first_adapted_network_is_kept_and_delivered(tmp_path, stripes, monkeypatch):
    monkeypatch.setattr(final_small, "_kept", KEPT)
    net, run, trainer = trained(), Run(tmp_path), Trainer(data=stripes, recipe=Recipe())
    training = {"network": "adapted", "final": "finetune", "rng_seed": 3}
    KEEP(run, net, training)
    assert KEPT(run, trainer, TINY, {**training, "rng_seed": 4}) is None
    given = []
    monkeypatch.setattr(final_small.delivery, "deliver", lambda *its: given.append(its))
    records = [{**training, "holdout_top1": 0.7, "test_top1": 0.6}, {"holdout_top1": 0.5, "test_top1": 0.4}]
    asked = SimpleNamespace(**vars(plan()), recipe=Recipe(epochs=1), delivery="options")
    final_small.deliver(run, asked, TINY, {"adapted": records, "seed": []}, trainer, "console")
    ((folder, finished, options, console),) = given
    assert (folder, options, console) == (run.path, "options", "console")
    assert (finished.searched, finished.training, finished.latency) == (TINY, training, MODEL)
    assert (finished.holdout_top1, finished.test_top1, finished.test_top1s) == (0.7, 0.6, (0.6, 0.4))
    assert all((finished.net.state_dict()[name].numpy() == value).all() for name, value in net.weights.items())
    assert "5 epochs" in finished.recipe
    assert finished.data.classes == 3


def test_networks_are_timed_here_once(tmp_path, monkeypatch):
    timed = []

    class Machine:
        def time_networks(self, archs, *, bursts):
            timed.append((tuple(archs), bursts))
            return [SimpleNamespace(ms=float(i)) for i, _ in enumerate(archs, 1)]

    monkeypatch.setattr(measure, "bench", lambda identity: contextlib.nullcontext(Machine()))
    contenders = [Contender(name="adapted", archs=(ADAPTED, SEED)), Contender(name="seed", archs=(SEED, ADAPTED))]
    for _ in range(2):
        assert final.time_here(Run(tmp_path), contenders) == {"adapted": 1.0, "seed": 2.0}
    assert [archs for archs, _ in timed] == [(ADAPTED, SEED)]
    final.time_here(Run(tmp_path), contenders[:1])
    assert [archs for archs, _ in timed[1:]] == [(ADAPTED,)]
