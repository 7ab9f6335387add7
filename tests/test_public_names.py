"""What a user may import from the packages, that it costs nothing before, and what is installed with them."""

import ast
import importlib
import subprocess
import sys
import tomllib
from types import ModuleType

import pytest

from tests.test_import_boundaries import ORDER, ROOT

PACKAGES = ORDER[:-1]


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_what_they_say(name):
    """The type checker sees them where they are defined; at run time they come from there."""
    package = importlib.import_module(name)
    tree = ast.parse((ROOT / name / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == sorted(package.__all__)
    for public, module in seen.items():
        value = getattr(package, public)
        if module == name:
            assert isinstance(value, ModuleType)
            assert value.__name__ == f"{name}.{public}"
        else:
            assert value is getattr(importlib.import_module(module), public)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = package.nothing


def test_a_package_imports_nothing_before_it_is_asked():
    code = f"import sys; before = set(sys.modules); import {', '.join(PACKAGES)}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    its = {module for module in done.stdout.split() if module.split(".")[0] in PACKAGES}
    assert its == {*PACKAGES, "nas_runtime.lazy"}
    assert not {"numpy", "torch", "ray", "rich", "onnx"} & set(done.stdout.split())


def test_types_and_licences_are_installed_with_the_packages():
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license-files"]
    assert all((ROOT / file).stat().st_size for file in files)
    assert {"LICENSE", "NOTICE"} < set(files)
