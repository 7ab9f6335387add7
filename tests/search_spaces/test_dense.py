"""Segmentation and detection: shapes, torch against ONNX, and the paper's tables 6 and 7."""

import numpy as np
import onnxruntime
import pytest
import torch

from experiments import mobilenet_v3_dense
from search_spaces import cost, dense, onnx_net, text, torch_net, zoo
from search_spaces.lower import lower

SMALL = zoo.get("mobilenet_v3_small")
NETWORKS = {
    "lr_aspp": dense.segmentation(SMALL, resolution_px=64),
    "r_aspp": dense.segmentation(
        zoo.get("mobilenet_v2", width=0.35), head="r_aspp", halve_last=False, resolution_px=64
    ),
    "ssdlite": dense.ssdlite(SMALL, halve_last=True, classes=21, resolution_px=96),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_torch_onnx_and_counts_agree(kind):
    arch = NETWORKS[kind]
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(0)).eval()
    x = torch.randn(1, 3, arch.resolution_px, arch.resolution_px, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        y = net(x).numpy()
    assert y.shape[1:] == lower(arch)[-1].out_shape
    assert sum(p.numel() for p in net.parameters()) == cost.params(arch)
    session = onnxruntime.InferenceSession(onnx_net.model(arch, net=net).SerializeToString())
    (z,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(z, y, atol=1e-4 * float(np.abs(y).max()))
    assert text.from_json(text.to_json(arch)) == arch


def test_shapes():
    assert lower(NETWORKS["lr_aspp"])[-1].out_shape == (19, 64, 64)
    maps = [6, 3, 2, 1, 1, 1]  # 96 px at 1/16, 1/32, and halved further
    boxes = sum(anchors * px**2 for anchors, px in zip((3, 6, 6, 6, 6, 6), maps, strict=True))
    assert NETWORKS["ssdlite"].classes == boxes * (4 + 21)


def test_table_6():
    for row, (_, bare, full, madds) in zip(mobilenet_v3_dense.TABLE_6, mobilenet_v3_dense.detectors(), strict=True):
        params, printed = row[4:]
        counted = full if row[3] == 81 else bare  # V1's and V2's are of another paper
        assert counted == pytest.approx(params, rel=0.012)
        assert madds == pytest.approx(printed, rel=0.05)


def test_table_7():
    for row, (_, params, madds) in zip(mobilenet_v3_dense.TABLE_7, mobilenet_v3_dense.segmenters(), strict=True):
        assert params == pytest.approx(row[5], abs=0.01)
        assert 0.9 * row[6] < madds < row[6]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dense.segmentation(SMALL, head="deeplab"), "no head 'deeplab'; allowed: lr_aspp, r_aspp"),
        (lambda: dense.segmentation(SMALL, resolution_px=100), "it must be a multiple of 16"),
        (lambda: dense.segmentation(zoo.get("resnet50")), "network 'resnet50' is no backbone"),
        (lambda: dense.ssdlite(SMALL, width=0), "width is 0; a width multiplier must be above 0"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
