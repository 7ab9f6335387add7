"""TensorFlow Lite's files against the graphs of ONNX, and what LiteRT makes of them."""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from search_spaces import dense, onnx_net, spaces, tflite_net, torch_net, zoo
from search_spaces.arch import Arch
from search_spaces.blocks import PlainConv, Pooling
from search_spaces.lower import lower
from search_spaces.ops import ACTIVATIONS, PADDINGS, POOLS, Act, Add, Concat, Conv, Dropout, Op, Pool

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

SMALL = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32, classes=10)


@dataclass(frozen=True, kw_only=True)
class Own:
    """A block of any operators."""

    in_ch: int
    out_ch: int
    its: tuple[Op, ...]

    def ops(self):
        return self.its


def of(*blocks, size_px=14):
    return Arch(name="network", resolution_px=size_px, blocks=blocks)


def layers(act):
    """Kernels of all kinds, each with the activation `act`."""
    return of(
        PlainConv(in_ch=3, out_ch=12, kernel=5, kernel_w=3, stride=2, act=act),
        PlainConv(in_ch=12, out_ch=24, kernel=3, stride=2, groups=12, act=act),
        PlainConv(in_ch=24, out_ch=24, kernel=3, groups=2, pad=0, act=act),
        PlainConv(in_ch=24, out_ch=24, kernel=3, kernel_w=1, groups=24, norm=False, act=act),
        Own(in_ch=24, out_ch=24, its=(Act(name="alone", inputs=("input",), act=act),)),
        size_px=23,
    )


def samples(name, n, **options):
    space = spaces.get(name, classes=10, **options)
    return [replace(space.decode(row), name=name) for row in space.sample(np.random.default_rng(5), n)]


def thin(block):
    """`block` with a quarter of the channels, but for those of images and classes."""
    its = {field.name: getattr(block, field.name) for field in fields(block)}
    its |= {name: value // 4 for name, value in its.items() if name.endswith("_ch") and value % 4 == 0}
    if "branches" in its:
        its["branches"] = tuple(tuple(map(thin, branch)) for branch in its["branches"])
    return replace(block, **its)


def published(name):
    """A network of the zoo as small as it can be."""
    larger_px = {"alexnet": 96, "inception_v3": 96, "vgg16": 64}  # whose linear layers read maps, or need them
    options = {"resolution_px": larger_px.get(name, 32), "classes": 10}
    for width in (0.35, 0.5):
        with contextlib.suppress(ValueError):
            return zoo.get(name, width=width, **options)
    arch = zoo.get(name, **options)
    return arch if name == "rexnet_1_0" else replace(arch, blocks=tuple(map(thin, arch.blocks)))


ARCHS = [
    *map(published, zoo.names()),
    *samples("mnasnet", 3, base_width=0.35, resolution_px=40),
    *samples("mobilenet_v3", 2, base_width=0.35, resolution_px=40),
    *samples("accel_nasbench", 1, resolution_px=32),
    dense.segmentation(SMALL, resolution_px=32),
    dense.segmentation(published("mobilenet_v2"), head="r_aspp", halve_last=False, resolution_px=32),
    dense.ssdlite(SMALL, classes=3, resolution_px=64),
    *(replace(layers(act), name=act) for act in ACTIVATIONS),
]


def images(arch, n=1):
    return np.random.default_rng(0).standard_normal((n, *lower(arch)[0].in_shape), dtype=np.float32)


def differs(arch, n=1, **options):
    """By how much LiteRT's answer differs from ONNX Runtime's, as a share of the largest number in that."""
    x = images(arch, n)
    expected = onnx_net.run(onnx_net.model(arch, batch=n).SerializeToString(), x)
    given = tflite_net.run(tflite_net.model(arch, batch=n, **options), x)
    assert given.shape == expected.shape
    return np.abs(given - expected).max() / np.abs(expected).max()  # NaN is below nothing


def operators(arch, **options):
    """How often each operator stands in a file."""
    loaded = tflite_net.interpreter(tflite_net.model(arch, **options))
    return Counter(op["op_name"] for op in loaded._get_ops_details() if op["op_name"] != "DELEGATE")


def computed_by(arch, **options):
    """Of how many parts of the graph XNNPACK computes each at once (DELEGATE), and the operators that it leaves."""
    loaded = tflite_net.interpreter(tflite_net.model(arch, **options))
    makers = {tensor: op for op in loaded._get_ops_details() for tensor in op["outputs"].tolist()}  # its own come last
    wanted, found = [loaded.get_output_details()[0]["index"]], {}
    while wanted:
        op = makers.get(wanted.pop())
        if op is not None and op["index"] not in found:
            found[op["index"]] = op["op_name"]
            wanted += op["inputs"].tolist()
    return Counter(found.values())


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_litert_computes_what_onnx_runtime_computes(arch):
    assert differs(arch) < 1e-4
    assert differs(replace(arch, padding="tensorflow"), 2) < 1e-4
    assert computed_by(arch) == {"DELEGATE": 1}


def test_every_operator_is_among_them():
    ops = [node.op for arch in ARCHS for unit in lower(arch) for node in unit.nodes]
    assert {type(op) for op in ops} == set(get_args(Op))
    assert {op.act for op in ops if isinstance(op, Conv | Act)} == set(ACTIVATIONS)
    assert {op.kind for op in ops if isinstance(op, Pool)} == set(POOLS)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("size_px", [9, 10])
def test_windows_of_poolings(kind, size_px):
    for kernel, stride, pad, ceil in product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (False, True)):
        if pad <= kernel / 2:
            block = Pooling(in_ch=2, kernel=kernel, stride=stride, pad=pad, ceil=ceil, kind=kind)
            assert differs(of(block, size_px=size_px)) < 1e-5, block


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size_px", [9, 10])
def test_windows_of_convolutions(padding, size_px):
    kernels = (1, 3, (5, 1)) if padding == "tensorflow" else (1, 2, 3, (5, 1))
    for kernel, stride, dilation, pad in product(kernels, (1, 2, 3), (1, 2), (None, 0, 1)):
        conv = Conv(name="conv", inputs=("input",), in_ch=2, out_ch=4, kernel=kernel, stride=stride, dilation=dilation,
                    pad=pad, groups=2)  # fmt: skip
        arch = replace(of(Own(in_ch=2, out_ch=4, its=(conv,)), size_px=size_px), padding=padding)
        assert differs(arch) < 1e-5, conv
        if pad == 0 or (pad is None and padding == "tensorflow"):
            assert operators(arch) == {"DEPTHWISE_CONV_2D": 1}, conv  # no zeros are written


def test_activations_are_fused_where_nothing_else_reads_what_they_activate():
    its = (
        Conv(name="conv", inputs=("input",), in_ch=4, out_ch=4, act="relu6"),
        Act(name="has_one_already", inputs=("conv",), act="relu"),
        Add(name="sum", inputs=("has_one_already", "input")),
        Act(name="fused", inputs=("sum",), act="relu"),
        Add(name="read_twice", inputs=("fused", "input")),
        Act(name="one", inputs=("read_twice",), act="relu6"),
        Add(name="known_by_two_names", inputs=("one", "read_twice")),
        Dropout(name="dropout", inputs=("known_by_two_names",), rate=0.1),
        Act(name="two", inputs=("dropout",), act="relu"),
        Concat(name="concat", inputs=("two", "dropout")),
        Act(name="cannot_be_fused", inputs=("concat",), act="relu"),
        Act(name="twice", inputs=("cannot_be_fused",), act="sigmoid"),
    )
    arch = of(Own(in_ch=4, out_ch=8, its=its))
    assert differs(arch) < 1e-5
    expected = {"CONV_2D": 1, "ADD": 3, "RELU6": 1, "RELU": 3, "CONCATENATION": 1, "LOGISTIC": 1}
    assert operators(arch) == expected
    bottlenecks = operators(published("resnet50"))
    assert bottlenecks["ADD"] == 16
    assert "RELU" not in bottlenecks


def test_zeros_stand_around_a_maximum_only_where_nothing_is_below():
    pooling = Pooling(in_ch=4, kernel=3, stride=2, pad=1)
    assert operators(of(pooling)) == {"PADV2": 1, "MAX_POOL_2D": 1}
    conv = PlainConv(in_ch=4, out_ch=4, kernel=1, act="relu")
    assert operators(of(conv, pooling)) == {"CONV_2D": 1, "PAD": 1, "MAX_POOL_2D": 1}
    assert "PADV2" in operators(of(replace(conv, act="hard_swish"), pooling))


def test_weights_of_a_network_are_in_its_file():
    arch = replace(SMALL, norm_eps=1e-3)
    generator = torch.Generator().manual_seed(0)
    net = torch_net.build(arch, generator=generator).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.01, 2, generator=generator)
    x = images(arch, 3)
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).numpy()
    for batch in (1, 2):  # of 2 the last one is half full
        given = tflite_net.run(tflite_net.model(arch, net=net, batch=batch), x)
        np.testing.assert_allclose(given, expected, atol=1e-4 * float(np.abs(expected).max()))
    with pytest.raises(ValueError, match="the weights belong to 'mobilenet_v3_small 0.35', not to 'mnasnet_small'"):
        tflite_net.model(zoo.get("mnasnet_small"), net=net)


def test_the_file_is_as_its_schema_says():
    content = tflite_net.model(SMALL, batch=2)
    assert content[4:8] == b"TFL3"
    file = schema.ModelT.InitFromPackedBuf(content)
    assert file.version == 3
    assert file.buffers[0].data is None
    (graph,) = file.subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    assert len(set(names)) == len(names)
    ends = [graph.tensors[i] for i in (*graph.inputs, *graph.outputs)]
    assert [(end.name, end.shape.tolist()) for end in ends] == [(b"input", [2, 32, 32, 3]), (b"output", [2, 10])]
    by_onnx = {node.name for node in onnx_net.model(SMALL).graph.node}
    ops = {f"block{i}.{node.op.name}" for i, unit in enumerate(lower(SMALL)) for node in unit.nodes}
    assert len(ops & by_onnx) > 50
    assert ops & by_onnx - set(names) == {"block13.linear"}  # which is the output
    tables = [schema.Model.GetRootAs(content).Buffers(i)._tab for i in range(1, len(file.buffers))]
    assert {table.Vector(table.Offset(4)) % 16 for table in tables} == {0}


def test_operators_are_of_the_first_version_that_does_what_they_do():
    def versions(arch, dtype="fp32"):
        file = schema.ModelT.InitFromPackedBuf(tflite_net.model(arch, dtype=dtype))
        names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
        return {(names[code.builtinCode], code.version) for code in file.operatorCodes}

    convolutions = {("CONV_2D", 1), ("CONV_2D", 6), ("DEPTHWISE_CONV_2D", 1), ("PAD", 1)}  # 6: in groups
    assert versions(layers("relu")) == convolutions | {("RELU", 1)}
    assert versions(layers("relu"), "fp16") == convolutions | {("RELU", 1), ("DEQUANTIZE", 3)}
    integers = {("CONV_2D", 3), ("CONV_2D", 6), ("DEPTHWISE_CONV_2D", 3), ("PAD", 2), ("RELU", 2)}
    assert versions(layers("relu"), "int8") == integers | {("QUANTIZE", 1), ("DEQUANTIZE", 2)}
    dilated = of(Own(in_ch=4, out_ch=4, its=(Conv(name="a", inputs=("input",), in_ch=4, out_ch=4, kernel=3, dilation=2,
                                                  groups=4),)))  # fmt: skip
    assert versions(dilated) == {("DEPTHWISE_CONV_2D", 2)}


@pytest.mark.parametrize("act", ACTIVATIONS[1:])  # without one they grow beyond what int8 is for here
def test_smaller_numbers_are_the_same_ones_roughly(act):
    assert 1e-5 < differs(layers(act), dtype="fp16") < 2e-3
    assert 1e-3 < differs(layers(act), dtype="int8") < (0.02 if act in ("sigmoid", "hard_sigmoid") else 0.15)


def test_integers_of_different_scales_are_joined():
    its = (
        Act(name="gate", inputs=("input",), act="sigmoid"),
        Concat(name="join", inputs=("gate", "input", "gate")),
    )
    arch = of(Own(in_ch=2, out_ch=6, its=its))
    assert differs(arch, dtype="int8") < 0.02
    assert operators(arch, dtype="int8") == {"QUANTIZE": 3, "LOGISTIC": 1, "CONCATENATION": 1, "DEQUANTIZE": 1}


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_graphs_of_smaller_numbers_run(arch):
    assert differs(arch, dtype="fp16") < 0.03
    assert computed_by(arch, dtype="fp16") == {"DELEGATE": 1}
    answer = tflite_net.run(tflite_net.model(arch, dtype="int8", batch=2), images(arch, 2))
    assert 1e-3 < np.abs(answer).max() < 10
    parts = computed_by(arch, dtype="int8")
    assert parts["DELEGATE"] > 0
    assert set(parts) <= {"DELEGATE", "HARD_SWISH", "AVERAGE_POOL_2D", "RELU", "RELU6"}


def test_files_of_smaller_numbers_are_smaller():
    sizes = [len(tflite_net.model(published("vgg16"), dtype=dtype)) for dtype in tflite_net.DTYPES]
    assert sizes[0] / sizes[1] == pytest.approx(2, abs=0.1)
    assert sizes[0] / sizes[2] == pytest.approx(4, abs=0.2)
    with pytest.raises(ValueError, match="^dtype='int4': TensorFlow Lite models are of fp32, fp16, int8$"):
        tflite_net.model(SMALL, dtype="int4")


def test_hard_swish_is_one_operator():
    convolutions = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "PAD": 1}
    assert operators(layers("hard_swish")) == {**convolutions, "HARD_SWISH": 5}


def test_litert_says_nothing_of_itself(capfd):
    with tflite_net._without(b"INFO: hello\n"):
        os.write(2, b"WARNING: x\nINFO: hello\nERROR: y\n")
    tflite_net.interpreter(tflite_net.model(of(Pooling(in_ch=1, kernel=2, stride=2))))
    assert capfd.readouterr().err == "WARNING: x\nERROR: y\n"
