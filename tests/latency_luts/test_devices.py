"""What a device can be called, which table is whose, and what is never replaced."""

from dataclasses import replace

import pytest

import latency_luts
from latency_luts import build, bundle, calibrate, import_table, store, validate
from latency_luts.options import BuildOptions, BundleOptions, CalibrateOptions, ImportOptions, ValidateOptions
from latency_luts.table import TableError, write
from search_spaces import spaces
from search_spaces.lower import lower
from tests.conftest import options_of, random_archs
from tests.fake_machine import HERE, named

NO_NAMES = ["../../evil", "a/b", "d.json", "$x$", "validation", "Validation", "", "-x", "x" * 65, "\x1b[31m"]
MNASNET = {"name": "mnasnet", "base_width": 0.35, "resolution_px": 32, "classes": 10}


def run(command, **values):
    """The command, in this process."""
    kind, defaults = {
        build: (BuildOptions, {"space": MNASNET}),
        bundle: (BundleOptions, {"space": MNASNET}),
        calibrate: (CalibrateOptions, {}),
        import_table: (ImportOptions, {"path": "none.yaml"}),
        validate: (
            ValidateOptions,
            {"nets": 10, "bursts": 4, "resolution_px": 32, "widths": [1.0], "spaces": ["mnasnet"]},
        ),
    }[command]
    if command is bundle:  # which writes no table
        values.pop("tables_dir", None)
    command._main(options_of(kind, **{**defaults, **values}))


@pytest.mark.parametrize("device", NO_NAMES)
def test_one_rule_for_names_everywhere(tmp_path, device):
    commands = {build: "device=", bundle: "device=", calibrate: "device=", import_table: "device=", validate: "device="}
    for command, said in commands.items():
        with pytest.raises(ValueError, match=said if device else "it must be a text"):
            run(command, device=device, tables_dir=str(tmp_path))
    space = spaces.get("mnasnet", base_width=0.35, resolution_px=32)
    for call in (
        lambda: build.build_for_space(space, device=device, tables_dir=tmp_path),
        lambda: bundle.bundle(device, space, tmp_path / "b.zip", threads=1, batch=1, dtype="fp32"),
        lambda: store.table_path(device),
    ):
        with pytest.raises(ValueError, match="device="):
            call()
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_devices_are_not_listed(tmp_path):
    for name in ("validation.json", "my phone.json", "rpi4.json", "rpi4.json.measured"):
        (tmp_path / name).write_text("{}")
    assert set(store.names(tables_dir=tmp_path)) == {*store.SHIPPED, "rpi4"}


@pytest.mark.parametrize("command", [build, calibrate, import_table])
def test_shipped_tables_are_never_replaced_or_hidden(monkeypatch, tmp_path, command):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    shipped = {path.name: path.read_bytes() for path in store._PACKAGE_TABLES.glob("pixel*.json")}
    for tables_dir in (None, str(store._PACKAGE_TABLES), str(store.user_tables_dir())):
        for device in ("pixel1", "Pixel1"):
            with pytest.raises(ValueError, match=f"device={device} is a shipped table"):
                run(command, device=device, tables_dir=tables_dir)
    assert {path.name: path.read_bytes() for path in store._PACKAGE_TABLES.glob("pixel*.json")} == shipped


def test_a_shipped_table_can_be_made_again_elsewhere(tmp_path):
    run(calibrate, device="pixel2", tables_dir=str(tmp_path))
    again, shipped = latency_luts.load(tmp_path / "pixel2.json").table, latency_luts.load("pixel2").table
    assert again.costs == pytest.approx(shipped.costs, rel=1e-6, abs=1e-12)


# ---- this machine, and others


def test_this_machine_is_not_measured_as_another_device(tmp_path, fake):
    machine, archs = fake(), random_archs(2, rng_seed=0)
    said = (
        "device=rpi4 is not this machine, test cpu, which is all that can be measured here; measure rpi4 itself with "
        "python -m latency_luts.bundle device=rpi4, or with ray.address=; this machine is device=host or "
        "device=host_NAME"
    )
    with pytest.raises(TableError) as caught:
        run(build, device="rpi4", tables_dir=str(tmp_path))
    assert str(caught.value) == said
    with pytest.raises(TableError) as caught:
        build.build("rpi4", lower(archs[0]), {}, tmp_path / "rpi4.json", fresh=True)
    assert str(caught.value) == said
    assert machine.calls == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fresh", [False, True])
def test_a_board_s_table_is_not_replaced_by_this_machine_s(tmp_path, fake, fresh):
    archs = random_archs(4, rng_seed=0)
    fake()
    table = build.build("host", lower(archs[0]), named([archs[0]] * 4), tmp_path / "host.json")
    for device in ("rpi4", "host_of_others"):
        path = tmp_path / f"{device}.json"
        write(replace(table, device=device, identity=replace(HERE, cpu="Cortex-A72")), path)
        before = path.read_bytes()
        machine = fake()
        with pytest.raises(
            TableError, match=f"was measured on Cortex-A72, and this is test cpu; measure {device} itself"
        ):
            build.build(device, lower(archs[1]), {}, path, fresh=fresh)
        with pytest.raises(TableError, match="was measured on Cortex-A72, and this is test cpu"):
            build.measure_missing(latency_luts.load(path), lower(archs[1]), path=path)
        assert machine.calls == 0
        assert path.read_bytes() == before


def test_a_damaged_table_is_made_again_as_its_message_says(tmp_path, fake):
    (arch,) = random_archs(1, rng_seed=0)
    fake()
    commands = {
        "host_int8": lambda path: build.build("host_int8", lower(arch), {}, path),
        "pixel1_here": lambda path: store.check_replaceable(path),
    }
    for device, make in commands.items():
        path = tmp_path / f"{device}.json"
        path.write_text("{")
        with pytest.raises(TableError, match="it is damaged: remove it, and build, import or copy it again"):
            make(path)
        path.unlink()
        make(path)


def test_names_of_this_machine(tmp_path, fake, capsys):
    (arch,) = random_archs(1, rng_seed=0)
    fake()
    table = build.build("host_int8", lower(arch), {}, str(tmp_path / "host_int8.json"), progress=True)
    assert (
        f"host_int8: measuring {len(table.units)} units on this machine: test cpu, onnxruntime 1"
        in capsys.readouterr().err
    )
    write(replace(table, device="laptop"), tmp_path / "laptop.json")  # of an earlier version, measured on this very CPU
    other = random_archs(2, rng_seed=1)[1]
    grown = build.build("laptop", {*lower(arch), *lower(other)}, {}, tmp_path / "laptop.json")
    assert len(grown.units) > len(table.units)


def test_host_is_this_machine_only(tmp_path):
    for values in ({"from": "measured.jsonl"}, {"ray": {"address": "10.0.0.1:1", "resource": "x"}}):
        with pytest.raises(
            ValueError, match="device=host is this machine; with .* give the other device a name of its own"
        ):
            run(build, device="host", tables_dir=str(tmp_path), **values)
    with pytest.raises(ValueError, match="device=host is this machine; with a bundle give the other device a name"):
        run(bundle, device="host")
    with pytest.raises(ValueError, match="device=host is this machine; with an import give the other device a name"):
        run(import_table, device="host", tables_dir=str(tmp_path))


def test_the_advice_measures_the_device_that_was_measured(tmp_path, fake):
    """Another runtime on the board: its own measurements replace its table, not this machine's."""
    (arch,) = random_archs(1, rng_seed=0)
    fake()
    path = tmp_path / "rpi4.json"
    board = replace(HERE, cpu="Cortex-A72")
    write(replace(build.build("host", lower(arch), {}, tmp_path / "host.json"), device="rpi4", identity=board), path)
    with pytest.raises(TableError, match=r"measure again with: .*build device=rpi4 from=m.jsonl fresh=true"):
        store.read_own(path, replace(board, runtime="onnxruntime 2"), options="from=m.jsonl")
    with pytest.raises(TableError, match="only that machine can add to it or validate it: take another device name"):
        store.read_own(path, HERE)
