"""Flags on a command line may stand anywhere, and wrong ones are one line."""

import pytest

from nas_runtime.console import did_you_mean
from nas_runtime.flags import flags_first
from tests.commands.test_commands import command


@pytest.mark.parametrize(
    ("arguments", "ordered"),
    [
        ("a=1 -m b=2", "-m a=1 b=2"),
        ("a=1 --config-dir mine b=-2 --cfg job", "--config-dir mine --cfg job a=1 b=-2"),
        ("a=1 --config-dir=mine b", "--config-dir=mine a=1 b"),
        ("~a +b=1", "~a +b=1"),
        ("a=1 --config-dir", "--config-dir a=1"),
    ],
)
def test_flags_come_first(arguments, ordered):
    assert flags_first(arguments.split()) == ordered.split()


def test_a_flag_that_there_is_not():
    with pytest.raises(ValueError, match="no flag --mutlirun; did you mean --multirun.; allowed: -m, --help"):
        flags_first(["a=1", "--mutlirun"])


def test_jobs_whatever_comes_first(tmp_path):
    done = command("nas.search", "+target=pixel1_small", "w=-0.1,0.2", "dry_run=true", "-m", cwd=tmp_path)
    assert done.returncode == 1
    assert "job 0: +target=pixel1_small w=-0.1 dry_run=True" in done.stdout
    assert "error: job 1 (+target=pixel1_small w=0.2 dry_run=True): w=0.2: it must be" in done.stderr


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "broken.yaml").write_text("device: : x\n")
    done = command("nas.search", "+target=broken", "--config-dir", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: a file of conf/ or --config-dir is no YAML: mapping values are not allowed")
    assert "broken.yaml" in done.stderr


def test_nobody_means_what_was_said():
    assert did_you_mean("host", ["host"]) == ""
