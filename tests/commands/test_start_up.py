"""What commands load before they answer: only what the answer takes. (Which modules, not how long: that is the
machine's.)"""

import subprocess
import sys

import pytest

from tests.commands.test_commands import ROOT

HEAVY = {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "PIL", "scipy", "pandas", "tensorboardX", "hypothesis"}
LISTED = """
import atexit, runpy, sys
module, *arguments = sys.argv[1:]
sys.argv = [module, *arguments]
atexit.register(lambda: print("\\nloaded", *sorted({name.partition(".")[0] for name in sys.modules})))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def loaded(module: str, *arguments: str, cwd) -> tuple[int, set[str]]:
    """The exit code of a command, and the heavy packages that it had loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", LISTED, module, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "HOME": str(cwd)},
        check=False,
    )
    line = done.stdout.rpartition("\nloaded ")[2]
    assert line, done.stderr
    return done.returncode, set(line.split()) & HEAVY


@pytest.mark.parametrize(
    "command",
    [
        "nas.search --help",
        "nas.search +target=pixel1_small w=-0.15 dry_run=true",
        "nas.search +target=pixel1_small evaluator=shared_weights space=mobilenet_v3 dry_run=true",
        "nas.search +target=pixel1_large space=accel_nasbench evaluator=surrogate controller=bayesian dry_run=true",
        "nas.train --help",
        "nas.train network=mobilenet_v3_small dry_run=true",
        "netadapt.run --help",
        "netadapt.run seed=mnasnet_a1 dry_run=true",
        "latency_luts.build --help",
        "latency_luts.compare pixel1 pixel2",
        "search_spaces.show mobilenet_v3_small",
        "search_spaces.show --help",
    ],
)
def test_help_and_plans_are_light(command, tmp_path):
    assert loaded(*command.split(), cwd=tmp_path) == (0, set())


@pytest.mark.parametrize(
    "command",
    [
        "nas.search sampels=3",
        "nas.search +target=pixel1_small w=2",
        "nas.search +target=pixel1_small controller.settings.lr=0",
        "netadapt.run seed=mnasnet_a9",
        "latency_luts.build dtype=fp16",
        "latency_luts.show device=nowhere",
        "latency_luts.validate device=pixel1",
        "search_spaces.show mobilenet_v4",
    ],
)
def test_errors_are_light(command, tmp_path):
    assert loaded(*command.split(), cwd=tmp_path) == (1, set())


def test_a_picture_takes_what_draws_it_and_no_more(tmp_path):
    assert loaded("latency_luts.show", "device=pixel1", cwd=tmp_path) == (0, {"matplotlib", "PIL"})
    assert (tmp_path / "pixel1.heatmap.png").exists()


def test_the_check_can_fail(tmp_path):
    (tmp_path / "heavy.py").write_text("import onnx")
    assert loaded("heavy", cwd=tmp_path) == (0, {"onnx"})
