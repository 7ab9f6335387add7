"""What networks compute with weights of timm and torchvision, beside these libraries themselves, where they import."""

import contextlib

import pytest
import torch
from safetensors.torch import save_file

from search_spaces import checkpoints, foreign_weights, torch_net, zoo

with contextlib.suppress(ImportError, RuntimeError):  # torchvision refuses to run beside another torch
    import timm
    import torchvision

NETWORKS = [  # ours, width, theirs
    ("mobilenet_v2", 1.0, "mobilenetv2_100"),
    ("mobilenet_v2", 1.4, "mobilenetv2_140"),
    ("mobilenet_v3_large", 1.0, "mobilenetv3_large_100"),
    ("mobilenet_v3_small", 0.75, "mobilenetv3_small_075"),
    ("mobilenet_v3_small", 1.0, "tf_mobilenetv3_small_100"),
    ("mobilenet_v3_large_minimalistic", 1.0, "tf_mobilenetv3_large_minimal_100"),
    ("mnasnet_a1", 0.75, "semnasnet_075"),
    ("mnasnet_b1", 1.0, "mnasnet_100"),
    ("mnasnet_small", 1.0, "mnasnet_small"),
    ("mobilenet_v1", 1.0, "mobilenetv1_100"),
    ("fbnet_c", 1.0, "fbnetc_100"),
    ("single_path_nas", 1.0, "spnasnet_100"),
    ("efficientnet_b0", 1.0, "efficientnet_b0"),
    ("efficientnet_b0", 1.0, "tf_efficientnet_b0"),
    ("efficientnet_lite0", 1.0, "efficientnet_lite0"),
    ("efficientnet_lite1", 1.0, "tf_efficientnet_lite1"),
    ("efficientnet_lite2", 1.0, "efficientnet_lite2"),
    ("mixnet_s", 1.0, "mixnet_s"),
    ("mixnet_m", 1.0, "tf_mixnet_m"),
    ("rexnet_1_0", 1.0, "rexnet_100"),
    ("resnet50", 1.0, "resnet50"),
    ("se_resnet50", 1.0, "seresnet50"),
    ("mobilenet_v2", 1.0, "torchvision mobilenet_v2"),
    ("mobilenet_v3_large", 1.0, "torchvision mobilenet_v3_large"),
    ("mobilenet_v3_small", 1.0, "torchvision mobilenet_v3_small"),
    ("mnasnet_b1", 0.5, "torchvision mnasnet0_5"),
    ("mnasnet_b1", 1.0, "torchvision mnasnet1_0"),
    ("efficientnet_b0", 1.0, "torchvision efficientnet_b0"),
    ("shufflenet_v2", 0.5, "torchvision shufflenet_v2_x0_5"),
    ("googlenet", 1.0, "torchvision googlenet"),
    ("squeezenet_1_1", 1.0, "torchvision squeezenet1_1"),
    ("alexnet", 1.0, "torchvision alexnet"),
    ("vgg16", 1.0, "torchvision vgg16"),
]


def theirs_of(name):
    """A network of theirs, with statistics as after a training, so small that the epsilon matters."""
    torch.manual_seed(0)
    library, _, called = name.rpartition(" ")
    if library:
        options = {"transform_input": False, "init_weights": False} if called == "googlenet" else {}
        net = getattr(torchvision.models, called)(weights=None, **options)
    else:
        net = timm.create_model(called)
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.05, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


@pytest.mark.parametrize(("ours", "width", "theirs"), NETWORKS)
def test_logits_are_theirs(ours, width, theirs, tmp_path):
    if "timm" not in globals() or "torchvision" not in globals():
        pytest.skip("needs timm and torchvision")
    net, arch, name = theirs_of(theirs), zoo.get(ours, width=width), theirs.rpartition(" ")[2]
    torch.save(net.state_dict(), tmp_path / f"{name}.pth")
    save_file({key: value.clone() for key, value in net.state_dict().items()}, tmp_path / f"{name}.safetensors")
    x = torch.randn(2, 3, arch.resolution_px, arch.resolution_px, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = net(x)
        for file in (tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors"):
            found = foreign_weights.fit(checkpoints.read(file), arch)
            logits = torch_net.build(found.arch, weights=found.weights).eval()(x)
            assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-4
        norms = [module for module in net.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        assert {norm.momentum for norm in norms} <= {found.arch.norm_momentum}
