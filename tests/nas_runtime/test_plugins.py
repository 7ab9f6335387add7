"""What others have made, on the command line."""

import pytest
from omegaconf import OmegaConf

from nas_runtime import registry
from nas_runtime.command import composed
from tests.own_parts import __name__ as PARTS

SLEEPY, SLIM, NOISE = (f"{PARTS}:{name}" for name in ("Sleepy", "slim", "noise"))


@pytest.fixture
def run(capsys):
    """Composes a command line; gives the exit code, what each job read, and what standard error says."""

    def compose(*arguments, config="search", names=("controller", "space", "dataset")):
        read = []

        def task(made):
            values = (OmegaConf.select(made, name) for name in names)
            read.append([OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for v in values])

        code = composed(task, config, list(arguments))
        return code, read, capsys.readouterr().err

    return compose


@pytest.fixture
def declared(monkeypatch):
    """Declares entry points: ``declared(group, name=value)``."""
    found = {}

    def declare(group, **points):
        found[group] = {name: (registry._Declared(value, "bold"),) for name, value in points.items()}

    monkeypatch.setattr(registry, "_entry_points", lambda group: found.get(group, {}))
    return declare


def test_a_dotted_name_has_the_settings_of_its_group(run):
    code, [(controller, space, dataset)], _ = run(
        f"controller={SLEEPY}",
        "controller.settings.nights=3",
        f"space={SLIM}",
        f"dataset={NOISE}",
        "+target=pixel1_small",
    )
    assert code == 0
    assert controller == {"name": SLEEPY, "settings": {"nights": 3, "depth": 0.5}}
    assert space == {"name": SLIM, "base_width": 0.35, "resolution_px": 224, "classes": None}
    assert dataset == {
        "name": NOISE,
        "path": None,
        "download": False,
        **dict.fromkeys(("train_images", "holdout", "test", "resolution_px", "crop")),
    }


def test_other_commands_take_them_too(run):
    assert run(f"space={SLIM}", "space.classes=10", config="lut", names=["space.classes"])[1] == [[10]]
    assert run(f"dataset={NOISE}", "seed=x", config="netadapt", names=["dataset.name"])[1] == [[NOISE]]


def test_the_groups_have_the_same_settings_as_their_files(run):
    """A setting of a group in conf/ that `plugins` forgets would be missing for what others make."""
    _, [own], _ = run(f"space={SLIM}", f"dataset={NOISE}", names=("space", "dataset"))
    for space, dataset in (("mnasnet", "cifar10"), ("mobilenet_v3", "image_folder")):
        _, [shipped], _ = run(f"space={space}", f"dataset={dataset}", names=("space", "dataset"))
        assert [sorted(one) for one in own] == [sorted(one) for one in shipped]


def test_an_entry_point_is_found_by_its_name(run, declared):
    declared("platform_aware_nas.controllers", sleepy=SLEEPY)
    code, [(controller,)], _ = run("controller=sleepy", "controller.settings.depth=1", names=["controller"])
    assert (code, controller) == (0, {"name": "sleepy", "settings": {"nights": 7, "depth": 1}})
    run(f"controller={SLEEPY}")
    code, _, err = run("controller=slepy")
    assert code == 1
    assert (
        "no controller 'slepy'; did you mean sleepy?; allowed: bayesian, evolution, random, reinforce, rnn_ppo, sl"
        in err
    )
    assert "your own: package.module:attribute" in err
    assert SLEEPY not in err  # which was asked for before, and is no name that others know


def test_sweeps(run):
    code, read, _ = run("-m", f"controller=random,{SLEEPY}", "samples=3", names=["controller.name"])
    assert (code, read) == (0, [["random"], [SLEEPY]])
    code, read, _ = run(
        "-m", f"controller={SLEEPY}", "controller.settings.nights=1,2", names=["controller.settings.nights"]
    )
    assert (code, read) == (0, [[1], [2]])
    code, read, err = run("-m", "controller=random,tests.own_parts:Slepy")
    assert (code, read) == (1, [])  # said before the first job
    assert "tests.own_parts has no 'Slepy'; did you mean Sleepy?" in err


def test_configs_of_ones_own_work(run, tmp_path):
    (tmp_path / "controller").mkdir()
    (tmp_path / "controller" / "light.yaml").write_text(f"name: {SLEEPY}\nsettings: {{nights: 1}}\n")
    (tmp_path / "mine.yaml").write_text(
        f"defaults:\n- search\n- override controller: {SLEEPY}\n- override space: {SLIM}\n- _self_\nsamples: 5\n"
    )
    where, names = f"--config-dir={tmp_path}", ["controller.settings.nights", "space.name", "samples"]
    assert run(where, "controller=light", names=names)[1] == [[1, "mnasnet", 42]]
    assert run(where, "--config-name=mine", names=names)[1] == [[7, SLIM, 5]]
    assert run(where, "--config-name=mine", "controller.settings.nights=2", names=names)[1] == [[2, SLIM, 5]]
    assert run(where, "--config-name=mine", "-m", "samples=1,2", names=names)[1] == [[7, SLIM, 1], [7, SLIM, 2]]
    (tmp_path / "mine.yaml").write_text("defaults:\n- search\n- override controller: nowhere:Mine\n")
    code, _, err = run(where, "--config-name=mine")
    assert code == 1
    assert "controller nowhere:Mine: nowhere cannot be imported (No module named 'nowhere')" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["controller=nowhere:Mine"],
            "controller nowhere:Mine: nowhere cannot be imported (No module named 'nowhere')",
        ),
        (
            [f"controller={SLEEPY}", "controller.settings.night=3"],
            "no setting 'controller.settings.night'; did you mean",
        ),
        ([f"controller={PARTS}:WithChoosy"], "WithChoosy: its settings need a default each"),
        ([f"controller={PARTS}:WithDict"], "WithDict: annotate its parameter settings"),
        (["target=my:target"], "target"),  # a group that nobody else can have things of
    ],
)
def test_one_line_says_what_is_wrong(run, arguments, message):
    code, read, err = run(*arguments)
    assert (code, read) == (1, [])
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
