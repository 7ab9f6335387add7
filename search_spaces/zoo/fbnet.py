"""FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search (arXiv:1812.03443)."""

from search_spaces.arch import Arch, Classifier, ConvBN
from search_spaces.zoo.published import Entry
from search_spaces.zoo.stages import repeat

__all__ = ["ENTRIES"]

# repeats, expansion, out_ch, kernel, stride, se      input resolution
_C = (
    (1, 1, 16, 3, 1, 0.0),  # 112
    (1, 6, 24, 3, 2, 0.0),  # 112
    (2, 1, 24, 3, 1, 0.0),  # 56
    (1, 6, 32, 5, 2, 0.0),  # 56
    (1, 3, 32, 5, 1, 0.0),  # 28
    (1, 6, 32, 5, 1, 0.0),  # 28
    (1, 6, 32, 3, 1, 0.0),  # 28
    (1, 6, 64, 5, 2, 0.0),  # 28
    (1, 3, 64, 5, 1, 0.0),  # 14
    (2, 6, 64, 5, 1, 0.0),  # 14
    (3, 6, 112, 5, 1, 0.0),  # 14
    (1, 3, 112, 5, 1, 0.0),  # 14
    (4, 6, 184, 5, 2, 0.0),  # 14
    (1, 6, 352, 3, 1, 0.0),  # 7
)


def _arch(name: str, stages: tuple[tuple[int, int, int, int, int, float], ...]) -> Arch:
    return Arch(
        name=name,
        resolution_px=224,
        blocks=(
            ConvBN(in_ch=3, out_ch=16, kernel=3, stride=2),  # 224
            *repeat(16, stages, act="relu"),
            ConvBN(in_ch=stages[-1][2], out_ch=1984, kernel=1),  # 7
            Classifier(in_ch=1984, out_ch=1000),
        ),
    )


_PAPER = (
    "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search, arXiv:1812.03443"
)

ENTRIES = (
    Entry(
        arch=_arch("fbnet_c", _C),
        paper=_PAPER,
        reference="timm fbnetc_100",
        madds_m=375,
        params_m=5.5,
        top1=0.749,
    ),
)
