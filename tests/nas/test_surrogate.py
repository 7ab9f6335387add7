"""The surrogate: its coefficients, its errors, and what a search with it refuses."""

import json

import numpy as np
import pytest

import nas.search
from experiments import fit_surrogate
from nas.search_options import SearchOptions
from nas.surrogate import COEFFICIENTS, Surrogate
from nas_runtime.command import call
from search_spaces import rewrite, spaces, zoo


@pytest.fixture
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
    facts = surrogate.facts
    assert facts["networks"] == 4117
    assert facts["error"]["spearman"] >= 0.992
    assert facts["error"]["mae"] <= 0.0033
    assert facts["error_of_best"]["best_100"]["spearman"] < facts["error_of_best"]["best_tenth"]["spearman"] < 0.9
    assert "Apache-2.0" in facts["licence"]
    assert COEFFICIENTS.stat().st_size < 20_000


def test_it_says_what_its_accuracies_are_and_how_far_off(surrogate):
    assert surrogate.describe() == (
        "top-1 after one short training on ImageNet, not a full one (45% to 67%), predicted from 4117 trained networks "
        "(Accel-NASBench, arXiv:2404.08005); on networks that it was not fitted to: Spearman 0.99, in its best tenth "
        "0.89, among its best 100 0.75; 0.30 points off in the mean"
    )
    assert surrogate.difference == 0.003112
    assert surrogate.caution() == (
        "The top-1 is after one short training on ImageNet, not a full one, and only predicted: the difference between "
        "two good networks is 0.3 points off in the mean, and smaller differences say nothing."
    )


def test_errors_of_the_best_are_of_the_best_predictions():
    """300 networks; the predictions of all but the best 100 are exact, those of the best 100 are in turns 0.01 too
    high and too low: 2500 of their 4950 pairs are 0.02 off, the others 0."""
    top1 = np.arange(300) / 1000
    off = np.where(np.arange(300) >= 200, np.where(np.arange(300) % 2, 0.0104, -0.0104), 0.0)
    top1[:200] -= 0.5  # far below
    rows = fit_surrogate.errors(top1 + off, top1)
    assert [row["networks"] for row in rows.values()] == [300, 30, 100]
    assert rows["best_100"]["mae"] == pytest.approx(0.0104)
    assert rows["best_100"]["difference"] == pytest.approx(0.0208 * 2500 / 4950, abs=1e-6)
    assert rows["all"]["mae"] == pytest.approx(0.0104 / 3, abs=1e-6)
    assert rows["all"]["worst"] == pytest.approx(0.0104)
    assert 0 < rows["best_tenth"]["spearman"] < rows["best_100"]["spearman"] < rows["all"]["spearman"] < 1


def test_each_network_is_predicted_by_a_fit_without_it(surrogate):
    """A network whose accuracy is far off does not draw its own prediction to it."""
    points = spaces.get("accel_nasbench").sample(np.random.default_rng(0), 300)
    top1 = surrogate.top1(points)
    predicted = fit_surrogate.left_out(points, top1)
    odd = top1.copy()
    odd[7] -= 0.1
    assert fit_surrogate.left_out(points, odd)[7] == predicted[7]
    assert abs(predicted - top1).mean() < 0.005


def test_networks_and_points_have_the_same_answers(surrogate):
    space = spaces.get("accel_nasbench")
    points = space.sample(np.random.default_rng(0), 100)
    top1 = surrogate.top1(points)
    assert ((top1 > 0.4) & (top1 < 0.7)).all()
    np.testing.assert_allclose([surrogate.evaluate(space.decode(p)).top1 for p in points], top1)


def test_a_prediction_by_hand(surrogate, tmp_path):
    """Two choices of two options: 0.8 - exp(-(0.5 + linear . z + z . quadratic . z))."""
    data = {"z": [[0.0, 1.0], [2.0, 3.0]], "intercept": 0.5, "linear": [0.25, -0.5], "quadratic": [[0.1], [0.2, 0.3]]}
    path = tmp_path / "small.json"
    path.write_text(json.dumps({**data, "ceiling": 0.8, "facts": dict(surrogate.facts)}))
    small = Surrogate.load(path)
    u = 0.5 + 0.25 * 1 - 0.5 * 3 + 0.1 * 1 * 1 + 0.2 * 3 * 1 + 0.3 * 3 * 3
    assert small.top1(np.array([[1, 1]]))[0] == pytest.approx(0.8 - np.exp(-u))
    none = 0.5 - 0.5 * 2 + 0.3 * 2 * 2
    np.testing.assert_allclose(small.top1(np.array([[1, 1], [0, 0]])), [0.8 - np.exp(-u), 0.8 - np.exp(-none)])
    assert small.facts == surrogate.facts
    assert small.describe() == surrogate.describe()
    missing = tmp_path / "nowhere.json"
    with pytest.raises(
        ValueError, match=f"^{missing} holds no surrogate .*; run: python -m experiments.fit_surrogate$"
    ):
        Surrogate.load(missing)


def test_other_networks_are_refused(surrogate):
    with pytest.raises(ValueError, match="is not a network of the space accel_nasbench"):
        surrogate.evaluate(zoo.get("mnasnet_a1"))
    space = spaces.get("accel_nasbench")
    with pytest.raises(ValueError, match="224 px and 1000 classes, not 192 px"):
        surrogate.evaluate(rewrite.resolution(space.decode([0] * 28), 192))


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "x.json").write_text(COEFFICIENTS.read_text()[:500])
    (tmp_path / "old.json").write_text(COEFFICIENTS.read_text().replace("error_of_best", "errors"))
    with pytest.raises(ValueError, match="holds no surrogate .'error_of_best'.; run: python -m experiments.fit"):
        Surrogate.load(tmp_path / "old.json")
    with pytest.raises(ValueError, match="holds no surrogate"):
        Surrogate.load(tmp_path / "x.json")


SEARCH = ("space=accel_nasbench", "evaluator=surrogate", "+target=pixel1_large")


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
    assert call(nas.search.main, SearchOptions, [*SEARCH, *settings]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
