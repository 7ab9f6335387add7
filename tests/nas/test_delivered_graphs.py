"""Delivered graphs of any batch, opset and kind of input, in float and in integers."""

import copy
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from nas.delivery import Delivery, quantize
from nas.delivery import integers as measured
from nas.delivery.description import as_input, preprocessing
from nas.training import sources
from nas.training.datasets import part
from nas.training.pictures import of_arrays
from nas.training.recipe import Recipe
from nas.training.train import normalise
from nas.training.trainer import Trainer
from search_spaces import onnx_net, torch_net, zoo
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv
from search_spaces.onnx_net import Pixels
from tests.nas.delivered import USUAL, deliver

PIXELS = Pixels(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


SMALL = Arch(
    name="small",
    resolution_px=28,
    blocks=(
        ConvBN(in_ch=1, out_ch=12, kernel=3, stride=2),
        MBConv(in_ch=12, mid_ch=24, out_ch=12, kernel=3),
        MBConv(in_ch=12, mid_ch=24, out_ch=12, kernel=3, stride=2),
        MBConv(in_ch=12, mid_ch=24, out_ch=16, kernel=3),
        MBConv(in_ch=16, mid_ch=24, out_ch=16, kernel=3),
        Classifier(in_ch=16, out_ch=10, dropout=0.0),
    ),
)


@pytest.fixture(scope="module")
def fashion():
    """Few images, and a network that was trained on them."""
    data = sources.load("fashion_mnist_mini")
    data = replace(data, holdout=part(data.holdout, 200), test=part(data.test, 300))
    trainer = Trainer(data=data, recipe=Recipe(batch=64, lr=0.01))
    net, _, test_top1 = trainer.train_fully(SMALL, epochs=1, threads=1, rng_seed=0)
    assert test_top1 > 0.45
    return data, net.eval()


def figures(path):
    return json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["figures"])


# ---- float


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2", "squeezenet_1_0"])
def test_every_opset_computes_the_same(name, opset):
    arch = zoo.get(name, resolution_px=64, classes=5)
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(0)).eval()
    proto = onnx_net.model(arch, net=net, pixels=PIXELS, opset=opset)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == opset
    assert proto.ir_version == {13: 7, 18: 8, 21: 10}[opset]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    x = torch.from_numpy((images / 255 - PIXELS.mean) / PIXELS.std).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        onnx_net.check(proto.SerializeToString(), arch.name, images, net(x).numpy())


@pytest.mark.parametrize("opset", [12, 22])
def test_other_opsets_are_refused_in_one_line(opset):
    with pytest.raises(ValueError, match=rf"^opset={opset}: graphs of these networks can be of 13 to 21$"):
        onnx_net.model(zoo.get("mobilenet_v3_small"), opset=opset)
    with pytest.raises(ValueError, match="opset"):
        Delivery(**{**dict(USUAL), "opset": opset})


@pytest.mark.parametrize("batch", [1, 3, None])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_graphs_take_as_many_pictures_as_they_say(fashion, tmp_path, kind, batch):
    data, net = fashion
    deliver(tmp_path, net, data, options=USUAL.model_copy(update={"input": kind, "batch": batch}))
    session = onnxruntime.InferenceSession(tmp_path / "best.onnx")
    how = json.loads(session.get_modelmeta().custom_metadata_map["preprocess"])["best.onnx"]
    (source,), (sink,) = session.get_inputs(), session.get_outputs()
    assert [source.name, source.shape] == [how["input"], how["shape"]]
    assert sink.shape == [how["shape"][0], 10]
    images = data.test.images[: batch or 5]
    x = as_input(images, how)
    with torch.inference_mode():
        expected = net(normalise(torch.from_numpy(images), data, "cpu")).numpy()
    np.testing.assert_allclose(session.run(None, {source.name: x})[0], expected, rtol=1e-3, atol=1e-3)


# ---- integers


def test_integers_come_near_on_a_small_network(fashion, tmp_path, monkeypatch):
    data, net = fashion
    options = USUAL.model_copy(update={"quantize": "static"})
    deliver(tmp_path, net, data, options=options)
    found = figures(tmp_path / "best_int8.onnx")
    assert figures(tmp_path / "best.onnx") == found
    int8 = found["int8"]
    assert int8["float_test_top1"] - 0.02 < int8["test_top1"] > 0.4
    assert (int8["holdout_pictures"], int8["test_pictures"]) == (200, 300)
    session = onnxruntime.InferenceSession(tmp_path / "best_int8.onnx")
    answers = np.concatenate([session.run(None, {"image": x[None]})[0] for x in data.test.images]).argmax(1)
    assert (answers == data.test.labels).mean() == pytest.approx(int8["test_top1"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "best_int8.onnx").graph.node]
    assert kinds.count("DequantizeLinear") > kinds.count("Conv") == 13
    assert found["latency"]["here"]["ms"].keys() == {"best.onnx", "network", "best_int8.onnx"}
    card = (tmp_path / "model_card.md").read_text()
    assert f"best_int8.onnx: top-1 {int8['test_top1']:.1%} on 300 test pictures, where best.onnx has" in card
    content = (tmp_path / "best_int8.onnx").read_bytes()
    monkeypatch.setattr(quantize, "quantize", None)
    deliver(tmp_path, net, data, options=options)  # nothing is quantised again
    deliver(tmp_path, net, data)
    assert (tmp_path / "best_int8.onnx").read_bytes() == content
    deliver(tmp_path, net, data, options=USUAL.model_copy(update={"opset": 17}))  # of another graph than the file
    assert not (tmp_path / "best_int8.onnx").exists()
    assert "int8" not in figures(tmp_path / "best.onnx")


def uneven(net):
    """The same function, but that one channel between blocks 2 and 3 has 1,000 times larger values: no 8 bits hold it
    beside the others."""
    net = copy.deepcopy(net)
    norm, conv = net.blocks[2].project.norm, net.blocks[3].expand.conv
    with torch.no_grad():
        norm.weight[0] *= 1000
        norm.bias[0] *= 1000
        conv.weight[:, 0] /= 1000
    return net


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_blocks_that_lose_too_much_stay_in_float(fashion, monkeypatch, kind):
    data, net = fashion
    monkeypatch.setattr(quantize, "ACCEPTED", 0.04)  # of so few pictures
    monkeypatch.setattr(quantize, "_METHODS", {"MinMax": {}})
    how = preprocessing(of_arrays(data, ""), USUAL.model_copy(update={"input": kind}))["best.onnx"]
    pixels = Pixels(mean=data.mean, std=data.std) if kind == "uint8" else None
    pairs = quantize.Pairs(inputs=as_input(data.holdout.images, how), labels=data.holdout.labels)
    made = []
    for its in (net, uneven(net)):
        single = onnx_net.model(net.arch, net=its, pixels=pixels).SerializeToString()
        made.append(quantize.quantize(single, as_input(data.train.images[:50], how), pairs))
    assert [it.in_float for it in made] == [(), (2, 3)]
    assert made[0].float_top1 == made[1].float_top1
    assert max(it.lost for it in made) <= 0.04


def scattered(net):
    """About the same function, but that the channels between blocks have scales from 1 to 100."""
    net, generator = copy.deepcopy(net), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for before, after in pairwise(net.blocks[1:5]):
            norm = before.project.norm
            scale = 100 ** torch.rand(len(norm.weight), generator=generator)
            norm.weight *= scale
            norm.bias *= scale
            after.expand.conv.weight /= scale[None, :, None, None]
    return net


def test_weights_learn_on_where_integers_lose_too_much(fashion, tmp_path, monkeypatch):
    data, net = fashion
    monkeypatch.setattr(quantize, "_METHODS", {"MinMax": {}})
    monkeypatch.setattr(measured, "_LR", 3e-3)  # of a network that has seen little
    options, uneven_net = USUAL.model_copy(update={"quantize": "qat"}), scattered(net)
    before = {name: value.clone() for name, value in uneven_net.state_dict().items()}
    deliver(tmp_path, uneven_net, data, options=options)
    int8 = figures(tmp_path / "best_int8.onnx")["int8"]
    assert int8["fine_tuned_epochs"] == 3
    assert int8["static_blocks_in_float"] == 2
    learnt = (
        len(int8["blocks_in_float"]),
        -int8["holdout_top1"],
    )  # how many it takes depends on the processor's rounding
    assert learnt < (2, -int8["static_holdout_top1"])
    assert int8["holdout_top1"] > int8["float_holdout_top1"] - 0.01
    card = (tmp_path / "model_card.md").read_text()
    assert (
        "; its weights are not those of best.onnx: they learnt 3 epochs more, rounded as integers are (before" in card
    )
    saved = torch_net.load(tmp_path).state_dict()
    assert all(saved[name].equal(value) for name, value in before.items())
    content = (tmp_path / "best_int8.onnx").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(quantize, "quantize", None)
        deliver(tmp_path, uneven_net, data, options=options)
    assert (tmp_path / "best_int8.onnx").read_bytes() == content
    deliver(tmp_path, uneven_net, data, options=USUAL.model_copy(update={"quantize": "static"}))
    assert "fine_tuned_epochs" not in figures(tmp_path / "best_int8.onnx")["int8"]


def test_weights_stay_where_integers_lose_little(fashion, tmp_path):
    data, net = fashion
    deliver(tmp_path, net, data, options=USUAL.model_copy(update={"quantize": "qat"}))
    int8 = figures(tmp_path / "best_int8.onnx")["int8"]
    assert "fine_tuned_epochs" not in int8
    assert not list(tmp_path.glob("int8_*"))


def test_every_block_is_looked_at_in_as_many_looks_as_are_allowed():
    assert quantize._neighbours(range(4)) == [(0, 1), (1, 2), (2, 3)]
    for n in (2, 24, 25, 26, 60, 200):
        groups = quantize._neighbours(range(n))
        assert len(groups) <= 24
        assert {pair for some in groups for pair in pairwise(some)} == set(pairwise(range(n)))


def test_integers_of_data_without_test_pictures_and_of_another_crop(fashion, tmp_path, monkeypatch):
    data, net = fashion
    options = Delivery(**{**dict(USUAL), "input": "float32", "quantize": "static"})
    monkeypatch.setattr(quantize, "_METHODS", {"MinMax": {}})
    pictures = of_arrays(data, "its pictures")
    nothing = replace(pictures, test=of_arrays(replace(data, test=part(data.test, 0)), "").test)
    deliver(tmp_path, net, nothing, options=options, holdout_top1=0.6)
    card = (tmp_path / "model_card.md").read_text()
    assert "- there are no test pictures; top-1 60.0% on the holdout, by which the training was chosen\n" in card
    assert "- best_int8.onnx: there are no test pictures; on the holdout it costs " in card
    assert " points (it is delivered up to 10); ranges by minmax; " in card
    monkeypatch.setattr(quantize, "quantize", None)
    deliver(tmp_path, net, nothing, options=options)
    for other in (replace(nothing, crop=0.5), nothing.normalised_by((0.1,), (0.2,))):
        with pytest.raises(TypeError, match="not callable"):  # it is not what was measured
            deliver(tmp_path, net, other, options=options)


def test_integers_that_cost_too_much_are_not_delivered(fashion, tmp_path, monkeypatch):
    data, net = fashion
    monkeypatch.setattr(measured, "WORST", -1.0)
    options = USUAL.model_copy(update={"quantize": "static"})
    deliver(tmp_path, net, data, options=options)
    assert not (tmp_path / "best_int8.onnx").exists()
    card = (tmp_path / "model_card.md").read_text()
    assert "best_int8.onnx is not delivered: its integers cost " in card
    assert " points of top-1 on the holdout, more than 10\n" in card
    monkeypatch.setattr(quantize, "quantize", None)
    deliver(tmp_path, net, data, options=options)  # that is known
