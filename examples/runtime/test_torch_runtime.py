from torch_runtime import Runtime

from latency_luts.runtime import get
from nas.testing import check_runtime
from search_spaces import rewrite, zoo


def test_it_is_found_by_name():
    assert isinstance(get("torch"), Runtime)


def test_a_network_is_run_once_a_call():
    arch = rewrite.classes(zoo.get("mnasnet_small", resolution_px=64), 10)
    run = get("torch").prepare(arch, batch=2)
    assert run().shape == run().shape == (2, 10)


def test_it_keeps_what_is_promised_of_runtimes():
    check_runtime(Runtime)
