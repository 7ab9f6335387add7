"""`python -m latency_luts.calibrate device=pixel1 latencies=FILE.csv`: fits a table to latencies of whole networks.

The file has a line for each network: ``network`` (a published name like "MobileNetV2 0.75", one of the zoo, or the
path of a network's JSON file), ``resolution_px``, the latency in ``<device>_ms`` or ``latency_ms``, and optionally
``source_set`` (the set-up; each gets a factor of its own) and ``dtype`` (lines of fp32 are taken, with a prior of int8
those of int8). Without a file the published latencies that the zoo carries are taken: so the shipped tables of Pixel 1,
2 and 3 were made, which are not replaced: ``tables_dir=DIR`` makes them again elsewhere.

Two errors are printed and kept: of each network left out of the fit, and of each with its whole family left out, for
networks of another sort. A family is a file of the zoo; other networks are of one family if their names begin with the
same word. The table also keeps which kinds of units its networks had: see `latency_luts.unseen`.

A few latencies of a file, even one, are enough with a prior that says what such devices are like (``prior=``,
`latency_luts.prior`): ``tflite_fp32`` and ``tflite_int8`` for one core of a phone with TensorFlow Lite, ``ncnn`` for
one core of a board, phone or computer with ncnn. The table then says how far it may be off, and which network would
tell most next. With 5 networks or more ``prior=auto`` takes what is nearest to networks that are left out: no prior, or
one of fp32.

With ``correct=NAME`` the units of that table (measured or imported) are kept, and only its scale and offset are fitted
to the latencies: a handful of networks timed on the device makes a borrowed or stale table its own.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from latency_luts import calibrated, few, store
from latency_luts import prior as priors
from latency_luts.correction import fit_correction
from latency_luts.known import KnownLatency, named_alike, published, read_csv
from latency_luts.model import LatencyModel
from latency_luts.options import CalibrateOptions
from latency_luts.origin import Corrected
from latency_luts.table import CalibratedTable, Correction, MeasuredTable, NetworkFit, Table, TableError, error, write
from latency_luts.work import kinds_of
from nas_runtime.command import run
from nas_runtime.console import brief, counted
from search_spaces import zoo
from search_spaces.lower import lower
from search_spaces.zoo.published import TABLE3

__all__ = ["calibrate", "correct"]


_AUTO, _INT8 = "auto", "_int8"
_FEWEST = 5  # networks, from scratch
_SHOWN = ("mobilenet_v3_small", "mobilenet_v2", "mnasnet_a1")
MOST_ERROR = 0.30
"""Of networks left out of the fit, on average: a table further off says less than counting multiply-adds does."""


def calibrate(
    device: str, measured: Sequence[KnownLatency], *, reference: str | None = None, made_by: str = ""
) -> CalibratedTable:
    """The table of `device` from latencies of whole networks.

    Args:
        reference: the source set that the table predicts; if None the MobileNetV3 paper's table 3 where it is among
            them, else the set with most networks.

    Raises:
        ValueError: too few networks, or no latency of `reference`.
    """
    count = Counter(item.source_set for item in measured)
    reference = reference or (TABLE3 if TABLE3 in count else count.most_common(1)[0][0])
    fitted = calibrated.fit(
        [item.arch for item in measured],
        [item.ms for item in measured],
        [item.source_set for item in measured],
        reference=reference,
    )
    return CalibratedTable(
        device=device,
        provenance={
            "command": made_by,
            "date": datetime.now(UTC).date().isoformat(),
            "fitted_to": f"{len(measured)} latencies from " + ", ".join(name or "one file" for name in sorted(count)),
            "reference_set": reference,
            "kinds": sorted(kinds_of(unit for item in measured for unit in lower(item.arch))),
            "set_up": "as the latencies are",
        },
        costs=fitted.costs,
        factors=fitted.factors,
        networks=fitted.networks,
    )


def correct(device: str, table: MeasuredTable, measured: Sequence[KnownLatency], *, source: str = "") -> MeasuredTable:
    """`table` under the name `device`, its scale and offset fitted to `measured`.

    Args:
        source: where these are from, for the table's description.

    Raises:
        ValueError: fewer than 4 networks, latencies of several set-ups, or such as do not grow with the table's.
        MissingUnitsError: the table does not have all units of one of them.
    """
    if len(sets := {item.source_set for item in measured}) > 1:
        raise ValueError(f"the latencies are from {len(sets)} set-ups ({', '.join(sorted(sets))}); give those of one")
    linear = replace(table.correction, smallest_ms=0.0)  # of two such corrections one is made
    model = LatencyModel(replace(table, correction=linear))
    before_ms = [model.latency_ms(item.arch) for item in measured]
    change, networks = fit_correction([item.arch.name for item in measured], before_ms, [item.ms for item in measured])
    if change.scale <= 0:
        raise ValueError(
            f"the latencies do not grow with those of the table of {table.device!r}: networks that it says are slower "
            "are faster by them; check the latencies, or correct another table"
        )
    correction = Correction(
        scale=change.scale * table.correction.scale,
        per_kernel_ms=change.scale * table.correction.per_kernel_ms,
        offset_ms=change.scale * table.correction.offset_ms + change.offset_ms,
        saved_by_mib_ms=table.correction.saved_by_mib_ms,
        cache_mib=table.correction.cache_mib,
    ).of_networks([fit.fitted_ms for fit in networks])
    units_of = table.origin.device if isinstance(table.origin, Corrected) else table.device
    networks_of = f"{len(measured)} networks" + (f" of {source}" if source else "")
    provenance = {**table.provenance, "corrected_from": units_of, "corrected_to": networks_of}
    provenance["corrected_date"] = datetime.now(UTC).date().isoformat()
    return replace(
        table, device=device, provenance=provenance, correction=correction, networks=networks, validation=None
    )


def _check_fit(table: Table, *, force: bool) -> None:
    """Refuses a table that is too wrong to choose networks by.

    Raises:
        TableError: its leave-one-out error is larger than `MOST_ERROR`, and it is not taken by `force`.
    """
    off = error(table)
    if off and off.mape > MOST_ERROR and not force:
        worst = max(table.networks, key=lambda n: abs(n.left_out_ms / n.ms - 1))
        raise TableError(
            f"the leave-one-out error is {off.mape:.0%}, and at most {MOST_ERROR:.0%} is accepted; nothing was saved; "
            f"worst: {worst.name}, {worst.ms:g} ms where the others say {worst.left_out_ms:.3g} ms; check the "
            "latencies, or take the table in any case with force=true"
        )


def _main(options: CalibrateOptions) -> None:
    from nas_runtime.console import new_console

    device, file, base, reference = options.device, options.latencies, options.correct, options.reference
    path = store.own_path(device, tables_dir=options.tables_dir, shipped_elsewhere=True)
    console = new_console()
    prior = None if options.prior in (None, _AUTO) else priors.load(options.prior)
    if prior and (base is not None or file is None):
        raise ValueError(f"prior={prior.name} is for latencies of a file, and not for correct=; leave one out")
    dtype = "int8" if prior and prior.name.endswith(_INT8) else "fp32"
    measured, unknown = (published(device), ()) if file is None else read_csv(file, device, dtype=dtype)
    made_by = f"python -m latency_luts.calibrate device={device}"
    table: Table
    if base is None:
        if reference is not None and reference not in {item.source_set for item in measured}:
            sets = ", ".join(sorted({item.source_set for item in measured}))
            raise ValueError(f"reference={brief(reference)}: it must be one of the source sets: {sets}")
        table = _fitted(options, measured, made_by)
    else:
        source = store.load(base, tables_dir=options.tables_dir).table
        if not isinstance(source, MeasuredTable):
            raise TableError(f"correct={base}: it is a calibrated table, without units; calibrate it anew instead")
        table = correct(device, source, measured, source="published latencies" if file is None else file.name)
    _check_fit(table, force=options.force)
    if device != base:  # a table that is corrected itself keeps its units
        store.check_replaceable(path)
    write(table, path)
    console.print(_rows(device, table.networks))
    if unknown:
        console.print(f"not in the zoo and left out: {', '.join(map(named_alike, unknown))}")
    if isinstance(table, CalibratedTable) and len(table.factors) > 1:
        for name, factor in table.factors.items():
            errors = [abs(n.left_out_ms / n.ms - 1) for n in table.networks if n.source_set == name]
            console.print(f"{name}: factor {factor:.3f}, left-out error {sum(errors) / len(errors):.1%}")
    console.print(LatencyModel(table).describe())
    for line in _doubts(table, measured):
        console.print(line)
    console.print(f"table: {path}")


def _fitted(options: CalibrateOptions, measured: Sequence[KnownLatency], made_by: str) -> CalibratedTable:
    """The table, with a prior where one is asked for or helps.

    Raises:
        ValueError: too few networks, and no prior; or latencies that none of its devices could have.
    """
    device, reference, name = options.device, options.reference, options.prior
    sets = {item.source_set for item in measured}
    if name is None or (name == _AUTO and (options.latencies is None or len(sets) > 1)):
        return calibrate(device, measured, reference=reference, made_by=made_by)
    if len(sets) > 1:
        raise ValueError(f"prior= is for latencies of one set-up, not of {len(sets)} ({', '.join(sorted(sets))})")
    archs, ms = [item.arch for item in measured], [item.ms for item in measured]
    known = [priors.load(each) for each in priors.names() if not each.endswith(_INT8)]
    if name == _AUTO and len(set(archs)) < _FEWEST:
        kinds = "; ".join(f"prior={prior.name} for {prior.about}" for prior in known)
        raise ValueError(
            f"latencies={options.latencies} has {counted(len(set(archs)), 'network')}, and from scratch {_FEWEST} are "
            f"needed; say what the device is like: {kinds}"
        )
    chosen = known if name == _AUTO else [priors.load(name)]
    if not options.force:
        few.check_speed(archs, ms, chosen)
    made = [few.fit_few(device, archs, ms, prior, made_by=made_by) for prior in chosen]
    if name == _AUTO:
        made.append(calibrate(device, measured, reference=reference, made_by=made_by))
    return min(made, key=_left_out_error)


def _left_out_error(table: CalibratedTable) -> float:
    off = error(table)
    return off.mape if off else float("inf")


def _doubts(table: Table, measured: Sequence[KnownLatency]) -> list[str]:
    """How far published networks may be off, and what to measure next, where a prior says."""
    known = table.known if isinstance(table, CalibratedTable) else None
    if known is None:
        return []
    model, lines = LatencyModel(table), []
    for name in _SHOWN:
        arch = zoo.get(name)
        low, high = model.interval_ms(arch) or (0.0, 0.0)
        lines.append(f"{name}: {model.latency_ms(arch):.3g} ms, {low:.3g} to {high:.3g} in 90% of cases")
    if more := few.next_network(known, [item.arch for item in measured]):
        lines.append(
            f"to know more, measure {more[0]} next: it would leave {more[1]:.0%} less doubt about such networks"
        )
    return lines


def _rows(device: str, networks: Sequence[NetworkFit]):
    from rich.table import Table as Rows

    rows = Rows(title=f"{device}: latency in ms", title_justify="left")
    rows.add_column("network", no_wrap=True)
    whole_families = any(n.family_out_ms is not None for n in networks)
    for name in ("given", "fitted", "left out", "error left out", *["error, family left out"] * whole_families):
        rows.add_column(name, justify="right")
    source_set = ""
    for n in sorted(networks, key=lambda n: n.source_set):
        if n.source_set != source_set:
            source_set = n.source_set
            rows.add_section()
            rows.add_row(source_set)
        left_out = (f"{n.left_out_ms:.1f}", f"{n.left_out_ms / n.ms - 1:+.1%}") if len(networks) > 1 else ("", "")
        family = "" if n.family_out_ms is None else f"{n.family_out_ms / n.ms - 1:+.1%}"
        rows.add_row(n.name, f"{n.ms:.1f}", f"{n.fitted_ms:.1f}", *left_out, family)
    return rows


if __name__ == "__main__":
    run(_main, CalibrateOptions)
