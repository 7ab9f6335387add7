"""The surrogate: its coefficients, its errors, and the search that uses it."""

import json

import numpy as np
import pytest

import nas.search
from nas.evaluators.surrogate import COEFFICIENTS, Surrogate
from nas_runtime.settings import call
from search_spaces import rewrite, spaces, zoo
from tests.test_commands import command, journal


@pytest.fixture(scope="module")
def surrogate():
    return Surrogate.load()


def accel(surrogate, *digits):
    """Predicted top-1 in percent of a row of the benchmark's table."""
    space = spaces.get("accel_nasbench")
    names = ("expansion", "kernel", "layers", "se")
    options = {
        f"block{b + 1}.{n}": int(d[b]) * (0.25 if n == "se" else 1)
        for n, d in zip(names, digits, strict=True)
        for b in range(7)
    }
    return 100 * surrogate.evaluate(space.decode(space.encode(options))).top1


def test_it_is_near_the_benchmarks_accuracies(surrogate):
    """Rows of the benchmark's table; on networks left out the fit was 0.3 points off in the mean."""
    assert accel(surrogate, "6466611", "3535533", "1233222", "0000000") == pytest.approx(59.3, abs=0.8)
    assert accel(surrogate, "6166464", "3533355", "1321212", "0000000") == pytest.approx(61.1, abs=0.8)
    assert accel(surrogate, "4644616", "5535353", "3222333", "0010001") == pytest.approx(64.58, abs=0.8)
    assert accel(surrogate, "4644416", "5333335", "3112322", "0110111") == pytest.approx(62.64, abs=0.8)


def test_it_carries_its_provenance_and_error(surrogate):
    assert surrogate.facts["networks"] == 4117
    assert surrogate.facts["error"]["spearman"] >= 0.992
    assert surrogate.facts["error"]["mae"] <= 0.0033
    assert "Apache-2.0" in surrogate.facts["licence"]
    assert "4117 trained networks" in surrogate.describe()
    assert COEFFICIENTS.stat().st_size < 20_000


def test_networks_and_points_have_the_same_answers(surrogate):
    space = spaces.get("accel_nasbench")
    points = space.sample(np.random.default_rng(0), 100)
    top1 = surrogate.top1(points)
    assert ((top1 > 0.4) & (top1 < 0.7)).all()
    np.testing.assert_allclose([surrogate.evaluate(space.decode(p)).top1 for p in points], top1)


def test_other_networks_are_refused(surrogate):
    with pytest.raises(ValueError, match="is not a network of the space accel_nasbench"):
        surrogate.evaluate(zoo.get("mnasnet_a1"))
    space = spaces.get("accel_nasbench")
    with pytest.raises(ValueError, match="224 px and 1000 classes, not 192 px"):
        surrogate.evaluate(rewrite.resolution(space.decode([0] * 28), 192))


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "x.json").write_text(COEFFICIENTS.read_text()[:500])
    with pytest.raises(ValueError, match="holds no surrogate"):
        Surrogate.load(tmp_path / "x.json")


SEARCH = ("space=accel_nasbench", "evaluator=surrogate", "+target=pixel1_large")
RUN = r"[v2] $x$ %41 \b"  # what a folder may be called


def test_a_search_with_the_surrogate(tmp_path):
    """Lands on its target with the absolute reward, and needs no data; in a folder with an unusual name."""
    settings = ("reward=absolute", "controller=bayesian", "samples=200", "batch=8", "tensorboard=true")
    done = command("nas.search", *SEARCH, *settings, f"run_dir='{RUN}'", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / RUN / "result.json").read_text())
    assert result["best"]["top1"] > 0.63
    assert result["median_ms_of_last_tenth"] == pytest.approx(51, rel=0.03)
    assert "final_test_top1" not in result["best"]
    assert not (tmp_path / RUN / "best.safetensors").exists()
    assert len(journal(tmp_path / RUN)) == 200
    events = list((tmp_path / RUN / "tensorboard").iterdir())
    assert len(events) == 1
    assert events[0].read_bytes().count(b"best_reward") == 200
    page = (tmp_path / RUN / "report.html").read_text()
    assert page.count('data-tip="sample ') >= 200  # a dot a sample
    assert page.count('data-tip="found, block ') == len(result["best"]["arch"]["blocks"])
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is loaded from anywhere
    assert "ImageNet top-1 as predicted" in done.stdout
    assert "4117 trained networks" in done.stdout
    assert f"writing to {RUN}\n" in done.stdout
    assert f"everything is in {RUN}: report.html" in done.stdout
    assert all((tmp_path / RUN / f"{name}.png").stat().st_size > 5000 for name in ("pareto", "rewards", "latencies"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["space=mnasnet"], "the surrogate knows the networks of space=accel_nasbench only"),
        (["reward=hard", "adjust_after=10"], "adjust_after bends reward=soft, not reward=hard"),
        (["beta=0"], "beta=0: it must be a number above 0"),
        (["space.base_width=0.5"], "accel_nasbench has fixed channels: space.base_width=1"),
    ],
)
def test_wrong_settings(settings, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(nas.search.main, "search", [*SEARCH, *settings]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
