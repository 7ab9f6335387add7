"""Networks as models of timm: their weights come back, and where timm is installed it builds and runs them."""

import ast
import contextlib
import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch

from search_spaces import checkpoints, foreign_weights, rewrite, spaces, timm_export, torch_net, zoo
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv

with contextlib.suppress(
    ImportError, RuntimeError
):  # torchvision, which timm needs, refuses to run beside another torch
    import timm

V3 = zoo.get("mobilenet_v3_small", width=0.75, resolution_px=64, classes=5)
NAMES = [
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large_minimalistic",
    "mnasnet_a1",
    "mnasnet_small",
    "proxyless_r",
]
NAMES += ["fbnet_c", "single_path_nas", "efficientnet_b0", "efficientnet_lite2", "mixnet_s", "mixnet_m"]


def of_spaces():
    """Networks of the search spaces that timm can build."""
    for name, options in (("mobilenet_v3", {"base_width": 0.5}), ("mnasnet", {"base_width": 0.35})):
        space = spaces.get(name, resolution_px=64, **options)
        found = map(space.decode, space.sample(np.random.default_rng(0), 60))
        yield from [arch for arch in found if timm_export.why_not(arch) is None][:6]


POSSIBLE = list(of_spaces())
ARCHS = [
    V3,
    replace(V3, norm_eps=1e-3, padding="tensorflow"),
    rewrite.small_image(V3, 32, min_px=4),
    *(zoo.get(name, resolution_px=64, classes=7) for name in NAMES),
    *POSSIBLE,
]


def net_of(arch):
    generator = torch.Generator().manual_seed(0)
    net = torch_net.build(arch, generator=generator).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.05, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
        elif isinstance(module, torch.nn.Linear):
            module.weight.data.mul_(10)
    return net


def test_many_networks_of_the_search_spaces_are_possible():
    assert len(POSSIBLE) >= 9
    assert {arch.blocks[0].kernel for arch in POSSIBLE} == {3, 5}


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_the_weights_come_back(arch, tmp_path):
    net = net_of(arch)
    timm_export.export(net, tmp_path, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop=0.9)
    again = foreign_weights.fit(checkpoints.read(tmp_path / "best_timm.safetensors"), arch).weights
    wanted = net.state_dict()
    assert again.keys() == wanted.keys()
    assert all(torch.equal(again[name], wanted[name]) for name in wanted if "num_batches" not in name)


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_timm_computes_the_same(arch, tmp_path):
    if "timm" not in globals():
        pytest.skip("needs timm")
    net = net_of(arch)
    timm_export.export(net, tmp_path, "mine", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop=0.9)
    theirs = runpy.run_path(str(tmp_path / "mine.py"))["build"]()
    assert theirs.num_classes == arch.classes
    assert timm.data.resolve_model_data_config(theirs)["mean"] == (0.1, 0.2, 0.3)
    x = torch.randn(2, arch.in_ch, *[arch.resolution_px] * 2, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = net(x)
        assert float((theirs(x) - expected).abs().max() / expected.abs().max()) < 1e-4
    norms = [module for module in theirs.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(arch.norm_eps, arch.norm_momentum)}


def test_the_definition_is_short_and_says_all(tmp_path):
    timm_export.export(net_of(V3), tmp_path, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop=0.9)
    program = (tmp_path / "best_timm.py").read_text()
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert values["STAGES"][:2] == [["ds_r1_k3_s2_c16_se0.5_nre"], ["ir_r1_k3_s2_e4.5_c24_nre"]]
    assert values["CONFIG"]["input_size"] == (3, 64, 64)
    assert values["CONFIG"]["crop_pct"] == 0.9
    assert len(program.splitlines()) < 60
    assert "from timm.models.mobilenetv3 import MobileNetV3\n" in program


def skeleton(program):
    """The syntax of a program without the values of its literals."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value = None
    return ast.dump(tree)


@pytest.mark.parametrize(
    "name", ['x"""+str(__import__("os").system("id"))+"""', "x\\", "'" * 3, "{kind}", '"\\u0022"""', "\u2028é"]
)
def test_names_are_no_code(name, tmp_path):
    for folder, called in ((tmp_path / "plain", "x"), (tmp_path / "other", name)):
        folder.mkdir()
        timm_export.export(net_of(replace(V3, name=called)), folder, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    plain, other = ((tmp_path / folder / "best_timm.py").read_text() for folder in ("plain", "other"))
    assert skeleton(other) == skeleton(plain)
    assert ast.get_docstring(ast.parse(other)) == ast.get_docstring(ast.parse(plain))
    (value,) = (ast.literal_eval(line[7:]) for line in other.splitlines() if line.startswith("NAME = "))
    assert value == name


STEM, HEAD = ConvBN(in_ch=3, out_ch=16, kernel=3, stride=2), Classifier(in_ch=24, out_ch=5)
BLOCK = MBConv(in_ch=16, mid_ch=48, out_ch=24, kernel=3)


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        ((replace(STEM, stride=1), BLOCK, HEAD), "timm's models begin with a plain convolution of stride 2"),
        ((STEM, replace(BLOCK, mid_ch=50), HEAD), "timm rounds expansions to multiples of 8; a block has 50 channels"),
        ((STEM, replace(BLOCK, stride=3), HEAD), "timm's blocks have strides 1 and 2, not 3"),
        ((STEM, replace(BLOCK, act="sigmoid"), HEAD), "timm's notation of blocks has no activation 'sigmoid'"),
        ((STEM, replace(BLOCK, out_ch=16, skip="pool"), replace(HEAD, in_ch=16)), "timm has no pooled shortcut"),
        (
            (STEM, ConvBN(in_ch=16, out_ch=24, kernel=3, se_ch=4), HEAD),
            "timm's plain convolutions have no squeeze-and-excite",
        ),
        ((STEM, BLOCK, replace(HEAD, hidden_ch=32)), "one activation in stem and head, not relu and hard_swish"),
        ((replace(STEM, out_ch=24), HEAD), "timm's models have blocks between stem and classifier"),
        (
            (STEM, replace(BLOCK, se_ch=4), replace(BLOCK, in_ch=24, se_ch=4, se_gate="hard_sigmoid"), HEAD),
            "timm's models have one kind of squeeze-and-excite",
        ),
    ],
)
def test_what_timm_cannot_build_is_refused(blocks, why, tmp_path):
    arch = Arch(name="x", resolution_px=32, blocks=blocks)
    assert why in str(timm_export.why_not(arch))
    with pytest.raises(ValueError, match="timm"):
        timm_export.export(torch_net.build(arch), tmp_path, mean=(0,), std=(1,))
    assert not list(tmp_path.iterdir())
    assert timm_export.why_not(zoo.get("resnet50")) == "timm's models begin with a plain convolution of stride 2"
    assert timm_export.why_not(zoo.get("rexnet_1_0")) == "timm's builder has no PartialMBConv"
