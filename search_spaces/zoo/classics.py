"""Yardsticks: VGG-16 (arXiv:1409.1556), AlexNet (arXiv:1404.5997's single-column version, as torchvision has it) and
SqueezeNet (arXiv:1602.07360; 1.1 is the authors' repository's). None has batch norm."""

from search_spaces.arch import Arch, Block
from search_spaces.blocks import Branches, ConvClassifier, DenseClassifier, PlainConv, Pooling
from search_spaces.zoo.published import Entry

__all__ = ["ENTRIES"]

# out_ch of 3x3 convolutions; 0: 2x2 max pooling      input resolution
_VGG16 = (
    *(64, 64, 0),  # 224
    *(128, 128, 0),  # 112
    *(256, 256, 256, 0),  # 56
    *(512, 512, 512, 0),  # 28
    *(512, 512, 512, 0),  # 14
)

# out_ch, kernel, stride, pad; 0: 3x3 max pooling      input resolution
_ALEXNET = (
    (64, 11, 4, 2),  # 224
    (0, 3, 2, 0),  # 55
    (192, 5, 1, 2),  # 27
    (0, 3, 2, 0),  # 27
    (384, 3, 1, 1),  # 13
    (256, 3, 1, 1),  # 13
    (256, 3, 1, 1),  # 13
    (0, 3, 2, 0),  # 13
)

# squeezed and expanded channels; None: max pooling      input resolution
_SQUEEZENET_1_0 = (
    None,  # 109
    *((16, 64), (16, 64), (32, 128), None),  # 54
    *((32, 128), (48, 192), (48, 192), (64, 256), None),  # 27
    (64, 256),  # 13
)
_SQUEEZENET_1_1 = (
    None,  # 111
    *((16, 64), (16, 64), None),  # 55
    *((32, 128), (32, 128), None),  # 27
    *((48, 192), (48, 192), (64, 256), (64, 256)),  # 13
)


def _conv(in_ch: int, out_ch: int, kernel: int, stride: int = 1, pad: int | None = None) -> PlainConv:
    return PlainConv(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, pad=pad, norm=False)


def _vgg16() -> Arch:
    blocks: list[Block] = []
    for out_ch in _VGG16:
        in_ch = blocks[-1].out_ch if blocks else 3
        blocks.append(_conv(in_ch, out_ch, 3) if out_ch else Pooling(in_ch=in_ch, kernel=2, stride=2))
    blocks.append(DenseClassifier(in_ch=512, out_ch=1000, size_px=7))
    return Arch(name="vgg16", resolution_px=224, blocks=tuple(blocks))


def _alexnet() -> Arch:
    blocks: list[Block] = []
    for out_ch, kernel, stride, pad in _ALEXNET:
        in_ch = blocks[-1].out_ch if blocks else 3
        conv = _conv(in_ch, out_ch, kernel, stride, pad) if out_ch else None
        blocks.append(conv or Pooling(in_ch=in_ch, kernel=kernel, stride=stride))
    blocks.append(DenseClassifier(in_ch=256, out_ch=1000, size_px=6))
    return Arch(name="alexnet", resolution_px=224, blocks=tuple(blocks))


def _squeezenet(name: str, stem: PlainConv, fires: tuple) -> Arch:
    blocks: list[Block] = [stem]
    for fire in fires:
        in_ch = blocks[-1].out_ch
        if fire is None:
            blocks.append(Pooling(in_ch=in_ch, kernel=3, stride=2, ceil=True))
            continue
        squeezed, expanded = fire
        both = ((_conv(squeezed, expanded, 1),), (_conv(squeezed, expanded, 3),))
        blocks += [_conv(in_ch, squeezed, 1), Branches(in_ch=squeezed, branches=both)]
    blocks.append(ConvClassifier(in_ch=512, out_ch=1000))
    return Arch(name=name, resolution_px=224, blocks=tuple(blocks))


ENTRIES = (
    Entry(
        arch=_squeezenet("squeezenet_1_0", _conv(3, 96, 7, 2, 0), _SQUEEZENET_1_0),
        paper="SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, arXiv:1602.07360",
        reference="torchvision squeezenet1_0",
        madds_m=1700,
        params_m=1.25,
        top1=0.575,
        differs="1700 M, as the MobileNet paper quotes it, is twice the multiply-adds: additions seem counted too",
    ),
    Entry(
        arch=_squeezenet("squeezenet_1_1", _conv(3, 64, 3, 2, 0), _SQUEEZENET_1_1),
        paper="the authors' repository of SqueezeNet, arXiv:1602.07360",
        reference="torchvision squeezenet1_1",
        madds_m=360,
        params_m=1.24,
        top1=0.582,
        differs="the repository says 0.72 GFLOPS an image, which are 360 M multiply-adds",
    ),
    Entry(
        arch=_vgg16(),
        paper="Very Deep Convolutional Networks for Large-Scale Image Recognition, arXiv:1409.1556",
        reference="torchvision vgg16",
        madds_m=15300,
        params_m=138,
        top1=0.715,
        differs="15,300 M, as the MobileNet paper quotes it, leaves the linear layers out",
    ),
    Entry(
        arch=_alexnet(),
        paper="One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997",
        reference="torchvision alexnet",
        madds_m=720,
        params_m=60,
        top1=0.565,
        differs="720 M and 60 M, as the MobileNet paper quotes them, are the original two-column network's",
    ),
)
