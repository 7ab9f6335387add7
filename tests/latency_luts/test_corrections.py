"""What is fitted to whole networks besides their units."""

import numpy as np
import pytest

from latency_luts import residence
from latency_luts.correction import fit_correction
from latency_luts.table import Correction


def assert_correction(correction, **expected):
    assert vars(correction) == pytest.approx(vars(Correction(**expected)))


def test_the_correction_is_a_line():
    sums = [1.0, 2.0, 4.0, 8.0, 3.0]
    correction, fits = fit_correction(list("abcde"), sums, [1.2 * s + 0.3 for s in sums])
    assert_correction(correction, scale=1.2, offset_ms=0.3)
    assert [(fit.name, fit.sum_ms, fit.kernels) for fit in fits] == [
        (*both, 0) for both in zip("abcde", sums, strict=True)
    ]
    assert [fit.ms for fit in fits] == pytest.approx([1.2 * s + 0.3 for s in sums])
    four, _ = fit_correction(list("abcd"), sums[:4], [1.2 * s + 0.3 for s in sums[:4]])
    assert_correction(four, scale=1.2, offset_ms=0.3)
    with pytest.raises(ValueError, match="1 networks for two coefficients; give at least 4"):
        fit_correction(["a"], [1.0], [2.0])


def line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The line with the least squared relative errors, by its two normal equations."""
    w = 1 / y**2
    (a, b), c = np.array([[w @ x**2, w @ x], [w @ x, w.sum()]]), np.array([w @ (x * y), w @ y])
    return np.array([c[0] * b[1] - c[1] * a[1], c[1] * a[0] - c[0] * a[1]]) / (a[0] * b[1] - a[1] ** 2)


def test_a_network_s_error_is_that_of_a_fit_without_it():
    """Beside the line, where a fit with the network itself comes out closer to it."""
    rng = np.random.default_rng(0)
    sums = np.exp(rng.uniform(0, 3, 9))
    whole = (1.2 * sums + 0.3) * np.exp(0.1 * rng.standard_normal(9))
    _, fits = fit_correction(list("abcdefghi"), sums.tolist(), whole.tolist())
    scale, offset_ms = line(sums, whole)
    for i, fit in enumerate(fits):
        assert fit.fitted_ms == pytest.approx(scale * sums[i] + offset_ms)
        its_scale, its_offset_ms = line(np.delete(sums, i), np.delete(whole, i))
        assert fit.left_out_ms == pytest.approx(its_scale * sums[i] + its_offset_ms)
        assert abs(fit.left_out_ms / fit.ms - 1) > 1.05 * abs(fit.fitted_ms / fit.ms - 1)


def test_the_profiler_s_time_per_kernel_is_taken_off_again():
    sums, kernels = [1.0, 2.0, 4.0, 8.0, 3.0], [10, 30, 20, 50, 40]
    whole = [1.05 * s - 0.003 * k for s, k in zip(sums, kernels, strict=True)]
    correction, fits = fit_correction(list("abcde"), sums, whole, kernels)
    assert_correction(correction, scale=1.05, per_kernel_ms=-0.003)
    assert [(fit.sum_ms, fit.kernels) for fit in fits] == list(zip(sums, kernels, strict=True))


def test_an_offset_is_fitted_beside_the_kernels():
    rng = np.random.default_rng(0)
    sums, kernels = np.exp(rng.uniform(0, 3, 20)), rng.integers(40, 160, 20)
    names, whole = [str(i) for i in range(20)], 1.05 * sums - 0.002 * kernels - 0.2
    correction, _ = fit_correction(names, sums, whole, kernels.tolist())
    assert_correction(
        correction, scale=1.05, per_kernel_ms=-0.002, offset_ms=-0.2, smallest_ms=min(1.05 * sums - 0.002 * kernels)
    )
    noisy = (whole * np.exp(0.05 * rng.standard_normal(20))).tolist()
    _, fits = fit_correction(names, sums.tolist(), noisy, kernels.tolist())
    some = np.delete(np.arange(20), 4)
    without, _ = fit_correction(names[:19], sums[some].tolist(), np.delete(noisy, 4).tolist(), kernels[some].tolist())
    assert fits[4].left_out_ms == pytest.approx(without.network_ms(sums[4], int(kernels[4])))
    assert fits[4].left_out_ms != pytest.approx(fits[4].fitted_ms, rel=1e-4)
    few, _ = fit_correction(names[:7], sums[:7], whole[:7], kernels[:7].tolist())
    assert few.offset_ms == 0  # seven networks are too few for three coefficients
    eight, _ = fit_correction(names[:8], sums[:8], whole[:8], kernels[:8].tolist())
    assert eight.offset_ms == pytest.approx(-0.2)


@pytest.mark.parametrize("chains_mib", [[9.7] * 8, [9.7 + 0.01 * i for i in range(8)], [3.0 + 3 * i for i in range(8)]])
def test_what_weights_save_shows_in_chains_that_differ(chains_mib):
    """Chance is not taken for it, and a disturbed time does no harm."""
    rng = np.random.default_rng(0)
    chains_mib = np.array(chains_mib)
    noise = 1 + 0.04 * rng.standard_normal((200, 8))
    noise[rng.random((200, 8)) < 0.05] *= 2
    mib = rng.uniform(0, 3, 200)
    ms = [(0.3 - 0.04 * m * np.exp(-chains_mib / 6)) * n for m, n in zip(mib, noise, strict=True)]
    found = residence.saved_by_mib_ms((m, list(t), list(chains_mib)) for m, t in zip(mib, ms, strict=True))
    assert found == (pytest.approx(0.04, rel=0.15) if np.ptp(chains_mib) > 1 else 0)
