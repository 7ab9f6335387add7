"""How should the units of a latency table be timed? `python -m experiments.unit_timing`

Networks are timed as one graph, and their units in four ways, all in turns, so that a change of the machine's speed
meets every way alike:

    hot         a unit by itself, run again and again
    cold        a unit by itself, run once after all the others
    weights     hot, and a time for every byte of the network's weights
    chain       inside networks of the same units, with the profiler: kernels only
    no reorder  chain, without the kernels that change the memory layout

The sums of the units are fitted to the networks (scale; scale and offset; scale and a time per unit or kernel; these
and an offset), and each network is predicted from a fit without it.

    python -m experiments.unit_timing [networks=12] [rounds=6] [base_width=1.0] [resolution_px=224]

Prints a table and writes experiments/results/unit_timing.csv (options that are not the defaults are in its name).
"""

import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from latency_luts import on_device
from latency_luts.chains import cover
from latency_luts.key import key
from latency_luts.measure import OnnxBench, identity, onnx_bench
from search_spaces import cost, spaces, zoo
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower

DEFAULTS = {"networks": 12, "rounds": 6, "base_width": 1.0, "resolution_px": 224}
NETWORKS_SEED = 5


def main() -> None:
    setting = options.read(DEFAULTS)
    px = setting["resolution_px"]
    space = spaces.get("mnasnet", base_width=setting["base_width"], resolution_px=px)
    archs = [space.decode(row) for row in space.sample(np.random.default_rng(NETWORKS_SEED), setting["networks"])]
    archs += [zoo.get(name, resolution_px=px) for name in ("mobilenet_v3_small", "mobilenet_v3_large", "mobilenet_v2")]
    start = time.perf_counter()
    with onnx_bench(identity()) as machine:
        whole_ms, ways = _measure(machine, archs, setting["rounds"])
    halves = [np.median(whole_ms[i::2], axis=0) for i in (0, 1)]
    noise = float(np.abs(halves[0] / halves[1] - 1).mean())
    rows = _compare(archs, np.median(whole_ms, axis=0), ways)
    print(f"{len(archs)} networks of {whole_ms.min():.1f} to {whole_ms.max():.1f} ms at {px} px, base width "
          f"{setting['base_width']:g}; two halves of a network's runs differ by {noise:.1%}; "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    print(f"{'units':12s} {'fitted to networks':28s} {'mean error':>10s} {'largest':>8s}")
    for way, fit, mape, worst in rows:
        print(f"{way:12s} {fit:28s} {mape:10.1%} {worst:8.1%}")
    figures = [
        {
            **setting,
            "noise %": f"{100 * noise:.2f}",
            "units": way,
            "fitted": fit,
            "mean error %": f"{100 * mape:.2f}",
            "largest %": f"{100 * worst:.2f}",
        }
        for way, fit, mape, worst in rows
    ]
    path = tables.named("unit_timing", setting, DEFAULTS)
    tables.write(figures, path, origin=provenance.of(f"networks {NETWORKS_SEED}, chains 0"))


def _measure(machine: OnnxBench, archs: list[Arch], rounds: int) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
    """(turns, networks) ms, and for each way the value of each unit by its key."""
    units = sorted({unit for arch in archs for unit in lower(arch)}, key=key)
    graphs = machine.graphs(archs)
    alone = machine.graphs([_alone(unit) for unit in units])
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    whole_ms = []
    for graph in (*graphs, *alone):
        graph.burst()
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for _ in range(8):
            whole_ms.append([graph.burst() * 1e3 for graph in graphs])
        for _ in range(2):
            for unit, graph in zip(units, alone, strict=True):
                values["cold"][key(unit)].append(graph.run_s() * 1e3)
                values["hot"][key(unit)].append(min(graph.run_s() for _ in range(4)) * 1e3)
        for chain, kernels in zip(*_profiled(machine, cover(units, rng)), strict=True):
            for name, (ms, n, reorder_ms) in zip(map(key, lower(chain)), kernels, strict=True):
                values["chain"][name].append(ms)
                values["kernels"][name].append(n)
                values["no reorder"][name].append(ms - reorder_ms)
    return np.array(whole_ms), {
        way: {name: float(np.median(v)) for name, v in its.items()} for way, its in values.items()
    }


def _profiled(machine: OnnxBench, chains: list[Arch]) -> tuple[list[Arch], list[list[tuple[float, float, float]]]]:
    """For each chain and unit: ms, kernels, and ms of changes of the memory layout."""
    timed = []
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(chains), 16):
            group = chains[start : start + 16]
            graphs = machine.graphs(group, profile=folder)
            for _ in range(8):
                for graph in graphs:
                    graph.burst()
            for graph, chain in zip(graphs, group, strict=True):
                events = on_device.events(Path(graph.session.end_profiling()).read_text())
                total, kernels = _fastest(events, len(chain.blocks))
                plain = [e for e in events if not e["args"]["op_name"].startswith("Reorder")]
                rest, _ = _fastest(plain, len(chain.blocks))
                timed.append(list(zip(total.tolist(), kernels.tolist(), (total - rest).tolist(), strict=True)))
    return chains, timed


def _fastest(events: list, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(blocks,) ms, the sum of each block's kernels in their fastest runs, and (blocks,) kernels."""
    ms, owners = on_device.kernel_times(events, blocks)
    return np.bincount(owners, weights=ms.min(axis=0), minlength=blocks), np.bincount(owners, minlength=blocks)


def _alone(unit: Unit) -> Arch:
    return Arch(name="unit", resolution_px=unit.in_shape[1], blocks=(unit.block,))


def _compare(
    archs: list[Arch], whole_ms: np.ndarray, ways: dict[str, dict[str, float]]
) -> list[tuple[str, str, float, float]]:
    def total(way: str) -> np.ndarray:
        return np.array([sum(ways[way][key(unit)] for unit in lower(arch)) for arch in archs])

    one, units = np.ones(len(archs)), np.array([float(len(arch.blocks)) for arch in archs])
    weights = np.array([cost.params(arch) * 4e-6 for arch in archs])
    kernels = total("kernels")
    candidates = [
        ("hot", "scale", [total("hot")]),
        ("hot", "scale, offset", [total("hot"), one]),
        ("hot", "scale, time per unit", [total("hot"), units]),
        ("weights", "scale, time per weight byte", [total("hot"), weights]),
        ("cold", "scale", [total("cold")]),
        ("cold", "scale, time per unit", [total("cold"), units]),
        ("chain", "scale", [total("chain")]),
        ("chain", "scale, offset", [total("chain"), one]),
        ("chain", "scale, time per kernel", [total("chain"), kernels]),
        ("chain", "scale, kernel, offset", [total("chain"), kernels, one]),
        ("no reorder", "scale, time per kernel", [total("no reorder"), kernels]),
    ]
    rows = []
    for way, fit, columns in candidates:
        off = _left_out(np.stack(columns, axis=1), whole_ms)
        rows.append((way, fit, float(np.abs(off).mean()), float(np.abs(off).max())))
    return rows


def _left_out(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) relative errors, each network predicted from a fit to the others."""
    off = np.zeros(len(y))
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        costs = np.linalg.lstsq(x[rest] / y[rest, None], np.ones(rest.sum()), rcond=None)[0]
        off[i] = x[i] @ costs / y[i] - 1
    return off


if __name__ == "__main__":
    options.run(main)
