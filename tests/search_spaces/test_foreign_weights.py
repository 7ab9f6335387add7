"""Weights that others trained: read without running anything, mapped by structure, refused where they do not fit.

What a network computes with them, beside the library that they are from, is in test_weights_of_others.py.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from search_spaces import checkpoints, foreign_weights, rewrite, torch_net, zoo

OTHERS = json.loads((Path(__file__).parents[1] / "data" / "weights_of_others.json").read_text())
OURS = {
    "timm mobilenetv3_small_075": ("mobilenet_v3_small", 0.75),
    "timm mixnet_s": ("mixnet_s", 1.0),
    "torchvision mnasnet0_5": ("mnasnet_b1", 0.5),
    "torchvision mobilenet_v3_small": ("mobilenet_v3_small", 1.0),
    "efficientnet-pytorch efficientnet_lite0": ("efficientnet_lite0", 1.0),
}
V3 = "timm mobilenetv3_small_075"


def state_of(which, **changed):
    """Weights under the names of others, all of a tensor the same number: its place among them."""
    return {name: torch.full(shape, float(i)) for i, (name, shape) in enumerate((OTHERS[which] | changed).items())}


def arch_of(which):
    name, width = OURS[which]
    return zoo.get(name, width=width)


def fitted(path, arch):
    return foreign_weights.fit(checkpoints.read(path), arch)


def refusal(state, arch, path):
    torch.save(state, path)
    with pytest.raises(ValueError, match=path.name) as caught:
        fitted(path, arch)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("which", OURS)
def test_every_weight_has_one_place_whatever_the_order_in_the_file(which, tmp_path):
    state = state_of(which)
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")  # which sorts them by name
    torch.save(dict(sorted(state.items(), reverse=True)), tmp_path / "mixed_up.pth")
    first = fitted(tmp_path / "w.pth", arch_of(which))
    with torch.device("meta"):
        wanted = torch_net.Net(first.arch).state_dict()
    assert {name: value.shape for name, value in first.weights.items()} == {n: v.shape for n, v in wanted.items()}
    taken = {float(value.flatten()[0]) for name, value in first.weights.items() if "num_batches" not in name}
    assert len(taken) > 0.9 * len(state)  # MixNet's grouped convolutions are two in one
    for other in ("w.safetensors", "mixed_up.pth"):
        again = fitted(tmp_path / other, arch_of(which))
        assert again.arch == first.arch
        assert again.weights.keys() == first.weights.keys()
        assert all(torch.equal(value, first.weights[name]) for name, value in again.weights.items())


@pytest.mark.parametrize(
    ("which", "theirs", "ours"),
    [
        (V3, "blocks.0.0.conv_pw.weight", "blocks.1.project.conv.weight"),
        (V3, "blocks.0.0.se.conv_expand.bias", "blocks.1.se_expand.conv.bias"),
        (V3, "blocks.1.0.conv_pw.weight", "blocks.2.expand.conv.weight"),
        (V3, "blocks.1.0.bn3.running_var", "blocks.2.project.norm.running_var"),
        (V3, "conv_head.weight", "blocks.13.hidden.linear.weight"),
        (V3, "classifier.bias", "blocks.13.linear.linear.bias"),
        ("torchvision mnasnet0_5", "layers.9.1.layers.4.weight", "blocks.6.depthwise.norm.weight"),
        ("torchvision mobilenet_v3_small", "features.1.block.1.fc2.weight", "blocks.1.se_expand.conv.weight"),
        ("torchvision mobilenet_v3_small", "classifier.0.weight", "blocks.13.hidden.linear.weight"),
        ("efficientnet-pytorch efficientnet_lite0", "_bn1.bias", "blocks.17.conv.norm.bias"),
        ("efficientnet-pytorch efficientnet_lite0", "_blocks.15._bn0.bias", "blocks.16.expand.norm.bias"),
    ],
)
def test_places(which, theirs, ours, tmp_path):
    save_file(state_of(which), tmp_path / "w.safetensors")
    weight = fitted(tmp_path / "w.safetensors", arch_of(which)).weights[ours]
    assert weight.flatten()[0] == list(OTHERS[which]).index(theirs)


@pytest.mark.parametrize(
    ("which", "file", "eps", "momentum", "padding", "mean"),
    [
        (V3, "mobilenetv3.pth", 1e-5, 0.1, "symmetric", 0.485),
        (V3, "tf_mobilenetv3_small_075-1234.pth", 1e-3, 0.1, "tensorflow", 0.5),
        (V3, "models--timm--tf_mobilenetv3_small_075.in1k/model.pth", 1e-3, 0.1, "tensorflow", 0.5),
        (V3, "leaf_half.pth", 1e-5, 0.1, "symmetric", 0.485),
        ("torchvision mnasnet0_5", "w.pth", 1e-5, 1 - 0.9997, "symmetric", 0.485),
        ("torchvision mobilenet_v3_small", "w.pth", 1e-3, 0.01, "symmetric", 0.485),
        ("efficientnet-pytorch efficientnet_lite0", "w.pth", 1e-3, 0.01, "tensorflow", 127 / 255),
    ],
)
def test_how_they_are_run(which, file, eps, momentum, padding, mean, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    torch.save(state_of(which), tmp_path / file)
    found = fitted(tmp_path / file, arch_of(which))
    assert (found.arch.norm_eps, found.arch.norm_momentum, found.arch.padding) == (eps, momentum, padding)
    assert found.source.mean[0] == mean
    assert f"epsilon {eps:g}, {padding} padding" in found.source.describe()


def test_a_card_beside_them_says_what_they_are(tmp_path):
    save_file(state_of(V3), tmp_path / "model.safetensors")
    card = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 192, 192], "crop_pct": 0.95}
    config = {"architecture": "tf_mobilenetv3_small_075", "pretrained_cfg": card | {"license": "apache-2.0"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = fitted(tmp_path / "model.safetensors", arch_of(V3))
    assert (found.source.mean, found.source.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (found.resolution_px, found.source.crop, found.source.licence) == (192, 0.95, "apache-2.0")
    assert found.arch.norm_eps == 1e-3
    config["pretrained_cfg"] = {"mean": "x", "std": [0, 1, 1], "input_size": [3, 0, -1], "crop_pct": None, "license": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = fitted(tmp_path / "model.safetensors", arch_of(V3)).source
    assert (again.mean, again.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (again.resolution_px, again.crop, again.licence) == (None, 0.875, None)


def test_checkpoints_of_trainings_are_unwrapped_and_averages_preferred(tmp_path):
    state, worse = state_of(V3), {name: value + 1000 for name, value in state_of(V3).items()}
    counted = {"n_averaged": torch.tensor(7)} | {f"module.{name}": value for name, value in state.items()}
    for inside in (
        {"state_dict": state},
        {"epoch": 3, "model": {f"module.{name}": value for name, value in state.items()}, "optimizer": {"lr": 0.1}},
        {"model": worse, "model_ema": counted},
        {"arch": "tf_mobilenetv3", "args": argparse.Namespace(model="x"), "state_dict": worse, "state_dict_ema": state},
        {name: value.half() for name, value in state.items()} | {"bn1.num_batches_tracked": torch.tensor(3)},
    ):
        torch.save(inside, tmp_path / "w.pth")
        found = fitted(tmp_path / "w.pth", arch_of(V3))
        assert float(found.weights["blocks.0.conv.conv.weight"][0, 0, 0, 0]) == 0
        assert found.weights["blocks.13.linear.linear.bias"].dtype == torch.float32
        assert found.arch.norm_eps == (1e-3 if "arch" in inside else 1e-5)
    assert checkpoints.read(tmp_path / "w.pth").averaged is None
    torch.save({"model": worse, "model_ema": counted}, tmp_path / "w.pth")
    assert checkpoints.read(tmp_path / "w.pth").averaged == "model_ema"


def test_damaged_files_are_one_line(tmp_path):
    for name, content in (("w.pth", b"abc"), ("w.pth", b""), ("w.safetensors", b'{"a":1}\n')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"^.*{name} is no .*; give a safetensors or \.pth file, as timm"):
            checkpoints.read(tmp_path / name)


@pytest.mark.parametrize("name", ["best.safetensors", "model.safetensors", "pytorch_model.bin"])
def test_a_folder_stands_for_the_weights_in_it(name, tmp_path):
    state = state_of(V3)
    torch.save(state, tmp_path / name) if name.endswith(".bin") else save_file(state, tmp_path / name)
    assert checkpoints.read(tmp_path).path == tmp_path / name
    assert fitted(tmp_path, arch_of(V3)).weights
    (tmp_path / name).rename(tmp_path / "other")
    with pytest.raises(ValueError, match="is a directory; give a safetensors or .pth file"):
        checkpoints.read(tmp_path)


def test_other_classes_and_none(tmp_path):
    arch = zoo.get("mobilenet_v3_small", width=0.75, classes=7)
    torch.save(state_of(V3), tmp_path / "w.pth")
    assert fitted(tmp_path / "w.pth", arch).arch.classes == 1000
    features = {name: value for name, value in state_of(V3).items() if not name.startswith("classifier")}
    torch.save(features, tmp_path / "w.pth")
    found = fitted(tmp_path / "w.pth", arch)
    assert found.arch.classes == 7
    assert not set(torch_net.last_layer(arch)) & found.weights.keys()
    assert set(torch_net.build(found.arch).state_dict()) - set(torch_net.last_layer(arch)) == found.weights.keys()


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("mobilenet_v2", 1.0, "its conv_stem is (16, 3, 3, 3), where blocks.0.conv.conv is (32, 3, 3, 3)"),
        ("mobilenet_v3_large", 1.0, "its blocks.0.0.se.conv_reduce is (8, 16, 1, 1), where blocks.1.project.conv is"),
    ],
)
def test_the_first_mismatch_is_named_and_whose_weights_they_are(name, width, message, tmp_path):
    said = refusal(state_of(V3), zoo.get(name, width=width), tmp_path / "w.pth")
    assert said.startswith(f"{tmp_path / 'w.pth'} does not fit network {name!r}: {message}")
    assert said.endswith("; they are of mobilenet_v3_small with width=0.75")


def without(start):
    return {name: value for name, value in state_of(V3).items() if not name.startswith(start)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            state_of(V3, **{"extra.weight": [3, 4]}),
            "it has extra (3, 4) besides, which the network lacks; give the weig",
        ),
        (
            without(("classifier", "conv_head")),
            "it has nothing for blocks.13.hidden.linear (1024, 432); give the weights",
        ),
        (
            without("blocks.5.0.bn1."),
            "it has nothing for blocks.12.conv.norm (432,); give the weights of this network,",
        ),
        (state_of(V3, **{"conv_stem.bias": [16]}), "its conv_stem has a bias, where blocks.0.conv.conv has none; give"),
        (
            state_of(V3, **{"norm.weight": [16], "norm.bias": [16]}),
            "norm (weight (16,), bias (16,)) is no convolution, linear layer or batch norm; networks here have no",
        ),
        (
            state_of(V3, **{"conv_stem.weight": [16, 1, 3, 3]}),
            "conv_stem is for images of 1 channel, and the network is for 3; give images of 1 channel",
        ),
    ],
)
def test_layers_that_are_missing_too_many_or_of_another_kind(state, message, tmp_path):
    assert message in refusal(state, arch_of(V3), tmp_path / "w.pth")


def renamed(state):
    """The same tensors under names of nobody, whose alphabet is another order."""
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    return {
        f"layer_{'qwertyuiop'[modules.index(name.rpartition('.')[0]) % 10]}_{modules.index(name.rpartition('.')[0])}."
        f"{name.rpartition('.')[2]}": value
        for name, value in state.items()
    }


def test_layers_of_unknown_names_need_a_file_that_keeps_their_order(tmp_path):
    which = "torchvision mnasnet0_5"
    state = renamed(state_of(which))
    torch.save(state, tmp_path / "w.pth")
    found = fitted(tmp_path / "w.pth", arch_of(which)).weights["blocks.6.depthwise.norm.weight"]
    assert found.flatten()[0] == list(OTHERS[which]).index("layers.9.1.layers.4.weight")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"does not keep their order; give a .pth file, of torch.save\(") as caught:
        fitted(tmp_path / "w.safetensors", arch_of(which))
    assert "\n" not in str(caught.value)


def test_numbers_are_an_order(tmp_path):
    state = state_of(V3)
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    save_file(
        {f"{modules.index(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": value for name, value in state.items()},
        tmp_path / "w.safetensors",
    )
    weight = fitted(tmp_path / "w.safetensors", arch_of(V3)).weights["blocks.1.project.conv.weight"]
    assert weight.flatten()[0] == list(state).index("blocks.0.0.conv_pw.weight")


OWN = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32, classes=4)


@pytest.mark.parametrize(
    ("i", "changed", "message"),
    [
        (1, {"act": "hard_swish"}, "its block 1 (SepConv) has act relu, not hard_swish; give network="),
        (4, {"se_gate": "sigmoid"}, "its block 4 (MBConv) has se_gate hard_sigmoid, not sigmoid; give network="),
        (13, {"act": "relu"}, "its block 13 (Classifier) has act hard_swish, not relu; give network="),
    ],
)
def test_own_weights_of_equal_shapes_are_of_the_same_network(i, changed, message, tmp_path):
    torch_net.save(torch_net.build(OWN), tmp_path / "w.safetensors")
    other = replace(OWN, blocks=(*OWN.blocks[:i], replace(OWN.blocks[i], **changed), *OWN.blocks[i + 1 :]))
    with pytest.raises(ValueError, match="is of another network than") as caught:
        fitted(tmp_path / "w.safetensors", other)
    assert message in str(caught.value)
    same = rewrite.classes(rewrite.dropout(rewrite.small_image(OWN, 32, min_px=4), 0.5), 7)
    assert fitted(tmp_path / "w.safetensors", same).arch.classes == 4


class Harmful:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state_dict": Harmful()},
            "holds more than tensors.*which is not loaded: it could run anything; save the weig",
        ),
        ({"a.weight": torch.tensor([1.0, float("nan")])}, "a.weight has values that are no finite numbers"),
        ([1, 2], "has no weights: it holds a list, not tensors by name"),
        ({"epoch": 3}, "has no weights: no dictionary of tensors by name is in it"),
        (b"", "cannot be read|no file of weights"),
        (b"PK\x03\x04nothing", "w.pth is no "),
        (b"\x10\0\0\0\0\0\0\0{nothing}", "w.pth is no "),
        (None, "no such file or directory; give a safetensors or .pth file"),
    ],
)
def test_files_of_something_else(content, message, tmp_path, capfd):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.read(path)
    assert "\n" not in str(caught.value)
    assert "ran" not in capfd.readouterr().out
