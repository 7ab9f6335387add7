"""The rooms of mutation testing (`make mutants`) are those of modules and tests that there are."""

import tomllib

from tests import mutants

KNOWN = tomllib.loads((mutants.ROOT / "tests" / "mutants.toml").read_text())


def test_every_room_has_its_module_and_its_tests():
    for module, tests in KNOWN["rooms"].items():
        assert (mutants.ROOT / module).is_file(), module
        for name in tests:
            assert len(list((mutants.ROOT / "tests").rglob(name))) == 1, name


def test_what_is_said_of_survivors_is_of_lines_that_are_there():
    for survivor in KNOWN.get("survivors", []):
        modules = KNOWN["rooms"] if survivor["module"] == "*" else [survivor["module"]]
        assert set(modules) <= set(KNOWN["rooms"])
        sources = [(mutants.ROOT / module).read_text() for module in modules]
        for line in survivor["was"].splitlines():
            assert any(line in source for source in sources), survivor
        assert survivor["was"] != survivor["is_now"]
        assert len(survivor["why"]) > 10


def test_a_score_counts_what_hangs_as_noticed_and_leaves_out_what_is_explained(capsys):
    changed = {"was": "a < b", "is_now": "a <= b"}
    one = {"name": "nas.x_f__mutmut_1", "was": "a < b", "is_now": "a <= b"}
    alive = mutants.Mutant(status="survived", **one)
    others = [mutants.Mutant(name="n", status=status) for status in ["killed"] * 8 + ["timeout"]]
    assert mutants.report("nas/x.py", [*others, alive], [])
    printed = capsys.readouterr().out
    assert "nas.x_f__mutmut_1: survived\n- a < b\n+ a <= b" in printed
    assert "nas/x.py: 9 of 10 mutants noticed (90.0%, of them 1 stopped), 0 survivors explained, 1 not" in printed
    assert not mutants.report("nas/x.py", [*others[1:], alive], [])
    assert mutants.report("nas/x.py", [*others[1:], alive], [{"module": "nas/x.py", **changed}])
    assert "8 of 9 mutants noticed (88.9%, of them 1 stopped), 1 survivors explained, 0 not" in capsys.readouterr().out


def test_a_part_of_a_line_is_explained_in_any_room_where_nothing_else_of_it_has_changed():
    rule = {"module": "*", "was": ", strict=True", "is_now": ", strict=False"}
    was = "for a, b in zip(x, zip(y, z, strict=True), strict=True):"
    for is_now, expected in (
        ("for a, b in zip(x, zip(y, z, strict=False), strict=True):", True),
        ("for a, b in zip(x, zip(y, z, strict=True), strict=False):", True),
        ("for a, b in zip(x, zip(y, z, strict=False), strict=False):", False),
        ("for a, b in zip(x, zip(y, None, strict=True), strict=True):", False),
        (was, False),
    ):
        survivor = mutants.Mutant(name="n", status="survived", was=was, is_now=is_now)
        assert mutants.is_explained(survivor, rule) == expected
