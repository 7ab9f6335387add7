"""What a run delivers: networks that are loaded in two lines, and graphs that classify photos without this project."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from search_spaces import text, torch_net, zoo

V3 = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32, classes=10)
SMALL = replace(V3, norm_eps=1e-3)


def some_net(arch=SMALL):
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(0)).eval()
    return net.to(memory_format=torch.channels_last)


# ---- weights and their network in one file


def test_a_network_and_its_weights_are_one_file(tmp_path):
    net = some_net()
    torch_net.save(net.train(), tmp_path / "run" / torch_net.WEIGHTS)
    (tmp_path / "run").rename(tmp_path / "moved")
    random = torch.get_rng_state()
    for path in (str(tmp_path / "moved"), tmp_path / "moved" / torch_net.WEIGHTS):
        again = torch_net.load(path)
        assert torch.equal(torch.get_rng_state(), random)
        assert again.arch == SMALL
        assert not again.training
    (tmp_path / "moved" / torch_net.WEIGHTS).write_bytes(b"")  # what was read does not hang on the file
    assert all(torch.equal(again.state_dict()[name], value) for name, value in net.state_dict().items())
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), net.eval()(x))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "best.safetensors: no such file; give the folder of a finished run, or its best.safetensors$"),
        (b"not safetensors", "best.safetensors cannot be read: "),
        ({}, "best.safetensors does not say what network its weights are of; give a file of torch_net.save$"),
        ({"arch": "{}"}, "best.safetensors: not a network: expected an object with format, name, resolution_px and"),
        (
            {"arch": text.to_json(V3)},
            "best.safetensors: the weights lack blocks.0.conv.conv.weight, which network 'mobilenet_v3_small 0.35'",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(content, message, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / torch_net.WEIGHTS).write_bytes(content)
    elif content is not None:
        save_file({"x": torch.zeros(2)}, tmp_path / torch_net.WEIGHTS, metadata=content or {"other": "metadata"})
    with pytest.raises(ValueError, match=message) as caught:
        torch_net.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_their_network_cannot_describe_are_not_saved(tmp_path):
    net = some_net()
    net.blocks[1].project.norm.eps = 1e-5
    with pytest.raises(ValueError, match="blocks.1.project.norm has eps 1e-05, but network .* has norm_eps 0.001;"):
        torch_net.save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_read_by_any_name_of_its_file(tmp_path):
    path = tmp_path / "best.json"
    path.write_text(text.to_json(SMALL))
    assert text.from_file(str(path)) == text.from_file(path) == SMALL
    with pytest.raises(ValueError, match="none.json cannot be read: No such file or directory"):
        text.from_file(tmp_path / "none.json")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="best.json is not a text file"):
        text.from_file(path)
