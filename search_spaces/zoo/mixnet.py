"""MixConv: Mixed Depthwise Convolutional Kernels (arXiv:1907.09595), figure 6.

As the official code (tensorflow/tpu, mnasnet/mixnet) writes it: pointwise convolutions in two groups where it splits
them, squeeze-and-excite as a share of the block's *input* channels with swish inside, ReLU in the stem, the head and
the first three blocks.
"""

from dataclasses import asdict

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.blocks import MixedMBConv
from search_spaces.zoo.published import Entry
from search_spaces.zoo.stages import residual

__all__ = ["ENTRIES"]

# repeats, kernels, expansion, out_ch, stride, se, groups of expansion and projection, act      input resolution
_S = (
    (1, (3,), 6, 24, 2, 0.0, 2, 2, "relu"),  # 112
    (1, (3,), 3, 24, 1, 0.0, 2, 2, "relu"),  # 56
    (1, (3, 5, 7), 6, 40, 2, 0.5, 1, 1, "swish"),  # 56
    (3, (3, 5), 6, 40, 1, 0.5, 2, 2, "swish"),  # 28
    (1, (3, 5, 7), 6, 80, 2, 0.25, 1, 2, "swish"),  # 28
    (2, (3, 5), 6, 80, 1, 0.25, 1, 2, "swish"),  # 14
    (1, (3, 5, 7), 6, 120, 1, 0.5, 2, 2, "swish"),  # 14
    (2, (3, 5, 7, 9), 3, 120, 1, 0.5, 2, 2, "swish"),  # 14
    (1, (3, 5, 7, 9, 11), 6, 200, 2, 0.5, 1, 1, "swish"),  # 14
    (2, (3, 5, 7, 9), 6, 200, 1, 0.5, 1, 2, "swish"),  # 7
)
_M = (
    (1, (3, 5, 7), 6, 32, 2, 0.0, 2, 2, "relu"),  # 112
    (1, (3,), 3, 32, 1, 0.0, 2, 2, "relu"),  # 56
    (1, (3, 5, 7, 9), 6, 40, 2, 0.5, 1, 1, "swish"),  # 56
    (3, (3, 5), 6, 40, 1, 0.5, 2, 2, "swish"),  # 28
    (1, (3, 5, 7), 6, 80, 2, 0.25, 1, 1, "swish"),  # 28
    (3, (3, 5, 7, 9), 6, 80, 1, 0.25, 2, 2, "swish"),  # 14
    (1, (3,), 6, 120, 1, 0.5, 1, 1, "swish"),  # 14
    (3, (3, 5, 7, 9), 3, 120, 1, 0.5, 2, 2, "swish"),  # 14
    (1, (3, 5, 7, 9), 6, 200, 2, 0.5, 1, 1, "swish"),  # 14
    (3, (3, 5, 7, 9), 6, 200, 1, 0.5, 1, 2, "swish"),  # 7
)


def _arch(name: str, stem_ch: int, stages: tuple) -> Arch:
    blocks: list[Block] = [
        ConvBN(in_ch=3, out_ch=stem_ch, kernel=3, stride=2),  # 224
        residual(SepConv(in_ch=stem_ch, out_ch=stem_ch, kernel=3)),  # 112
    ]
    for repeats, kernels, expansion, out_ch, stride, se, expand_groups, project_groups, act in stages:
        for _ in range(repeats):
            in_ch = blocks[-1].out_ch
            block = residual(
                MBConv(
                    in_ch=in_ch,
                    mid_ch=in_ch * expansion,
                    out_ch=out_ch,
                    kernel=kernels[0],
                    stride=stride,
                    act=act,
                    se_ch=int(in_ch * se),
                    se_act=act,
                )
            )
            groups = {"expand_groups": expand_groups, "project_groups": project_groups}
            if len(kernels) > 1 or max(groups.values()) > 1:
                values = {name: value for name, value in asdict(block).items() if name not in ("kernel", "dilation")}
                blocks.append(MixedMBConv(kernels=kernels, **groups, **values))
            else:
                blocks.append(block)
    blocks += [ConvBN(in_ch=200, out_ch=1536, kernel=1), Classifier(in_ch=1536, out_ch=1000)]  # 7
    return Arch(name=name, resolution_px=224, blocks=tuple(blocks))


_PAPER = "MixConv: Mixed Depthwise Convolutional Kernels, arXiv:1907.09595"
_DIFFERS = "the paper counts 256 M and 360 M for S and M; the official code's networks have 239 M and 339 M"

ENTRIES = (
    Entry(
        arch=_arch("mixnet_s", 16, _S),
        paper=_PAPER,
        reference="timm mixnet_s",
        madds_m=256,
        params_m=4.1,
        top1=0.758,
        differs=_DIFFERS,
        widen_features=False,
    ),
    Entry(
        arch=_arch("mixnet_m", 24, _M),
        paper=_PAPER,
        reference="timm mixnet_m",
        madds_m=360,
        params_m=5.0,
        top1=0.770,
        differs=_DIFFERS,
        widen_features=False,
    ),
)
