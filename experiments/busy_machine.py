"""How wrong is a table that was built beside other programs? `python -m experiments.busy_machine [programs=1,2]`

Networks are timed while nothing else runs (start it on a quiet machine): that is the truth. Then a table is built
alone, and one beside each number of busy programs, from the units of these networks and of others that its correction
is fitted to. A busy program multiplies matrices, and copies memory that fits into no cache. Errors are of the networks
that took no part in the fit, after one factor for all of them (`factor`: how much slower the table says the machine is
than it was when quiet).

    python -m experiments.busy_machine [programs=1,2] [networks=24] [base_width=0.35] [resolution_px=224]

Prints a table and writes experiments/results/busy_machine.csv.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments import options, provenance, tables
from latency_luts.build import build
from latency_luts.measure import bench, identity
from latency_luts.model import LatencyModel
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.lower import lower

RESULTS = tables.RESULTS / "busy_machine.csv"
NETWORKS_SEED = 7
DEFAULTS = {"programs": (1, 2), "networks": 24, "base_width": 0.35, "resolution_px": 224}
TURNS, BURSTS = 10, 12
BUSY = """
import numpy as np
a, x, y = np.ones((400, 400), np.float32), np.ones(1 << 24, np.float32), np.ones(1 << 24, np.float32)
while True:
    for _ in range(8):
        a @ a
    np.copyto(x, y)
"""


def main() -> None:
    setting = options.read(DEFAULTS)
    space = spaces.get("mnasnet", base_width=setting["base_width"], resolution_px=setting["resolution_px"])
    archs = [space.decode(row) for row in space.sample(np.random.default_rng(NETWORKS_SEED), 2 * setting["networks"])]
    fitted, others = archs[::2], archs[1::2]
    quiet_ms = _whole_ms(others)
    rows = []
    for programs in (0, *setting["programs"]):
        with busy(programs), tempfile.TemporaryDirectory() as folder:
            networks = {f"n{i}": arch for i, arch in enumerate(fitted)}
            units = {unit for arch in archs for unit in lower(arch)}
            table = build("host", units, networks, Path(folder) / "host.json", progress=True)
        model = LatencyModel(table)
        ratio = np.array([model.latency_ms(arch) for arch in others]) / quiet_ms
        off = np.abs(ratio / np.median(ratio) - 1)
        rows.append(
            {
                "programs": str(programs),
                "mean error": f"{off.mean():.1%}",
                "largest": f"{off.max():.1%}",
                "within 10 %": f"{(off <= 0.1).mean():.0%}",
                "factor": f"{np.median(ratio):.2f}",
                "the table's own, left out": f"{model.error.mape:.1%}" if model.error else "",
            }
        )
    title = f"{len(others)} networks of {quiet_ms.min():.1f} to {quiet_ms.max():.1f} ms"
    tables.show(title, rows, RESULTS, origin=provenance.of(f"networks {NETWORKS_SEED}; chains as a build draws them"))


@contextlib.contextmanager
def busy(programs: int) -> Iterator[None]:
    """Inside, so many other programs are running."""
    with contextlib.ExitStack() as stack:
        for _ in range(programs):
            process = subprocess.Popen([sys.executable, "-c", BUSY])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def _whole_ms(archs: list[Arch]) -> np.ndarray:
    """(networks,) ms: the middle of several turns, each with graphs loaded anew."""
    with bench(identity()) as machine:
        turns = [[timing.ms for timing in machine.time_networks(archs, bursts=BURSTS)] for _ in range(TURNS)]
    return np.median(turns, axis=0)


if __name__ == "__main__":
    options.run(main)
