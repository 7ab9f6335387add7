"""No function is too long, none takes too much, no file is too large, and no module imports in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.test_import_boundaries import ORDER, ROOT

LINES, PARAMETERS, FILE_LINES = 60, 8, 350
# the public function that is a search: its parameters have names and, most of them, defaults
MAY_TAKE_MORE = {("nas/loop.py", "search")}


def sources(*packages: str) -> dict[str, str]:
    """The text of every file of the packages, by its path."""
    files = [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All of them: of modules and classes, and those inside others."""
    return (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def too_long(source: str) -> set[str]:
    """Functions of more than `LINES` lines, from the first line of their signature to their last."""
    return {f.name for f in functions(source) if (f.end_lineno or 0) - f.lineno + 1 > LINES}


def takes_too_much(source: str) -> set[str]:
    """Functions with more than `PARAMETERS` parameters; ``self`` and ``cls`` are none, ``*args`` is one."""
    return {f.name for f in functions(source) if len(parameters(f)) > PARAMETERS}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    its = function.args
    every = [*its.posonlyargs, *its.args, *its.kwonlyargs, *filter(None, (its.vararg, its.kwarg))]
    return [arg.arg for arg in every if arg.arg not in ("self", "cls")]


def test_functions_are_short():
    assert {(p, name) for p, text in sources(*ORDER).items() for name in too_long(text)} == set()


def test_functions_take_little():
    taking = {(p, name) for p, text in sources(*ORDER).items() for name in takes_too_much(text)}
    assert taking == MAY_TAKE_MORE


def test_the_search_takes_its_parameters_by_name():
    for path, name in MAY_TAKE_MORE:
        (its,) = (f.args for f in functions(sources(path.split("/")[0])[path]) if f.name == name)
        assert its.posonlyargs == its.args == []


def test_files_are_short():
    assert {p for p, text in sources(*ORDER, "tests").items() if len(text.splitlines()) > FILE_LINES} == set()


def module(path: str) -> str:
    """The name under which a file is imported."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported_at_once(source: str, known: set[str], package: str) -> set[str]:
    """The modules among `known` that a module of `package` imports when it is imported itself: not those inside
    functions, nor those for the type checker alone."""
    names: set[str] = set()
    for node in _outside_functions(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names |= {one if (one := f"{base}.{alias.name}") in known else base for alias in node.names}
    return names & known


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from (inner for other in child.orelse for inner in (other, *_outside_functions(other)))
            continue
        yield child
        yield from _outside_functions(child)


def cycle(files: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle; empty if there are none."""
    known = {module(path) for path in files}
    graph = {}
    for path, text in files.items():
        package = module(path) if path.endswith("__init__.py") else module(path).rpartition(".")[0]
        graph[module(path)] = imported_at_once(text, known, package) - {module(path)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        return e.args[1]
    return []


def test_no_module_imports_in_a_circle():
    assert cycle(sources(*ORDER)) == []


def test_the_length_check_can_fail():
    whole = "def f():\n" + "    x = 1\n" * (LINES - 1)
    assert too_long(whole) == set()
    assert too_long(whole + "    y = 2\n") == {"f"}
    inside = "class A:\n    def f(self):\n        async def g():\n" + "            x = 1\n" * LINES
    assert too_long(inside) == {"f", "g"}


@pytest.mark.parametrize(
    ("signature", "count"),
    [
        ("a, b, c, d, e, f, g, h", 8),
        ("self, a, b, c, d, e, f, g, h", 8),
        ("a, /, b, c, d, *, e, f, g, h", 8),
        ("a, /, b, c, d, e, f, *g, h, i", 9),
        ("cls, a, b, c, d, e, f, g, h, **i", 9),
    ],
)
def test_the_check_of_parameters_can_fail(signature, count):
    source = f"def f({signature}): ..."
    assert len(parameters(next(functions(source)))) == count
    assert takes_too_much(source) == ({"f"} if count > PARAMETERS else set())


@pytest.mark.parametrize(
    ("a", "b", "circle"),
    [
        ("from p import b", "import p.a", True),
        ("from p.b import X", "from .a import Y", True),
        ("try:\n    import p.b\nexcept ImportError: pass", "class A:\n    from p import a", True),
        ("import p.b", "def f():\n    import p.a", False),
        ("import p.b", "if TYPE_CHECKING:\n    import p.a", False),
        ("import p.b", "if not TYPE_CHECKING:\n    import p.a", True),
        ("import p.b", "if TYPE_CHECKING: x = 1\nelse:\n    import p.a", True),
        ("import p", "from p import X", False),
    ],
)
def test_the_check_of_circles_can_fail(a, b, circle):
    files = {"p/__init__.py": "", "p/a.py": a, "p/b.py": b}
    assert set(cycle(files)) == ({"p.a", "p.b"} if circle else set())


def test_a_package_that_imports_what_imports_it_is_a_circle():
    assert set(cycle({"p/__init__.py": "from p.a import X", "p/a.py": "from p import Y"})) == {"p", "p.a"}
