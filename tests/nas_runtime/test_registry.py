"""What can be chosen by name: shipped, declared by an installed package, or anywhere by a dotted name."""

import re
import subprocess
import sys

import pytest

from nas_runtime import registry
from nas_runtime.registry import Registry

SHAPES = Registry("shape", "test.shapes", {"ordered": "collections:OrderedDict", "deep": "xml.dom.minidom:parse"})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package that declares entry points of the group ``test.shapes``."""
    monkeypatch.syspath_prepend(tmp_path)
    registry._entry_points.cache_clear()

    def declare(package, **points):
        folder = tmp_path / f"{package}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[test.shapes]", *lines]))
        registry._entry_points.cache_clear()

    yield declare
    registry._entry_points.cache_clear()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module in the current directory, and gives its name."""
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    written = []

    def write(text):
        name = f"shapes_{tmp_path.name.replace('-', '_')}_{len(written)}"
        (here / f"{name}.py").write_text(text)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_names_of_all_sorts_are_found(install, module):
    install("round-things", circle="fractions:Fraction", disc="decimal:Decimal")
    here = module("class Square:\n    side = 3")
    assert SHAPES.names() == ("ordered", "deep", "circle", "disc")
    assert SHAPES.get("ordered").__name__ == "OrderedDict"
    assert SHAPES.get("circle").__name__ == "Fraction"
    assert SHAPES.get(f"{here}:Square").__name__ == "Square"
    assert SHAPES.get(f"{here}:Square.side") == 3


def test_nothing_is_imported_before_it_is_asked_for():
    code = (
        "import sys; from nas_runtime.registry import Registry\n"
        "shapes = Registry('shape', 'test.shapes', {'deep': 'xml.dom.minidom:parse'})\n"
        "assert shapes.names() == ('deep',) and 'xml.dom.minidom' not in sys.modules\n"
        "shapes.get('deep'); assert 'xml.dom.minidom' in sys.modules\n"
        "assert not {'numpy', 'hydra', 'omegaconf', 'torch', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ordred",
            "no shape 'ordred'; did you mean ordered?; there are: ordered, deep; your own: package.module:attribute",
        ),
        ("", "no shape ''; there are: ordered, deep; your own"),
        (["ordered"], "no shape ['ordered']; did you mean ordered?"),
        (None, "no shape None; there are"),
        (":Square", "shape :Square: write package.module:attribute"),
        ("collections:", "shape collections:: write package.module:attribute"),
        ("my shapes:Square", "shape my shapes:Square: write package.module:attribute"),
        ("collections:Orderd", "shape collections:Orderd: collections has no 'Orderd'; did you mean OrderedDict?"),
        ("no_such:Square", "no_such cannot be imported (No module named 'no_such'); install it, or run the command in"),
        ("collections.no:Square", "collections.no cannot be imported (No module named 'collections.no'); install it"),
    ],
)
def test_one_line_says_what_is_wrong(name, message):
    with pytest.raises(ValueError, match=re.escape(message)) as e:
        SHAPES.get(name)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_thing", "(No module named 'no_such_thing')"),
        ("from collections import Nothing", "(cannot import name 'Nothing' from 'collections'"),
        ("1 / 0", "(ZeroDivisionError: division by zero)"),
        ("class", "(SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(module, text, why):
    name = module(text)
    message = f"shape {name}:Square: {name} cannot be imported {why}"
    with pytest.raises(ValueError, match=re.escape(message)) as e:
        SHAPES.get(f"{name}:Square")
    assert "install it" not in str(e.value)  # it is there


def test_what_is_shipped_cannot_be_replaced(install):
    install("bold", ordered="decimal:Decimal")
    assert SHAPES.names() == ("ordered", "deep")
    with pytest.raises(
        ValueError, match=r"shape ordered is declared by this project and by bold; .* by a dotted name: decimal:Decimal"
    ):
        SHAPES.get("ordered")
    assert SHAPES.get("deep").__name__ == "parse"
    assert SHAPES.get("decimal:Decimal").__name__ == "Decimal"


def test_two_packages_cannot_declare_one_name(install):
    install("bold", circle="decimal:Decimal", disc="decimal:Decimal")
    install("shy", circle="fractions:Fraction", disc="decimal:Decimal")
    with pytest.raises(ValueError, match="shape circle is declared by bold and by shy; uninstall or rename one"):
        SHAPES.get("circle")
    assert SHAPES.get("disc").__name__ == "Decimal"  # the same thing twice is one thing


def test_a_package_whose_declaration_is_wrong_is_named(install):
    install("bold", circle="no_such:Circle", disc="decimal:Disc", ring="nonsense")
    for name, message in (
        ("circle", "shape circle of bold: no_such cannot be imported"),
        ("disc", "shape disc of bold: decimal has no 'Disc'"),
        ("ring", "shape ring of bold: write package.module:attribute"),
    ):
        with pytest.raises(ValueError, match=message):
            SHAPES.get(name)
