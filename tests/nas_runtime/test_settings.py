"""What is wrong on a command line is said in one line that helps, and nothing is left behind."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import nas.search
from nas.search_options import SearchOptions
from nas_runtime.command import call
from nas_runtime.compose import compose, conf_dir, plain
from nas_runtime.options import read

ROOT = Path(__file__).parents[2]
TARGET = "+target=pixel1_small"
LONG = "x" * 10_000


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reads_nothing(options: SearchOptions) -> None:
    pass


def reads_w(options: SearchOptions) -> None:
    print("w is", options.w)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+target=pixel1_smal"], "no target 'pixel1_smal'; did you mean pixel1_small?; allowed: host, host_large"),
        (["target=pixel1_small"], "target is not set yet; write +target=..."),
        ([TARGET, "sampels=3"], "no setting 'sampels'; did you mean samples?"),
        ([TARGET, "+sampels=3"], "no setting 'sampels'; did you mean samples?"),
        ([TARGET, "++target.lik=x"], "no setting 'target.lik'; did you mean target.like?"),
        ([TARGET, "+samples=3"], "samples is set already; write samples=... without +"),
        ([TARGET, "evaluator.epoch=3"], "no setting 'evaluator.epoch'; did you mean evaluator.epochs?"),
        (
            [TARGET, "evaluator=shared_weights", "evaluator.shared.epoch=3"],
            "no setting 'evaluator.shared.epoch'; did you mean evaluator.shared.epochs?",
        ),
        ([TARGET, "controller=rnn"], "no controller 'rnn'"),
        ([TARGET, "dataset=imagenet"], "no dataset 'imagenet'; did you mean image_folder?; allowed"),
        ([TARGET, "controller=null"], "controller=null: it must be one name; allowed: bayesian, evolution"),
        ([TARGET, "controller=1"], "controller=1: it must be one name; allowed: bayesian"),
        ([TARGET, "controller=[random,rnn_ppo]"], "controller=['random', 'rnn_ppo']: it must be one name; allowed"),
        ([TARGET, "evaluator=null"], "evaluator=null: it must be one name; allowed: proxy_training"),
        ([TARGET, "space=null"], "space=null: it must be one name; allowed: accel_nasbench"),
        ([TARGET, "dataset=[]"], "dataset=[]: it must be one name; allowed: cifar10"),
        (["target=null"], "target=null: it must be one name; allowed: host, host_large"),
        ([TARGET, "w=-1,-2"], "w=-1,-2: a list is written w=[-1,-2]; -m runs one job for each value"),
        ([TARGET, "w"], "w: write name=value, or quote: "),
        ([TARGET, "w=["], "w=[: write name=value, or quote: "),
        ([TARGET, f"controller={LONG}"], "controller=xxxxx"),
        ([TARGET, f"{LONG}=1"], "no setting 'xxxxx"),
        (["--config-name", "serch", TARGET], "no config 'serch'; did you mean search?; allowed: bundle, calibrate"),
        (["--config-dir", "nowhere", TARGET], "Additional config directory"),
        (["--config-dir", ".", TARGET, "sampels=3"], "no setting 'sampels'; did you mean samples?"),
        (["--cfg", "job", TARGET, "sampels=3"], "no setting 'sampels'; did you mean samples?"),
        (["-m", TARGET, "sampels=3,4"], "no setting 'sampels'; did you mean samples?"),
        (["-m", TARGET, "controller=rnn_pp,random"], "no controller 'rnn_pp'; did you mean rnn_ppo?"),
        (["-m", TARGET, "controller=null,random"], "controller=null: it must be one name; allowed: bayesian"),
    ],
)
def test_what_no_config_can_be_made_of(here, capfd, arguments, message):
    assert call(reads_nothing, SearchOptions, arguments) == 1
    printed = capfd.readouterr().err
    assert printed.startswith(f"error: {message}")
    assert printed.count("\n") == 1
    assert len(printed) < 500
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["w=-0.15"],
            "no target: add +target=NAME; there are: host, host_large, host_small, pixel1_large, pixel1_small",
        ),
        (["+target=host"], "the target says neither target.target_ms, milliseconds, nor target.like, a network"),
        (
            [TARGET, "limits={pixel2_ms: 12}", "limits={params_m: 1}"],
            "limits= is given twice; give it once, with all of its names and values",
        ),
        ([TARGET, "w=0.1"], "w=0.1: it must be a number "),
        ([TARGET, "w=fast"], "w=fast: it must be a number "),
        ([TARGET, "samples=0"], "samples=0: it must be a whole number at least 1"),
        ([TARGET, "samples=1.5"], "samples=1.5: it must be a whole number at least 1"),
        ([TARGET, "epochs=0"], "evaluator.epochs=0: it must be a whole number at least 1"),
        ([TARGET, "reward=sofd"], "reward=sofd; did you mean soft?; allowed: soft, hard"),
        ([TARGET, "target.device=pixel9"], "no latency table for device 'pixel9'; did you mean pixel"),
        ([TARGET, "target.target_ms=-3"], "target.target_ms=-3: it must be a number above 0"),
        ([TARGET, "target.target_ms=1"], "the target, 1 ms, is below all networks of this space, which"),
        (
            [TARGET, "evaluator=shared_weights", "evaluator.shared.largest.share=0"],
            "evaluator.shared: shares largest 0, align 0.2, mixed 0.7; allowed: some above 0, and with align also",
        ),
        ([TARGET, "evaluator=surrogate"], "the surrogate knows the networks of"),
        ([TARGET, "evaluator=surrogate", "duplicates=train"], "duplicates=train is for evaluator=proxy_training"),
        ([TARGET, "space.base_width=0"], "space.base_width=0: it must be a number above 0"),
        ([TARGET, "executor=dask"], "executor=dask; allowed: ray, serial"),
        ([TARGET, "dataset=cifar10"], "data set 'cifar10' needs dataset.path="),
        ([TARGET, "dataset=cifar10", "dataset.path=nowhere"], "dataset.path=nowhere: there is no such file or folder"),
        ([TARGET, "run_dir=/proc/run"], "run_dir=/proc/run cannot be written"),
        ([TARGET, "controller.settings=5"], "controller.settings=5: it must be names with values"),
        ([TARGET, "controller.settings=[1]"], "controller.settings=[1]: its value has another form; --help says"),
    ],
)
def test_what_no_search_can_be_made_of(here, capfd, arguments, message):
    assert call(nas.search.main, SearchOptions, arguments) == 1
    printed = capfd.readouterr().err
    assert printed.startswith(f"error: {message}")
    assert printed.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_sweep_goes_on_after_a_job_that_fails(here, capfd):
    assert call(reads_w, SearchOptions, ["-m", TARGET, "w=-1,0.5,-2"]) == 1
    out, err = capfd.readouterr()
    assert out == (f"job 0: {TARGET} w=-1\nw is -1.0\njob 1: {TARGET} w=0.5\njob 2: {TARGET} w=-2\nw is -2.0\n")
    line = f"error: job 1 ({TARGET} w=0.5): w=0.5: it must be a number at least -10 and at most 0\n"
    assert err == f"{line}1 of 3 jobs failed:\n{line}"
    assert call(reads_w, SearchOptions, ["-m", TARGET, "w=-1,-2"]) == 0
    assert list(here.iterdir()) == []  # no multirun/


def test_full_errors(here, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="Could not override 'sampels'"):
        call(reads_w, SearchOptions, [TARGET, "sampels=3"])
    with pytest.raises(ValueError, match="w=1: it must be"):
        call(reads_w, SearchOptions, [TARGET, "w=1"])
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--help"], "usage: python -m nas.search [name=value ...] [+target=NAME]"),
        (["--cfg", "job", TARGET], "target_ms: 15.8"),
        (["--info", "defaults"], "fashion_mnist_mini"),
        (["--shell-completion", "install=bash"], "complete"),
        (["--hydra-help"], "Hydra"),
    ],
)
def test_what_hydra_offers(here, capfd, arguments, part):
    with contextlib.suppress(SystemExit):  # of Hydra
        call(reads_nothing, SearchOptions, arguments)
    assert part in capfd.readouterr().out
    assert list(here.iterdir()) == []


def test_own_configs(here, capfd):
    """Files of one's own beside conf/ are found, and what they set is known."""
    (here / "target").mkdir()
    (here / "target" / "mine.yaml").write_text(
        "name: mine\ndevice: pixel1\ntarget_ms: 7\nlike: null\nbase_width: 0.35\n"
    )
    (here / "target" / "typo.yaml").write_text("name: typo\ndevice: pixel1\ntarget_mss: 7\nbase_width: 0.35\n")
    (here / "lab").mkdir()
    (here / "lab" / "quick.yaml").write_text("# @package _global_\nsamples: 3\n")
    (here / "lab" / "a.yaml").write_text("colour: red\n")

    def task(options: SearchOptions) -> None:
        assert options.target
        print(options.target.target_ms, options.samples)

    assert call(task, SearchOptions, ["-cd", ".", "+target=mine", "+lab=quick"]) == 0
    assert capfd.readouterr().out == "7.0 3\n"
    for arguments, message in {
        ("+target=mien",): "no target 'mien'; did you mean mine?; allowed: host, host_large",
        ("+target=typo",): "no setting 'target.target_mss'; did you mean target.target_ms?",
        ("+target=mine", "+lab=a"): "no setting 'lab'; ",
        ("+target=mine", "+lab=quik"): "no lab 'quik'; did you mean quick?",
    }.items():
        assert call(task, SearchOptions, ["-cd", ".", *arguments]) == 1
        assert message in capfd.readouterr().err


def test_all_targets_have_the_same_settings():
    files = sorted((conf_dir() / "target").glob("*.yaml"))
    assert len(files) == 7
    assert {tuple(OmegaConf.load(file)) for file in files} == {("name", "device", "target_ms", "like", "base_width")}
    options = read(SearchOptions, plain(compose("search", [TARGET, "target.target_ms=null", "target.like=mnasnet_a1"])))
    assert options.target
    assert options.target.target_ms is None


def test_memory_that_is_not_there_is_one_line(here, capfd):
    def task(options: SearchOptions) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    assert call(task, SearchOptions, [TARGET]) == 1
    assert capfd.readouterr().err == "error: not enough memory; give smaller numbers (Unable to allocate 7 TiB)\n"


@pytest.mark.parametrize("show", ["print('line')", "new_console().print('line')"])
def test_a_reader_that_goes_away(show):
    """As with ``| head -1``: no traceback, neither then nor when Python flushes its output at the end."""
    code = f"""
import time
from nas_runtime.console import new_console
from latency_luts.options import BuildOptions
from nas_runtime.command import run
def task(settings):
    for _ in range(1000):
        {show}
run(task, BuildOptions)
"""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
