"""Imports flow one way, in the order of `ORDER`, and heavy ones stay out."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["nas_runtime", "search_spaces", "latency_luts", "nas", "netadapt", "experiments"]
# third-party packages that only these files may import at all
ONLY_IN = {
    "ray": {"nas_runtime/cluster.py", "nas/executor_ray.py", "nas/supernet/parallel.py", "nas/tune.py"},
    "hydra": {"nas_runtime/compose.py"},
    "omegaconf": {"nas_runtime/compose.py", "nas_runtime/settings.py"},
    "onnx": {"search_spaces/onnx_net.py"},
    "onnxruntime": {"latency_luts/measure.py", "latency_luts/on_device.py"},
}


def imported(source: str) -> set[str]:
    """The top-level packages that a piece of source imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def violations(path: str, source: str) -> list[str]:
    package = path.split("/")[0]
    above = set(ORDER[ORDER.index(package) + 1 :])
    names = imported(source)
    wrong = [f"{path} imports {name}" for name in sorted(names & above)]
    return wrong + [f"{path} imports {name}" for name in sorted(names & set(ONLY_IN)) if path not in ONLY_IN[name]]


def test_imports_flow_one_way():
    files = [p for package in ORDER for p in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 30
    assert [v for p in files for v in violations(p.relative_to(ROOT).as_posix(), p.read_text())] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("search_spaces/arch.py", "import latency_luts.table"),
        ("latency_luts/model.py", "def f():\n    from nas import loop"),
        ("nas/loop.py", "import ray"),
        ("latency_luts/table.py", "from hydra import compose"),
    ],
)
def test_the_check_can_fail(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("nas.search", {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "hydra"}),
        ("search_spaces.show, latency_luts", {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "hydra"}),
        ("latency_luts.build", {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "hydra"}),
        ("search_spaces.torch_net", {"ray", "onnx", "onnxruntime"}),
    ],
)
def test_start_up_is_light(modules, absent):
    code = f"import sys, {modules}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(done.stdout.split()) & absent == set()
