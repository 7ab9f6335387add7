"""Tables of phones' cores: `python -m experiments.phone_tables path=phones_tflite.csv`

Fits a table to the latencies of each core (`experiments.phones`), fp32 and int8, one thread, as
`latency_luts.calibrate` does: from scratch, or with the prior that the *other* phones give, whichever is nearer to
networks that are left out. Writes them to latency_luts/tables/phones, from where they are shipped, and their errors to
experiments/results/phone_tables.csv.
"""

from datetime import UTC, datetime
from pathlib import Path

from experiments import fit_device_prior, options, phones, provenance, tables
from experiments.phones import Setup
from latency_luts import few, store, table
from latency_luts import prior as priors
from latency_luts.calibrate import calibrate
from latency_luts.known import KnownLatency
from latency_luts.table import CalibratedTable

NAMES = {
    ("pixel4", "1large"): ("pixel4", "Pixel 4, one large core"),
    ("pixel4", "1med"): ("pixel4_medium", "Pixel 4, one medium core"),
    ("pixel4", "1small"): ("pixel4_little", "Pixel 4, one little core"),
    ("mi8se", "1large"): ("mi8se", "Mi 8 SE, one large core"),
    ("mi8se", "1small"): ("mi8se_little", "Mi 8 SE, one little core"),
    ("a03s", "1large"): ("a03s", "Galaxy A03s, one large core"),
    ("a03s", "1small"): ("a03s_little", "Galaxy A03s, one little core"),
    ("iphone7", "1large"): ("iphone7", "iPhone 7, one large core"),
}
"""Of tables, and what they are of, by device and core. Those of int8 end in ``_int8``."""


def main() -> None:
    path = Path(options.read({"path": ""}, needed=["path"])["path"])
    rows = []
    for dtype in fit_device_prior.DTYPES:
        setups = phones.read(path, dtype)
        for setup in setups:
            if named := NAMES.get((setup.device, setup.core)):
                made, rival = _made(named, dtype, setup, setups)
                table.write(made, store.shipped_path(made.device))
                rows.append(_row(made, rival))
    origin = provenance.of(provenance.NOTHING_RANDOM, packages=("numpy",), runs=[])
    tables.show("Networks left out of the fit of their core", rows, tables.RESULTS / "phone_tables.csv", origin=origin)


def _made(
    named: tuple[str, str], dtype: str, setup: Setup, setups: list[Setup]
) -> tuple[CalibratedTable, CalibratedTable]:
    """The table of a core, and the other that it might have been."""
    device, core = named[0] + "_int8" * (dtype == "int8"), named[1]
    shipped = priors.load(f"tflite_{dtype}")
    others = fit_device_prior.fit("other phones", [other for other in setups if other.device != setup.device])
    others = priors.Prior(
        name=f"tflite_{dtype} without {setup.device}",
        mean=others.mean,
        covariance=others.covariance,
        noise=others.noise,
        kinds=shipped.kinds,
        errors=shipped.errors,
    )
    with_prior = few.fit_few(device, setup.archs, setup.ms.tolist(), others)
    known = [KnownLatency(arch=a, ms=ms, source_set="") for a, ms in zip(setup.archs, setup.ms.tolist(), strict=True)]
    alone = calibrate(device, known)
    errors = [(off.mape if (off := table.error(each)) else 1.0) for each in (with_prior, alone)]
    made, rival = (with_prior, alone) if errors[0] <= errors[1] else (alone, with_prior)
    words = f"{len(setup.ms)} latencies of {phones.SOURCE}" + ", beginning with the other phones" * bool(made.doubt)
    provenance_ = {
        **made.provenance,
        "command": "python -m experiments.phone_tables path=phones_tflite.csv",
        "date": datetime.now(UTC).date().isoformat(),
        "fitted_to": words,
        "set_up": f"{core}, TensorFlow Lite 2.10, batch 1, {dtype}",
    }
    return CalibratedTable(
        device=device,
        provenance=provenance_,
        costs=made.costs,
        factors=made.factors,
        networks=made.networks,
        doubt=made.doubt,
    ), rival


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
