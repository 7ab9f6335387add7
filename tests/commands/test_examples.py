"""The examples, each as a new user has it: a package of its own, installed into an environment, found by its names."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from latency_luts.options import BuildOptions, ValidateOptions
from nas.search_options import SearchOptions
from nas_runtime import registry
from nas_runtime.command import call

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/pyproject.toml"))
OPTIONS = {"nas.search": SearchOptions, "latency_luts.build": BuildOptions, "latency_luts.validate": ValidateOptions}
TINY = (
    *("samples=2", "batch=2", "epochs=1", "final.networks=1", "final.epochs=1", "executor=serial"),
    *("dataset.train_images=64", "dataset.holdout=64", "+target=pixel1_small", "space.base_width=1"),
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of examples/, in which packages can be built."""
    folder = tmp_path_factory.mktemp("sources") / "examples"
    shutil.copytree(ROOT / "examples", folder, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    return folder


@pytest.fixture(scope="module")
def environment(sources, tmp_path_factory):
    """A folder with all six installed."""
    target = tmp_path_factory.mktemp("environment")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    packages = [str(sources / name) for name in EXAMPLES]
    run(["-m", "pip", "install", *offline, "--target", str(target), *packages], cwd=target, path=ROOT)
    return target


def run(arguments, *, cwd, path):
    """Runs Python with `path` before what is installed, and gives what it says."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [path, ROOT])), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def module_of(folder):
    (module,) = (path for path in folder.glob("*.py") if not path.name.startswith("test_"))
    return module


def test_there_is_one_of_each_kind():
    assert EXAMPLES == ["controller", "dataset", "evaluator", "reward", "runtime", "space"]


def test_they_are_what_their_own_tests_say(sources, environment):
    run(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", str(sources)],
        cwd=sources,
        path=environment,
    )


def test_all_are_found_by_the_names_of_their_entry_points(environment, tmp_path):
    names = ("controller=annealing", "space=small_mobilenet", "dataset=drawn_shapes", "reward=hinge")
    told = run(
        ["-m", "nas.search", *TINY, *names, "controller.settings.cooling=0.5", "run_dir=run"],
        cwd=tmp_path,
        path=environment,
    )
    assert "reward      hinge: The accuracy, less 0.2 for each time that the target is exceeded." in told
    config = (tmp_path / "run" / "config.yaml").read_text()
    for written in ("name: annealing", "cooling: 0.5", "name: small_mobilenet", "name: drawn_shapes", "reward: hinge"):
        assert written in config
    trials = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()][1:]
    assert len(trials) == 2


def test_an_evaluator_is_found_by_the_name_of_its_entry_point(environment, tmp_path):
    given = ("+target=pixel1_small", "evaluator=naswot", "evaluator.settings.pictures=8", "samples=4", "batch=2")
    told = run(["-m", "nas.search", *given, "executor=serial", "run_dir=run"], cwd=tmp_path, path=environment)
    assert "NASWOT's score s of the untrained network, as s / (s + 500)" in told


def test_all_are_found_by_dotted_names_in_the_current_directory(sources, tmp_path):
    for name in EXAMPLES:
        shutil.copy(module_of(sources / name), tmp_path)
    names = (
        *("controller=simulated_annealing:Annealing", "space=small_mobilenet:make", "dataset=drawn_shapes:load"),
        "reward=hinge_reward:hinge",
    )
    told = run(["-m", "nas.search", *TINY, *names, "dry_run=true"], cwd=tmp_path, path=tmp_path)
    for said in (
        "small_mobilenet:make",
        "hinge_reward:hinge: The accuracy, less",
        "drawn_shapes:load",
        "annealing:Anneal",
    ):
        assert said in told
    given = ("+target=pixel1_small", "evaluator=without_training:Naswot", "dry_run=true")
    assert "NASWOT" in run(["-m", "nas.search", *given], cwd=tmp_path, path=tmp_path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_commands_of_their_texts_are_understood(name, sources, environment, monkeypatch):
    monkeypatch.syspath_prepend(environment)
    monkeypatch.chdir(sources / name)
    registry._entry_points.cache_clear()
    commands = re.findall(
        r"^    python -m (\S+) (.*?)(?:  +#.*)?$", module_of(sources / name).read_text(), re.MULTILINE
    )
    assert len(commands) >= 2
    try:
        for command, arguments in commands:
            assert call(lambda _: None, OPTIONS[command], arguments.split()) == 0, (command, arguments)
    finally:
        registry._entry_points.cache_clear()
