"""Batch norm's epsilon: a network's own wherever it is computed, folded, copied or written down."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from netadapt.inherit import inherit
from search_spaces import dense, onnx_net, rewrite, spaces, text, torch_net, zoo
from search_spaces.lower import lower

V3 = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=64, classes=10)
CRUDE = replace(V3, norm_eps=1e-3)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def trained(arch):
    """A net whose norms have variances so small that the epsilon matters."""
    generator = torch.Generator().manual_seed(0)
    net = torch_net.build(arch, generator=generator).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 1e-3, generator=generator)
            module.running_var.uniform_(1e-4, 2e-4, generator=generator)
            module.weight.data.mul_(0.02)
    return net


def by_onnx(net, x=IMAGES):
    session = onnxruntime.InferenceSession(onnx_net.model(net.arch, net=net, batch=len(x)).SerializeToString())
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def close(a, b, tolerance=1e-3):
    return float((a - b).abs().max() / b.abs().max()) < tolerance


def test_a_graph_has_the_epsilon_of_each_layer():
    net = trained(CRUDE)
    with torch.inference_mode():
        assert close(by_onnx(net), net(IMAGES))
        usual = torch_net.Net(V3).eval()
        usual.load_state_dict(net.state_dict())
        assert not close(usual(IMAGES), net(IMAGES), 0.1)  # here it matters
        for i, module in enumerate(m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            module.eps = (1e-5, 1e-3, 3e-4)[i % 3]
        assert close(by_onnx(net), net(IMAGES))


def test_norms_without_weights_are_folded_and_those_without_statistics_refused():
    net = trained(V3)
    bare = torch.nn.BatchNorm2d(net.blocks[1].project.norm.num_features, affine=False).eval()
    bare.running_var.fill_(0.5)
    net.blocks[1].project.norm = bare
    with torch.inference_mode():
        assert close(by_onnx(net), net(IMAGES))
    net.blocks[1].project.norm = torch.nn.BatchNorm2d(bare.num_features, track_running_stats=False)
    with pytest.raises(ValueError, match="^blocks.1.project.norm is a BatchNorm2d without running .*=True$"):
        onnx_net.model(V3, net=net)
    net.blocks[1].project.norm = torch.nn.GroupNorm(1, bare.num_features)
    with pytest.raises(ValueError, match="blocks.1.project.norm is a GroupNorm without running statistics"):
        onnx_net.model(V3, net=net)


def test_a_network_keeps_its_epsilon():
    again = text.from_json(text.to_json(CRUDE))
    assert again == CRUDE != V3
    assert "norm_eps" not in text.to_dict(V3)
    changed = [rewrite.small_image(CRUDE, 28), rewrite.in_channels(CRUDE, 1), rewrite.width_multiplier(CRUDE, 0.5)]
    backbone = replace(zoo.get("mobilenet_v3_small"), norm_eps=1e-3)
    changed += [dense.segmentation(backbone), dense.ssdlite(backbone), rewrite.dropout(CRUDE, 0.1)]
    assert {arch.norm_eps for arch in changed} == {1e-3}
    assert lower(CRUDE) == lower(V3)  # and so are the keys of latency tables
    for wrong in (0.0, -1e-3, 1, "0.001", float("nan")):
        with pytest.raises(ValueError, match="norm_eps is .*; allowed: 0 < norm_eps < 1"):
            replace(V3, norm_eps=wrong)


def test_narrower_networks_inherit_it():
    net = trained(CRUDE)
    with pytest.raises(ValueError, match="have batch norms of other epsilons: 0.001 and 1e-05; give the child"):
        inherit(CRUDE, V3, net.state_dict())
    child = torch_net.Net(CRUDE).eval()
    child.load_state_dict(inherit(CRUDE, CRUDE, net.state_dict())[0])
    with torch.inference_mode():
        assert torch.equal(child(IMAGES), net(IMAGES))


def test_shared_weights_compute_with_it():
    from nas.supernet.module import Supernet
    from search_spaces.layout import Layout

    space = spaces.get("mnasnet", base_width=0.35)
    layout = Layout(space)
    supernet = Supernet(layout, in_ch=3, classes=10, generator=torch.Generator().manual_seed(0)).double().eval()
    arch = space.decode(space.sample(np.random.default_rng(0), 1)[0])
    small = rewrite.classes(rewrite.small_image(arch, 32, min_px=2), 10)
    small = replace(rewrite.dropout(small, 0.0), norm_eps=0.5)
    route = supernet.route(arch, small)
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    statistics = supernet.calibrate(route, [x])
    net = torch_net.build(small).double()
    net.load_state_dict(supernet.state_dict_of(route, statistics))
    with torch.inference_mode():
        torch.testing.assert_close(supernet.folded(route, statistics)(x), net.eval()(x), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(supernet(x, route), net.train()(x), rtol=1e-8, atol=1e-8)


def test_old_runtimes_can_read_the_graphs():
    """ONNX Runtime reads IR version 10 from 1.18 on; opset 18 is the last that goes with version 8."""
    for int8 in (False, True):
        model = onnx_net.model(V3, int8=int8)
        assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 18)])
