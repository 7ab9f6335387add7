"""Networks as ncnn models: what ncnn computes with them against ONNX Runtime and torch."""

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from search_spaces import dense, folded, ncnn_net, onnx_net, ops, spaces, torch_net, zoo
from search_spaces.arch import Arch, ConvBN, MBConv, SepConv
from search_spaces.blocks import (
    Bottleneck,
    Branches,
    Classifier,
    Flat,
    GlobalAverage,
    PlainConv,
    Pooling,
    Resample,
    ShuffleUnit,
    ShuffleUnitV2,
)
from search_spaces.lower import lower

ncnn = pytest.importorskip("ncnn")

SIZES = {"alexnet": 64, "inception_v3": 75}  # px; all others work with 32
ZOO = [zoo.get(name, resolution_px=SIZES.get(name, 32), classes=10) for name in zoo.names()]
SMALL = zoo.get("mobilenet_v3_small", resolution_px=32, classes=10)
DENSE = [
    dense.segmentation(SMALL, resolution_px=64),
    dense.segmentation(zoo.get("mobilenet_v2", width=0.35), head="r_aspp", halve_last=False, resolution_px=64),
    dense.ssdlite(SMALL, halve_last=True, classes=21, resolution_px=64),
]


def randomly(name: str, **options) -> list[Arch]:
    space = spaces.get(name, resolution_px=32, classes=10, **options)
    return [space.decode(row) for row in space.sample(np.random.default_rng(0), 2)]


SAMPLED = [
    *randomly("mnasnet", base_width=0.35),
    *randomly("mobilenet_v3", base_width=0.35),
    *randomly("accel_nasbench"),
]
PADDED = [
    replace(arch, name=f"{arch.name} padded", padding="tensorflow", resolution_px=37) for arch in (SMALL, *SAMPLED)
]


def image(arch: Arch) -> np.ndarray:
    shape = (1, arch.in_ch, arch.resolution_px, arch.resolution_px)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def run(model: tuple[str, bytes], x: np.ndarray, *names: str, dtype: str = "fp32") -> list[np.ndarray]:
    """The blobs of a model of those names, for one image (1, C, H, W)."""
    extractor = ncnn_net.load(*model, dtype=dtype).create_extractor()
    extractor.input(ncnn_net.INPUT, ncnn.Mat(x[0]).clone())
    blobs = [extractor.extract(name) for name in names or (ncnn_net.OUTPUT,)]
    assert not any(failed for failed, _ in blobs)
    return [np.array(blob) for _, blob in blobs]


def distance(y: np.ndarray, expected: np.ndarray) -> float:
    """Relative to the largest output. A vector of ncnn's may be a map of one position."""
    assert y.shape == expected.shape[: y.ndim]
    assert expected.size == y.size
    return float(np.abs(y.ravel() - expected.ravel()).max() / np.abs(expected).max())


def trained(arch: Arch):
    """A net whose norms have something to fold."""
    generator = torch.Generator().manual_seed(0)
    net = torch_net.build(arch, generator=generator).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
    return net


@pytest.mark.parametrize("arch", [*ZOO, *DENSE, *SAMPLED, *PADDED], ids=lambda arch: arch.name)
def test_it_computes_what_onnx_runtime_does(arch):
    x = image(arch)
    (y,) = run(ncnn_net.model(arch), x)
    assert distance(y, onnx_net.run(onnx_net.model(arch).SerializeToString(), x)[0]) < 1e-3


def test_every_operator_is_in_a_network_above():
    met = {type(node.op) for arch in (*ZOO, *DENSE, *SAMPLED) for unit in lower(arch) for node in unit.nodes}
    assert met == set(get_args(ops.Op))


def oddities(n: int) -> list[Arch]:
    """Networks of n channels on a map of n x n px, that what is of a channel may not be taken for what is of a row."""
    conv, pool = partial(PlainConv, in_ch=n, out_ch=n), GlobalAverage(in_ch=n)
    dot, beside = conv(kernel=n, pad=0), partial(Branches, in_ch=n)
    made = {
        "asymmetric": [conv(kernel=1, kernel_w=7), conv(kernel=5, kernel_w=3)],
        "dilated": [ConvBN(in_ch=n, out_ch=n, kernel=3, dilation=2), SepConv(in_ch=n, out_ch=5, kernel=3, dilation=2)],
        "grouped": [conv(kernel=3, groups=2, stride=2)],
        "given padding": [conv(kernel=3, pad=0, stride=2), conv(kernel=1, pad=2)],
        "gated": [MBConv(in_ch=n, mid_ch=n, out_ch=n, kernel=3, se_ch=2, skip="identity")],
        "doubled": [beside(branches=((), ()), join="add")],
        "flat": [Flat(in_ch=n, size_px=n), PlainConv(in_ch=n**3, out_ch=4, kernel=1)],
        "pooled beside": [beside(branches=((pool,), (dot,), (pool, Resample(in_ch=n, factor=1))))],
        "pooled and added": [beside(branches=((dot,), (pool,)), join="add"), Resample(in_ch=n, factor=3)],
        "pooled and enlarged": [pool, Resample(in_ch=n, factor=3)],
        "pooled and convolved": [pool, conv(kernel=1, act="swish"), conv(kernel=3), conv(kernel=3, groups=n)],
        "pooled and grouped": [pool, conv(kernel=1, groups=2)],
        "pooled and padded": [pool, conv(kernel=1, pad=1)],
        "pooled and sliced": [pool, ShuffleUnitV2(in_ch=n, out_ch=n)],
        "pooled and shuffled": [pool, ShuffleUnit(in_ch=n, mid_ch=4, out_ch=n, groups=2, first_groups=1)],
        "pooled in a window": [pool, Pooling(in_ch=n, kernel=3, stride=1, pad=1, kind="avg")],
        "pooled twice": [pool, pool, Flat(in_ch=n, size_px=1), Classifier(in_ch=n, out_ch=5, hidden_ch=4)],
    }
    return [Arch(name=f"{name} {n}", resolution_px=n, blocks=tuple(blocks)) for name, blocks in made.items()]


def windows() -> list[Arch]:
    made = []
    for kind, (kernel, stride, pad), size, ceil in product(ops.POOLS, WINDOWS, (7, 8), (False, True)):
        block = Pooling(in_ch=4, kernel=kernel, stride=stride, pad=pad, kind=kind, ceil=ceil)
        name = f"{kind} {kernel}/{stride}/{pad} of {size} px{', ceil' if ceil else ''}"
        made.append(Arch(name=name, resolution_px=size, blocks=(block,)))
    return made


def activations() -> list[Arch]:
    made = []
    for act in ops.ACTIVATIONS:
        fused = ConvBN(in_ch=4, out_ch=4, kernel=3, act=act)
        alone = Bottleneck(in_ch=4, mid_ch=4, out_ch=4, kernel=3, act=act)  # behind its sum
        last = Classifier(in_ch=4, out_ch=8, hidden_ch=16, act=act)
        made.append(Arch(name=act, resolution_px=6, blocks=(fused, alone, last)))
    return made


WINDOWS = ((2, 2, 0), (3, 2, 1), (3, 2, 0), (2, 3, 1), (3, 1, 1), (1, 3, 0))


@pytest.mark.parametrize("arch", [*oddities(6), *oddities(8), *windows(), *activations()], ids=lambda arch: arch.name)
def test_what_is_rare_is_computed_as_torch_does(arch):
    net, x = trained(arch), 3 * image(arch)  # so that activations are met on both sides of their bends
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).numpy()[0]
    (y,) = run(ncnn_net.model(arch, net=net), x)
    assert distance(y, expected) < 1e-4


@pytest.mark.parametrize(
    "arch", [SMALL, zoo.get("shufflenet_v2", resolution_px=32, classes=10)], ids=lambda arch: arch.name
)
def test_each_block_hands_on_what_it_does_in_torch(arch):
    net, x, expected = trained(arch), image(arch), []
    for block in net.blocks:
        block.register_forward_hook(lambda module, inputs, y: expected.append(y.numpy()[0]))
    with torch.inference_mode():
        net(torch.from_numpy(x))
    blobs = run(ncnn_net.model(arch, net=net), x, *ncnn_net.block_outputs(arch))
    assert [distance(*both) < 1e-3 for both in zip(blobs, expected, strict=True)] == [True] * len(arch.blocks)


def parsed(text: str) -> list[tuple[str, list[str], list[str]]]:
    """Kind, inputs and outputs of each layer of a .param file, whose numbers are checked."""
    magic, counts, *lines = text.splitlines()
    layers = []
    for line in lines:
        kind, _, n, m, *rest = line.split()
        layers.append((kind, rest[: int(n)], rest[int(n) : int(n) + int(m)]))
    made = [name for _, _, outputs in layers for name in outputs]
    assert (magic, counts) == ("7767517", f"{len(lines)} {len(made)}")
    assert len(set(made)) == len(made)
    return layers


@pytest.mark.parametrize("arch", [*ZOO[:8:3], *DENSE], ids=lambda arch: arch.name)
def test_a_blob_has_one_reader(arch):
    layers = parsed(ncnn_net.model(arch)[0])
    readers = Counter(name for _, inputs, _ in layers for name in inputs)
    assert readers == Counter(name for _, _, outputs in layers for name in outputs if name != ncnn_net.OUTPUT)
    assert layers[0] == ("Input", [], ["input"])


CHAIN = Arch(
    name="chain",
    resolution_px=16,
    blocks=(
        ConvBN(in_ch=3, out_ch=16, kernel=3, act="relu6"),
        SepConv(in_ch=16, out_ch=24, kernel=3, stride=2, act="relu6", out_act="relu6"),
        PlainConv(in_ch=24, out_ch=24, kernel=3, groups=6, act="relu6"),
        Classifier(in_ch=24, out_ch=10),
    ),
)
MIXED = Arch(
    name="mixed",
    resolution_px=8,
    blocks=(
        ConvBN(in_ch=3, out_ch=8, kernel=3),
        MBConv(in_ch=8, mid_ch=16, out_ch=8, kernel=3, act="swish", skip="identity"),
        ConvBN(in_ch=8, out_ch=8, kernel=3),
        ShuffleUnitV2(in_ch=8, out_ch=16, stride=2),
        Classifier(in_ch=16, out_ch=4),
    ),
)


def int8_terms(text: str) -> dict[str, int]:
    """Of each layer of a .param file that has one; above 100 its output is int8 too."""
    lines = [line.split() for line in text.splitlines()]
    return {line[1]: int(word[2:]) for line in lines for word in line if word.startswith("8=")}


def test_weights_stand_in_the_file_as_ncnn_reads_them():
    block = PlainConv(in_ch=3, out_ch=5, kernel=1, norm=False)
    arch, (op,) = Arch(name="one", resolution_px=4, blocks=(block,)), block.ops()
    weight, bias = folded.random_weights()(0, op)
    weight = weight.reshape(5, 3)
    contents = {dtype: ncnn_net.model(arch, dtype=dtype)[1] for dtype in ncnn_net.DTYPES}
    flags = {dtype: int.from_bytes(content[:4], "little") for dtype, content in contents.items()}
    assert flags == {"fp32": 0, "fp16": 0x01306B47, "int8": 0x000D4B38}
    assert contents["fp32"][4:] == weight.tobytes() + bias.tobytes()
    assert contents["fp16"][4:] == weight.astype(np.float16).tobytes() + b"\0\0" + bias.tobytes()  # 30 bytes, and 2
    whole = np.frombuffer(contents["int8"], np.int8, 15, 4).reshape(5, 3)
    again, scales, (of_input,) = np.split(np.frombuffer(contents["int8"], np.float32, offset=4 + 16), [5, 10])
    assert (again == bias).all()
    assert (np.abs(whole).max(axis=1) == 127).all()
    np.testing.assert_allclose(whole / scales[:, None], weight, atol=0.5 / scales.min())
    assert of_input == pytest.approx(127 / 6)


def test_weights_of_16_bits_take_half_the_room():
    whole, half = ncnn_net.model(SMALL), ncnn_net.model(SMALL, dtype="fp16")
    assert half[0] == whole[0]
    assert len(half[1]) / len(whole[1]) == pytest.approx(0.5, abs=0.02)
    x = image(SMALL)
    (y,), (expected,) = run(half, x, dtype="fp16"), run(whole, x)
    assert 1e-6 < distance(y, expected) < 1e-2


def test_int8_is_handed_on_from_one_convolution_to_the_next():
    text, content = ncnn_net.model(CHAIN, dtype="int8")
    assert list(int8_terms(text).values()) == [102, 101, 102, 1, 2]  # what is pooled, and what stands last, is not
    assert len(content) < 0.6 * len(ncnn_net.model(CHAIN)[1])
    named = [name for name, term in int8_terms(ncnn_net.model(MIXED, dtype="int8")[0]).items() if term > 100]
    # not what a sum reads too, nor what an activation reads that is no part of the convolution
    assert named == ["block2.conv", "block3.kept_depthwise", "block3.reduce", "block3.depthwise"]


@pytest.mark.parametrize("arch", [CHAIN, MIXED], ids=lambda arch: arch.name)
def test_int8_is_nearly_fp32_where_activations_are_within_its_range(arch):
    x = image(arch)
    (y,), (expected,) = run(ncnn_net.model(arch, dtype="int8"), x, dtype="int8"), run(ncnn_net.model(arch), x)
    assert 1e-4 < distance(y, expected) < 0.1


def test_what_is_refused():
    with pytest.raises(ValueError, match="^dtype='bf16': an ncnn model is of fp32, fp16, int8$"):
        ncnn_net.model(SMALL, dtype="bf16")
    with pytest.raises(ValueError, match="the weights belong to 'chain', not to 'mobilenet_v3_small'"):
        ncnn_net.model(SMALL, net=torch_net.build(CHAIN))
