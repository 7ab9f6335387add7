"""Imports flow one way, in the order of `ORDER`, and heavy ones stay out."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["nas_runtime", "search_spaces", "latency_luts", "nas", "netadapt", "experiments"]
BY_NAME = {"import_module", "__import__", "run_module"}
# third-party packages that only these files may import at all
ONLY_IN = {
    "ray": {
        "nas_runtime/cluster.py",
        "nas/executor_ray.py",
        "nas/training/together.py",
        "nas/tune.py",
        "nas/tune_searcher.py",
    },
    "hydra": {"nas_runtime/compose.py", "nas_runtime/plugins.py"},
    "omegaconf": {"nas_runtime/compose.py"},
    "flatbuffers": {"search_spaces/tflite_file.py"},
    "ai_edge_litert": {"latency_luts/on_device/litert.py"},  # a program of its own; elsewhere by `nas_runtime.extras`
    "ncnn": set(),
    "openvino": set(),
    "onnx": {"search_spaces/onnx_net.py", "search_spaces/onnx_graph.py", "nas/delivery/quantize.py"},
    "onnxruntime": {
        "latency_luts/on_device/graphs.py",
        "latency_luts/on_device/machine.py",
        "nas/delivery/program.py",
        "nas/delivery/quantize.py",
        "nas/predict.py",
        "search_spaces/onnx_net.py",
    },
}


# commands may show what is above them: the only imports against the order
SHOWN = {"search_spaces/show.py": {"latency_luts"}}
# import what others name: "module:attribute" in the arguments of `Registry` or on the command line, and public names of
# a package, always from that package; and packages of extras
LOADERS = ("nas_runtime/registry.py", "nas_runtime/lazy.py", "nas_runtime/extras.py")


def imported(source: str) -> set[str]:
    """The top-level packages that a piece of source imports, anywhere in it and in any way; ``?`` where that cannot be
    told, as in ``import_module(name)``. What it gives a `Registry` by name counts as imported."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_NAME:
            first = node.args[0] if node.args else None
            known = isinstance(first, ast.Constant) and isinstance(first.value, str)
            names.add(first.value.split(".")[0] if known else "?")
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Registry":
            texts = (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant))
            names |= {text.split(".")[0] for text in texts if isinstance(text, str) and ":" in text}
    return names


def violations(path: str, source: str) -> list[str]:
    package = path.split("/")[0]
    above = {*ORDER[ORDER.index(package) + 1 :], "?"} - SHOWN.get(path, set()) - ({"?"} if path in LOADERS else set())
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
        ("search_spaces/lower.py", "import importlib\nluts = importlib.import_module('latency_luts.store')"),
        ("search_spaces/lower.py", "from importlib import import_module\nf = lambda: import_module('nas')"),
        ("search_spaces/lower.py", "__import__('latency_luts')"),
        ("search_spaces/lower.py", "__import__(name)"),
        ("search_spaces/lower.py", "import runpy\nrunpy.run_module('nas.search')"),
        ("search_spaces/spaces.py", "Registry('space', 'group', {'mine': 'nas.space:make'})"),
        ("nas_runtime/registry.py", "import nas"),
        ("search_spaces/show.py", "import latency_luts, nas"),
        ("nas_runtime/options.py", "from search_spaces import zoo"),
    ],
)
def test_the_check_can_fail(path, source):
    assert len(violations(path, source)) == 1


def test_a_command_may_show_what_is_above_it():
    assert violations("search_spaces/show.py", "import latency_luts") == []
    assert all(SHOWN[path] & imported((ROOT / path).read_text()) == SHOWN[path] for path in SHOWN)  # or it can go


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("nas.search, nas.networks", {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "hydra"}),
        (
            "search_spaces.show, search_spaces.export, latency_luts",
            {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "hydra"},
        ),
        ("latency_luts.build", {"torch", "ray", "onnx", "onnxruntime", "matplotlib", "hydra"}),
        ("search_spaces.torch_net", {"ray", "onnx", "onnxruntime"}),
    ],
)
def test_start_up_is_light(modules, absent):
    code = f"import sys, {modules}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(done.stdout.split()) & absent == set()
