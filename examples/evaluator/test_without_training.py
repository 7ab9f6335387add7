from without_training import Naswot

from nas.testing import check_evaluator
from search_spaces import rewrite, spaces, zoo
from search_spaces.arch import Arch, Classifier, ConvBN


def test_it_is_an_evaluator():
    check_evaluator(Naswot)


def test_more_activations_tell_more_pictures_apart():
    arch = zoo.get("mobilenet_v2")
    wide, narrow = (Naswot().evaluate(rewrite.width_multiplier(arch, width)) for width in (1.0, 0.25))
    assert 0 < narrow < wide < 1


def test_a_network_without_activations_tells_none_apart():
    blocks = (ConvBN(in_ch=3, out_ch=8, kernel=3, stride=2, act="none"), Classifier(in_ch=8, out_ch=10))
    assert Naswot().evaluate(Arch(name="linear", resolution_px=32, blocks=blocks)) == 0.0


def test_the_seed_decides():
    arch = spaces.get("mnasnet").decode([0] * 42)
    assert Naswot(rng_seed=1).evaluate(arch) != Naswot(rng_seed=2).evaluate(arch)
