"""Where the zeros of a padding stand: as torch has them, or as TensorFlow has them."""

from dataclasses import replace

import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from search_spaces import dense, onnx_net, rewrite, text, torch_net, zoo
from search_spaces.lower import lower
from search_spaces.ops import Conv

V3 = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=70, classes=10)
TENSORFLOW = replace(V3, padding="tensorflow")


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "zeros"),
    [
        (224, 3, 2, (0, 1)),  # what TensorFlow's SAME gives
        (224, 5, 2, (1, 2)),
        (7, 3, 2, (1, 1)),
        (9, 5, 2, (2, 2)),
        (14, 7, 1, (3, 3)),
        (8, 3, 3, (0, 1)),
        (9, 3, 4, (1, 1)),
        (8, 3, 4, (0, 0)),
        (4, 1, 2, (0, 0)),
    ],
)
def test_tensorflow_pads_more_at_the_end(size, kernel, stride, zeros):
    op = Conv(name="conv", inputs=("input",), in_ch=2, out_ch=2, kernel=kernel, stride=stride)
    assert op.zeros((2, size, size), "tensorflow") == (zeros[0], zeros[0], zeros[1], zeros[1])
    assert op.zeros((2, size, size), "symmetric") == ((kernel - 1) // 2,) * 4
    x = torch.zeros(1, 2, size, size)
    padded = F.conv2d(F.pad(x, (*zeros, *zeros)), torch.zeros(2, 2, kernel, kernel), stride=stride)
    assert padded.shape[1:] == op.out_shape((2, size, size))
    given = replace(op, pad=0)
    assert given.zeros((2, size, size), "tensorflow") == (0, 0, 0, 0)


def test_network_and_graph_have_it():
    net = torch_net.build(TENSORFLOW, generator=torch.Generator().manual_seed(0)).eval()
    net.blocks[-1].linear.linear.weight.data.mul_(1e4)  # to about 1
    usual = torch_net.build(V3, weights=net.state_dict()).eval()
    x = torch.randn(1, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(onnx_net.model(TENSORFLOW, net=net).SerializeToString())
    with torch.inference_mode():
        logits = net(x)
        torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), logits)
        assert not torch.allclose(usual(x), logits, atol=0.1)
        shifted = net.blocks[0].conv(x)
        by_hand = F.conv2d(F.pad(x, (0, 1, 0, 1)), net.blocks[0].conv.conv.weight, stride=2)
        torch.testing.assert_close(shifted, F.hardswish(net.blocks[0].conv.norm(by_hand)))


def test_it_is_part_of_the_network_and_costs_nothing():
    assert TENSORFLOW != V3
    assert text.from_json(text.to_json(TENSORFLOW)) == TENSORFLOW
    assert "padding" not in text.to_dict(V3)
    assert lower(TENSORFLOW) == lower(V3)  # and so are the keys of latency tables
    backbone = replace(zoo.get("mobilenet_v3_small"), padding="tensorflow")
    changed = [rewrite.small_image(TENSORFLOW, 28), rewrite.width_multiplier(TENSORFLOW, 0.5), dense.ssdlite(backbone)]
    assert {arch.padding for arch in changed} == {"tensorflow"}
    with pytest.raises(ValueError, match="padding is 'same'; allowed: symmetric, tensorflow"):
        replace(V3, padding="same")


def test_momentum_is_kept_but_makes_no_other_network():
    slow = replace(V3, norm_momentum=0.01)
    assert slow == V3
    assert hash(slow) == hash(V3)
    assert text.from_json(text.to_json(slow)).norm_momentum == 0.01
    assert "norm_momentum" not in text.to_dict(V3)
    norms = [module for module in torch_net.Net(slow).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {module.momentum for module in norms} == {0.01}
    with pytest.raises(ValueError, match="norm_momentum is 1; allowed: 0 < norm_momentum < 1"):
        replace(V3, norm_momentum=1)
