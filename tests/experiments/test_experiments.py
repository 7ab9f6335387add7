"""Experiments that reproduce a table: ours against what was printed."""

import csv
import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import latency_luts
from experiments import (
    design_trend,
    executor_scaling,
    joint_mode,
    mobilenet_v1_layers,
    options,
    proposal_looks,
    proxy_validation,
    rediscover_v3,
)
from nas.trial import Evaluation
from netadapt.propose import propose
from search_spaces import cost, zoo
from search_spaces.arch import MBConv, SepConv
from search_spaces.lower import lower

DATA = Path(__file__).parents[1] / "data"


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open() as file:
        return list(csv.DictReader(file))


def test_the_design_trend_table_equals_the_printed_one():
    printed = {row.pop("model"): list(row.values()) for row in rows("design_trend.csv")}
    assert printed.keys() == design_trend.NETWORKS.keys()
    assert len(printed) == 11
    ours = {title: design_trend.cells(name) for title, name in design_trend.NETWORKS.items()}
    assert all(len(cells) == 1 + design_trend.STAGES for cells in (*ours.values(), *printed.values()))
    assert {
        (title, stage)
        for title, theirs in printed.items()
        for stage, (a, b) in enumerate(zip(ours[title], theirs, strict=True))
        if a != b
    } == set(design_trend.DIFFERENCES)


def test_mobilenet_v1_table_2():
    for kind, (madds, params) in mobilenet_v1_layers.shares().items():
        printed = mobilenet_v1_layers.PAPER[kind]
        if kind == "Conv 3x3":  # printed with its digits swapped
            assert round(madds, 2) == 1.91
        else:
            assert madds == pytest.approx(printed[0], abs=0.006)
        assert params == pytest.approx(printed[1], abs=0.006)


def test_mobilenet_v1_table_4():
    """Full convolutions: 4866 million multiply-adds and 29.3 million parameters."""
    full = mobilenet_v1_layers.full()
    assert cost.madds(full) / 1e6 == pytest.approx(4866, rel=5e-4)
    assert cost.params(full) / 1e6 == pytest.approx(29.3, abs=0.05)


def test_a_separable_convolution_costs_what_the_formula_says():
    ratios = mobilenet_v1_layers.separable_ratios()
    assert len(ratios) == 13
    for _, _, counted, formula in ratios:
        assert counted == pytest.approx(formula)


@pytest.mark.parametrize(("size", "count"), [("large", 15), ("small", 11)])
def test_the_specification_of_mobilenet_v3_is_the_printed_one(size, count):
    """Rows of tables 1 and 2: input, kernel, expansion, output, squeeze-and-excite, non-linearity, stride."""
    printed = [tuple(row.values())[1:] for row in rows("mobilenet_v3.csv") if row["network"] == size]
    assert len(printed) == count
    acts = {"relu": "RE", "hard_swish": "HS"}
    ours = []
    for unit in lower(zoo.get(f"mobilenet_v3_{size}"))[1:-2]:
        block, (channels, height, _) = unit.block, unit.in_shape
        assert isinstance(block, SepConv | MBConv)
        expansion = block.mid_ch if isinstance(block, MBConv) else channels
        row = (height, channels, block.kernel, expansion, block.out_ch, int(block.se_ch > 0))
        ours.append((*map(str, row), acts[block.act], str(block.stride)))
    assert ours == printed


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seeds=0", "seeds=0; it must be a whole number above 0"),
        ("seeds=1e400", "seeds=1e400; it must be a whole number above 0"),
        ("seeds=1000000000000", "seeds=1000000000000; it must be at most 1000000000"),
        ("minutes=5,x", "minutes=x; it must be a whole number above 0"),
        ("share=-1", "share=-1; it must be a number, 0 or more"),
        ("share=nan", "share=nan; it must be a number, 0 or more"),
        ("methods=a,c", "methods=c; allowed: a, b"),
        ("seed=1", "seed=1; did you mean seeds?; there are seeds=, minutes=, share=, methods=, path="),
        ("seeds", "seeds; there are seeds=, minutes=, share=, methods=, path="),
        ("path=nowhere", "path=nowhere: there is no such file or folder"),
        (f"share={'x' * 10_000}", f"share={'x' * 60}... (10,000 characters); it must be a number, 0 or more"),
    ],
)
def test_options_of_experiments(monkeypatch, tmp_path, argument, message):
    defaults = {"seeds": 2, "minutes": (5, 15), "share": 0.5, "methods": ("a", "b"), "path": ""}
    path = tmp_path / "a=b,c"
    path.touch()
    monkeypatch.setattr("sys.argv", ["x", "minutes=10,10", "methods=b,a", f"path={path}"])
    given = options.read(defaults, {"methods": ("a", "b")}, needed=["path"])
    assert given == {"seeds": 2, "minutes": (10,), "share": 0.5, "methods": ("b", "a"), "path": str(path)}
    monkeypatch.setattr("sys.argv", ["x", argument])
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        options.read(defaults, {"methods": ("a", "b")})


def test_the_adapted_network_is_compared_with_what_takes_the_same_time():
    adapted = {"here_ms": 1.55, "test_top1s": [0.47, 0.48]}
    other = {"here_ms": 1.6, "test_top1s": [0.44, 0.45]}
    assert rediscover_v3._above(adapted, other) == ("+3.00", "0.71")
    assert rediscover_v3._above(adapted, other | {"here_ms": 1.30}) == ("", "")
    alone = {"here_ms": 1.55, "test_top1s": [0.44]}
    assert rediscover_v3._above(adapted | {"test_top1s": [0.47]}, alone) == ("+3.00", "")


def test_looks_at_proposals_are_judged_by_long_ones():
    latency_ms = latency_luts.load("pixel1").latency_ms
    seed = zoo.get("mnasnet_a1")
    proposals = propose(seed, latency_ms, cut_ms=0.01 * latency_ms(seed))[:4]
    saved = np.ones(4)
    long = proposal_looks.Long(top1=np.array([0.5, 0.8, 0.6, 0.7]), parent=0.9, proposals=proposals, saved=saved)
    assert sorted(long.order) == [0, 1, 2, 3]
    assert proposal_looks.row("x", [long.order], [long])["tau"] == "1.00"
    assert proposal_looks.row("x", [long.order[::-1]], [long])["tau"] == "-1.00"
    half = proposal_looks.row("x", [long.order[:2]], [long])  # a look that dropped some has no order of all
    gain = 100 * (long.top1[long.order[0]] - long.top1.mean())
    assert half == {"look": "x", "tau": "", "place": "1.0 of 4", "gain": f"{gain:+.2f}"}
    two = proposal_looks.row("x", [long.order, long.order[::-1]], [long, long])
    assert (two["tau"], two["place"]) == ("0.00", "2.5 of 4")


EXPERIMENTS = sorted(
    path.stem for path in Path(options.__file__).parent.glob("*.py") if "options.run(main)" in path.read_text()
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_refuses_what_it_does_not_know(monkeypatch, capsys, name):
    """Before it begins; and it says what it is with --help."""
    module = importlib.import_module(f"experiments.{name}")
    for argument, message in {"zzz=1": "error: zzz=1; there are ", "path=/nowhere": "error: path=/nowhere"}.items():
        monkeypatch.setattr("sys.argv", [name, argument])
        with pytest.raises(SystemExit) as ended:
            options.run(module.main)
        printed = capsys.readouterr().err
        assert (ended.value.code, printed.count("\n")) == (1, 1)
        assert printed.startswith(message)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    options.run(module.main)
    assert f"python -m experiments.{name}" in capsys.readouterr().out
    assert "    options.run(main)" in Path(str(module.__file__)).read_text()


def test_a_proxy_trains_what_it_is_called(monkeypatch):
    """Epochs, images and pixels, and the network of a number, which is within the band."""
    trained = []

    def evaluate(self, arch, *, rng_seed):
        trained.append((arch, len(self.data.train), self.data.resolution_px, self.recipe.epochs, rng_seed))
        return Evaluation(top1=0.25, seconds=3.0)

    monkeypatch.setattr(proxy_validation.Trainer, "evaluate", evaluate)
    proxy, where = (
        proxy_validation.Proxy(epochs=3, images=100, px=14),
        proxy_validation.Where(dataset="fashion_mnist_mini", path=""),
    )
    assert proxy_validation._train(proxy, 1, 5, where) == (0.25, 3.0)
    arch = proxy_validation.network(1)
    assert trained == [(arch, 100, 14, 3, 5)]
    assert arch != proxy_validation.network(0)
    low, high = proxy_validation.BAND
    assert low <= latency_luts.load("pixel1").latency_ms(arch) / proxy_validation.TARGET_MS <= high


def test_a_proxys_tau_is_with_the_other_seeds_of_the_long_training():
    """Seed 0 of the cheap training orders the networks as seed 1 of the long one does, and the other way round."""
    up, down = [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]
    cheap, long = np.array([up, down]).T, np.array([down, up]).T
    assert proxy_validation.tau_of(cheap, long)[0] == 1.0
    assert proxy_validation.tau_of(cheap, cheap)[0] == -1.0
    assert proxy_validation.tau_of(np.array([up, up]).T, np.array([up, up]).T) == (1.0, 0.0)


def test_what_processes_need_to_begin_counts_for_neither_side(monkeypatch):
    """By a clock that goes 5 s in the first evaluation of each process, and 1 s in all others, shared by the workers:
    so many workers are so many times as fast, and nothing is lost."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    class Executor:
        def __init__(self, workers=1):
            self.workers, self.begun = workers, 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, evaluate, archs):
            for i, _ in enumerate(archs):
                clock.now += 5.0 if self.begun < self.workers else 1 / self.workers
                self.begun += 1
                yield i, Evaluation(top1=0.5, seconds=1.0)

    shown = []
    monkeypatch.setattr("sys.argv", ["executor_scaling", "images=100"])
    for name, value in {"time": clock, "SerialExecutor": Executor, "RayExecutor": Executor}.items():
        monkeypatch.setattr(executor_scaling, name, value)
    monkeypatch.setattr(executor_scaling, "available_cpus", lambda: 4)
    monkeypatch.setattr(executor_scaling.tables, "show", lambda title, rows, path, origin: shown.extend(rows))
    executor_scaling.main()
    assert [(row["workers"], row["of one process"], row["overhead, ms"]) for row in shown] == [
        (workers, "100.0%", "0") for workers in ("1", "2", "4")
    ]


def test_chance_agrees_where_seeds_may():
    """Only choices that matter in both networks count: those of a layer that may be absent count for less."""
    where = proxy_validation.Where(dataset="cifar10", path="", space="mobilenet_v3")
    setting = joint_mode.Setting(where=where, epochs=1, images=1, batch=1, reference=1)
    space = where.search_space
    points = space.sample(np.random.default_rng(1), 100)
    same, matter = 0.0, space.active(points).mean(axis=0) ** 2  # in how many pairs of networks
    for choice, share in zip(space.choices, matter, strict=True):
        same += share / len(choice.options)
    assert joint_mode._chance(setting) == pytest.approx(same / matter.sum(), abs=0.005)
    assert joint_mode._agreement(setting, [{"point": points[0]}, {"point": points[0]}]) == 1
