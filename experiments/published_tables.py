"""Tables of phones' cores: `python -m experiments.published_tables path=phones_tflite.csv`

Fits a table to the published latencies of each core (`experiments.published_latencies`), with one thread, as
`latency_luts.calibrate` does: from scratch, or with the prior that the *other* devices give, whichever is nearer to
networks that are left out, of the prior as well. Writes them to latency_luts/tables/published, from where they are
shipped, and their errors to experiments/results/published_tables.csv.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments import fit_device_prior, options, provenance, tables
from experiments.published_latencies import TFLITE, Setup, read_phones
from latency_luts import calibrated, few, store, table
from latency_luts import prior as priors
from latency_luts.prior import Prior
from latency_luts.table import CalibratedTable
from latency_luts.work import kinds_of
from search_spaces.lower import lower

PHONES = {
    ("pixel4", "1large"): ("pixel4_tflite", "Pixel 4, one large core"),
    ("pixel4", "1med"): ("pixel4_medium_tflite", "Pixel 4, one medium core"),
    ("pixel4", "1small"): ("pixel4_little_tflite", "Pixel 4, one little core"),
    ("mi8se", "1large"): ("mi8se_tflite", "Mi 8 SE, one large core"),
    ("mi8se", "1small"): ("mi8se_little_tflite", "Mi 8 SE, one little core"),
    ("a03s", "1large"): ("a03s_tflite", "Galaxy A03s, one large core"),
    ("a03s", "1small"): ("a03s_little_tflite", "Galaxy A03s, one little core"),
    ("iphone7", "1large"): ("iphone7_tflite", "iPhone 7, one large core"),
}
"""Names of tables, and what they are of, by device and core. Those of int8 end in ``_int8``."""
RUNS = {
    "tflite_fp32": ("", "TensorFlow Lite 2.10, batch 1, fp32"),
    "tflite_int8": ("_int8", "TensorFlow Lite 2.10, batch 1, int8"),
}
"""By prior: how the names of tables end, and how networks run there."""


def main() -> None:
    given, rows = options.read({"path": ""}, needed=["path"]), []
    for prior, (ending, how) in RUNS.items():
        setups = read_phones(Path(given["path"]), prior.removeprefix("tflite_"))
        for setup in (s for s in setups if s.threads == "1" and (s.device, s.core) in PHONES):
            device, core = PHONES[setup.device, setup.core]
            made, rival = _made(device + ending, prior, setup, setups)
            words = f"{len(setup.ms)} latencies of {TFLITE}" + ", beginning with other devices" * bool(made.doubt)
            provenance_ = {
                **made.provenance,
                "command": "python -m experiments.published_tables path=phones_tflite.csv",
                "fitted_to": words,
                "set_up": f"{core}, {how}",
            }
            table.write(replace(made, provenance=provenance_), store.shipped_path(made.device))
            rows.append(_row(made, rival))
    origin = provenance.of(provenance.NOTHING_RANDOM, packages=("numpy",), runs=[])
    path = tables.RESULTS / "published_tables.csv"
    tables.show("Networks left out of the fit of their core", rows, path, origin=origin)


def _made(device: str, prior: str, setup: Setup, setups: list[Setup]) -> tuple[CalibratedTable, CalibratedTable]:
    """The table of a core, and the other that it might have been."""
    shipped, others = priors.load(prior), [other for other in setups if other.device != setup.device]
    about = {"about": shipped.about, "kinds": shipped.kinds, "errors": shipped.errors}

    def without(networks: np.ndarray) -> Prior:
        """What the other devices are like, by other networks than these (n,)."""
        left_out = frozenset(tuple(row) for row in setup.x[networks].tolist())
        return replace(fit_device_prior.fit(shipped.name, others, left_out), **about)

    ms, begun = setup.ms.tolist(), without(np.zeros(len(setup.ms), dtype=bool))
    with_prior = few.fit_few(device, setup.archs, ms, begun, families=setup.families, without=without)
    alone = calibrated.fit(setup.archs, ms, families=setup.families)
    from_scratch = replace(
        with_prior,
        provenance={**with_prior.provenance, "kinds": sorted(kinds_of(u for a in setup.archs for u in lower(a)))},
        costs=alone.costs,
        factors=alone.factors,
        networks=alone.networks,
        doubt=None,
    )
    first, second = table.error(with_prior), table.error(from_scratch)
    assert first
    assert second
    return (with_prior, from_scratch) if first.mape <= second.mape else (from_scratch, with_prior)


def _row(made: CalibratedTable, rival: CalibratedTable) -> dict[str, str]:
    off, other = table.error(made), table.error(rival)
    assert off
    assert off.family
    assert other
    return {
        "table": made.device,
        "networks": str(off.networks),
        "fitted": "with a prior" if made.doubt else "from scratch",
        "error %": f"{100 * off.mape:.1f}",
        "worst %": f"{100 * off.worst:.1f}",
        "family left out %": f"{100 * off.family.mape:.1f}",
        "the other way %": f"{100 * other.mape:.1f}",
    }


if __name__ == "__main__":
    options.run(main)
