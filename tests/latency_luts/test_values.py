"""What the values of tables refuse, and what an identity says of itself."""

from dataclasses import replace

import pytest

from latency_luts import values
from latency_luts.values import NetworkFit, Timing, check_above_0, check_number
from tests.latency_tables import HERE


@pytest.mark.parametrize("name", ["threads", "batch"])
@pytest.mark.parametrize("wrong", [True, 1.5, "2", None, 0, -1])
def test_threads_and_batch_are_whole_numbers_of_at_least_1(name, wrong):
    with pytest.raises(ValueError, match=f"^{name} is {wrong!r}; it must be a whole number of at least 1$"):
        replace(HERE, **{name: wrong})
    assert getattr(replace(HERE, **{name: 1}), name) == 1


@pytest.mark.parametrize("name", ["cpu", "runtime", "dtype"])
def test_texts_are_texts(name):
    with pytest.raises(ValueError, match=f"^{name} is 3; it must be a text$"):
        replace(HERE, **{name: 3})


def test_an_identity_says_which_options_of_build_are_not_as_usual():
    assert replace(HERE, runtime="onnxruntime 1.20").options() == {}
    other = replace(HERE, threads=4, batch=8, dtype="int8", runtime="my_runtime:Runtime 2.0")
    assert other.options() == {"threads": "4", "batch": "8", "dtype": "int8", "runtime": "my_runtime:Runtime"}
    assert (other.runtime_name, replace(HERE, runtime="bare").runtime_name) == ("my_runtime:Runtime", "bare")


@pytest.mark.parametrize("name", ["ms", "spread", "runs", "kernels"])
def test_a_timing_has_numbers_of_at_least_0(name):
    good = {"ms": 0, "spread": 0.0, "runs": 0, "kernels": 0}
    assert getattr(Timing(**good), name) == 0
    with pytest.raises(ValueError, match=f"^{name} is -1; it must be a number of at least 0$"):
        Timing(**{**good, name: -1})


@pytest.mark.parametrize("name", ["fitted_ms", "left_out_ms", "family_out_ms", "sum_ms", "kernels"])
def test_a_fit_s_other_numbers_may_be_below_0_but_must_be_finite(name):
    good = {"name": "n", "ms": 2.0, "fitted_ms": 2.1, "left_out_ms": 2.2}
    assert getattr(NetworkFit(**{**good, name: -3.0}), name) == -3
    for wrong in (float("nan"), "1", *([None] if name != "family_out_ms" else [])):
        with pytest.raises(ValueError, match=f"^{name} is {wrong!r}; it must be a finite number$"):
            NetworkFit(**{**good, name: wrong})


@pytest.mark.parametrize("wrong", [True, "1", None, float("nan"), float("inf"), -1e-9])
def test_numbers_are_finite_and_not_below_their_least(wrong):
    for check in (check_number, check_above_0):
        with pytest.raises(ValueError, match=f"^x is {wrong!r}; it must be a number of at least 0$"):
            check("x", wrong)
    check_number("x", 0)
    check_above_0("x", 1e-9)
    with pytest.raises(ValueError, match="^x is 0; it must be above 0$"):
        check_above_0("x", 0)


def test_long_values_are_cut_in_messages():
    assert values.short("a" * 198) == repr("a" * 198)
    assert values.short("a" * 199) == "'" + "a" * 199 + "..."
    assert values.short("a" * 200, quoted=False) == "a" * 200
    assert values.short("a" * 201, quoted=False) == "a" * 200 + "..."
