"""The Gaussian process against a textbook's formulas."""

import numpy as np
import pytest

from nas.controllers import gaussian_process
from nas.controllers.gaussian_process import GaussianProcess, Hyperparameters, Seen
from nas.surrogate import Surrogate
from search_spaces import spaces

SIZES = [3, 4, 2, 5]


def seen(points, features=None) -> Seen:
    return Seen(points=points, features=np.zeros((len(points), 0)) if features is None else features)


def covariance_of(process: GaussianProcess, new: Seen) -> np.ndarray:
    return process.at(new).rows(np.arange(len(new)))


def told(noise: float = 0.0) -> tuple[Seen, np.ndarray]:
    rng = np.random.default_rng(5)
    points = np.unique(rng.integers(0, SIZES, (40, 4)), axis=0)
    features = rng.standard_normal((len(points), 2))
    values = points @ [1.0, -0.5, 2.0, 0.1] + features @ [1.0, 0.0] + noise * rng.standard_normal(len(points))
    return seen(points, features), values


def kernel(numbers: Hyperparameters, a: Seen, b: Seen) -> np.ndarray:
    """As the module defines it, of all pairs."""
    apart = ((a.points[:, None] != b.points[None]) * numbers.weights).sum(axis=2)
    return numbers.amplitude * np.exp(-apart) + np.einsum("if,jf,f->ij", a.features, b.features, numbers.slopes)


def noisy(numbers: Hyperparameters, own: Seen) -> np.ndarray:
    return kernel(numbers, own, own) + (numbers.noise + 1e-5) * np.eye(len(own))


def test_the_posterior_is_the_textbooks():
    """K* (K + noise I)^-1 y and K** - K* (K + noise I)^-1 K*', in the unit of the values; also between points."""
    own, values = told(0.5)
    process = GaussianProcess(own, values, SIZES)
    new = seen(
        np.array([[0, 0, 0, 0], [0, 0, 0, 1], [2, 3, 1, 4], own.points[0]]),
        np.array([[0, 1], [0, 1.0], [2, 0], [0, 0]]),
    )
    across, own_kernel = kernel(process.numbers, new, own), noisy(process.numbers, own)
    y = (values - values.mean()) / values.std()
    expected = values.mean() + values.std() * across @ np.linalg.solve(own_kernel, y)
    covariance = kernel(process.numbers, new, new) - across @ np.linalg.solve(own_kernel, across.T)
    np.testing.assert_allclose(process.mean(new), expected)
    np.testing.assert_allclose(covariance_of(process, new), values.std() ** 2 * covariance, rtol=1e-6, atol=1e-9)
    known = process.at(new)
    mean, deviation = known.mean, np.sqrt(known.variance)
    np.testing.assert_allclose(mean, expected)
    np.testing.assert_allclose(deviation, values.std() * np.sqrt(np.diag(covariance)), rtol=1e-6)
    assert process.noise == pytest.approx(values.std() * np.sqrt(process.numbers.noise + 1e-5))
    assert covariance_of(process, new)[0, 1] > 0.3 * covariance_of(process, new)[0, 0]  # neighbours go together


def log_density(numbers: Hyperparameters, own: Seen, y: np.ndarray) -> float:
    """log N(y; 0, K + noise I) and the log-normal priors, but for constants."""
    k = noisy(numbers, own)
    _, log_determinant = np.linalg.slogdet(k)
    widths = np.repeat([1.0, 1.0, 1.5, 2.0], [4, 1, 2, 1])
    medians = np.log([0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 0.01])
    prior = -0.5 * (((numbers.logs - medians) / widths) ** 2).sum()
    return -0.5 * (log_determinant + y @ np.linalg.solve(k, y)) + prior


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
def test_the_numbers_are_where_the_posterior_density_is_highest(noise, monkeypatch):
    monkeypatch.setattr(gaussian_process, "_FIRST", 500)
    own, values = told(noise)
    process = GaussianProcess(own, values, SIZES)
    y = (values - values.mean()) / values.std()
    best = log_density(process.numbers, own, y)
    logs = process.numbers.logs
    for place in range(len(logs)):
        for step in (-0.1, 0.1):
            moved = logs.copy()
            moved[place] += step
            assert log_density(process.numbers.like_this(moved), own, y) < best + 1e-6


def test_the_slope_of_the_density_is_its_difference_quotient():
    own, values = told(0.5)
    y = (values - values.mean()) / values.std()
    prior = Hyperparameters.prior(4, 2)
    logs = prior.logs + np.random.default_rng(0).normal(0, 0.7, 8)
    value, slope = gaussian_process._surprise(logs, own, y, SIZES, prior)
    assert value == pytest.approx(-log_density(prior.like_this(logs), own, y))
    for place in range(8):
        step = 1e-5 * (np.arange(8) == place)
        both = [gaussian_process._surprise(logs + sign * step, own, y, SIZES, prior)[0] for sign in (1, -1)]
        assert slope[place] == pytest.approx((both[0] - both[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_choices_and_features_that_matter_are_found():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 4, (150, 6))
    features = rng.standard_normal((150, 2))
    exact = points[:, 1] + 2.0 * (points[:, 4] == 2) + 3 * features[:, 1]
    process = GaussianProcess(seen(points, features), exact + 0.1 * rng.standard_normal(150), [4] * 6)
    assert set(np.argsort(process.numbers.weights)[-2:]) == {1, 4}
    assert process.numbers.slopes[1] > 2 * process.numbers.slopes[0]


def test_the_process_takes_noise_for_noise():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 4, (200, 6))
    exact = points[:, 0] + 0.5 * points[:, 1]
    process = GaussianProcess(seen(points), exact + rng.standard_normal(200), [4] * 6)
    assert process.noise == pytest.approx(1.0, rel=0.25)
    assert np.abs(process.mean(seen(points)) - exact).mean() < 0.5  # 0.8 for the rewards themselves
    sure = GaussianProcess(seen(points), exact, [4] * 6)
    assert sure.noise < 0.1


def test_a_fit_goes_on_from_an_earlier_one(monkeypatch):
    own, values = told(0.5)
    first = GaussianProcess(own, values, SIZES)
    monkeypatch.setattr(gaussian_process, "_AGAIN", 0)
    again = GaussianProcess(own, values, SIZES, first.numbers)
    np.testing.assert_allclose(again.numbers.logs, first.numbers.logs)


def test_no_points_have_no_mean_and_many_are_taken_piece_by_piece(monkeypatch):
    own, values = told(0.5)
    process = GaussianProcess(own, values, SIZES)
    assert process.mean(own[:0]).shape == (0,)
    whole = process.mean(own)
    monkeypatch.setattr(gaussian_process, "_ROWS", 7)
    np.testing.assert_allclose(process.mean(own), whole, rtol=1e-12)


@pytest.mark.parametrize("columns", [[1] * 2048, [500] * 10, [3, 2000, 1, 1, 2000], [5], [1024] * 3])
def test_choices_are_compared_in_pieces_of_hardly_more_than_1024_options(columns):
    """Each ends where so many are together, the last one wherever the choices end."""
    pieces = list(gaussian_process._pieces(columns))
    assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
    assert pieces[-1][1] == len(columns)
    for start, stop in pieces:
        assert sum(columns[start : stop - 1]) < 1024
        assert sum(columns[start:stop]) >= 1024 or stop == len(columns)


@pytest.mark.parametrize("sizes", [[3, 4, 2, 5], [1, 100_000, 2], [5] * 900])
def test_sums_over_points_that_agree_are_those_of_all_pairs(sizes):
    rng = np.random.default_rng(4)
    points = np.column_stack([rng.choice(size, 3)[rng.integers(0, 3, 20)] for size in sizes])
    matrix = rng.standard_normal((20, 20))
    equal = points[:, None] == points[None]
    expected = (matrix[:, :, None] * equal).sum(axis=(0, 1))
    np.testing.assert_allclose(gaussian_process._alike_sums(matrix, points, sizes), expected, atol=1e-10)


def test_a_choice_of_many_options_is_compared_as_one_of_few():
    """Only whether two points have the same option counts, not which one, nor how many there are."""
    rng = np.random.default_rng(2)
    points = rng.integers(0, 4, (70, 3))
    values = points.sum(1) + 0.1 * rng.standard_normal(70)
    new = np.vstack([rng.integers(0, 4, (20, 3)), [[4, 0, 0], [5, 1, 2]]])  # two with options that were never seen
    few = GaussianProcess(seen(points), values, [6, 4, 4])
    scattered = np.array([7, 90_000, 12, 90_001, 0, 99_999])
    many = GaussianProcess(seen(spread(points, scattered)), values, [100_000, 4, 4])
    np.testing.assert_allclose(many.mean(seen(spread(new, scattered))), few.mean(seen(new)), rtol=1e-6)
    ours, theirs = covariance_of(few, seen(new)), covariance_of(many, seen(spread(new, scattered)))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)


def spread(points, options):
    """`points` with other numbers for the options of the first choice."""
    return np.column_stack([options[points[:, 0]], points[:, 1:]])


def test_a_constant_value_is_expected_everywhere():
    own, _ = told()
    process = GaussianProcess(own, np.full(len(own), 3.0), SIZES)
    known = process.at(own)
    mean, deviation = known.mean, np.sqrt(known.variance)
    np.testing.assert_allclose(mean, 3.0)
    np.testing.assert_allclose(deviation, 0.0, atol=1e-6)


def test_more_than_250_points_are_fitted_by_250_of_them(monkeypatch):
    """Evenly spread, the first and the last among them; all count for the mean."""
    asked = []
    densest = gaussian_process._densest

    def watched(own, y, *more):
        asked.append((own, y))
        return densest(own, y, *more)

    monkeypatch.setattr(gaussian_process, "_densest", watched)
    rng = np.random.default_rng(1)
    points = rng.integers(0, 9, (401, 4))
    values = points.sum(axis=1) + rng.standard_normal(401)
    process = GaussianProcess(seen(points), values, [9] * 4)
    ((some, y),) = asked
    standard = (values - values.mean()) / values.std()
    places = [int(np.flatnonzero(standard == value)[0]) for value in y]
    assert (len(places), places[0], places[-1]) == (250, 0, 400)
    assert set(np.diff(places)) <= {1, 2}
    np.testing.assert_array_equal(some.points, points[places])
    across = kernel(process.numbers, seen(points[:9]), seen(points))
    mean = values.mean() + values.std() * across @ np.linalg.solve(noisy(process.numbers, seen(points)), standard)
    np.testing.assert_allclose(process.mean(seen(points[:9])), mean)


@pytest.mark.parametrize("n", [24, 60, 150])
def test_its_doubt_is_as_large_as_its_errors_on_networks_that_it_has_not_seen(n):
    """On accuracies of ImageNet: standardised errors have a deviation of about 1, and 80 to 98 % of the networks lie
    within the central 90 %."""
    space, surrogate = spaces.get("accel_nasbench"), Surrogate.load()
    points = space.sample(np.random.default_rng(n), n + 400)
    top1 = surrogate.top1(points)
    sizes = [len(choice.options) for choice in space.choices]
    process = GaussianProcess(seen(points[:n]), top1[:n], sizes)
    known = process.at(seen(points[n:]))
    mean, deviation = known.mean, np.sqrt(known.variance)
    z = (top1[n:] - mean) / np.hypot(deviation, process.noise)
    assert 0.6 < z.std() < 1.4
    assert 0.8 < (np.abs(z) < 1.645).mean() < 0.98
    assert np.corrcoef(mean, top1[n:])[0, 1] > (0.6 if n > 50 else 0.3)


@pytest.mark.parametrize("far", [-60.0, 60.0])
def test_numbers_with_which_no_kernel_could_be_factored_are_as_good_as_the_nearest_ones(far):
    """The line search tries such; they must neither end it nor be its answer."""
    own, values = told(0.5)
    prior = Hyperparameters.prior(4, 2)
    widths = np.repeat([1.0, 1.0, 1.5, 2.0], [4, 1, 2, 1])
    found = GaussianProcess(own, values, SIZES, before=prior.like_this(prior.logs + far)).numbers
    assert np.abs((found.logs - prior.logs) / widths).max() <= 6
    nearest = prior.like_this(prior.logs + np.sign(far) * 6 * widths)
    y = (values - values.mean()) / values.std()
    assert log_density(found, own, y) > log_density(nearest, own, y) + 10
