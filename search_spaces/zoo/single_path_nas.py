"""Single-Path NAS: Designing Hardware-Efficient ConvNets in less than 4 Hours (arXiv:1904.02877), figure 5."""

from search_spaces.arch import Arch, Classifier, ConvBN
from search_spaces.zoo.published import Entry
from search_spaces.zoo.stages import repeat

__all__ = ["ENTRIES"]

# repeats, expansion, out_ch, kernel, stride, se      input resolution
_STAGES = (
    (1, 0, 16, 3, 1, 0.0),  # 112
    (3, 3, 24, 3, 2, 0.0),  # 112
    (1, 6, 40, 5, 2, 0.0),  # 56
    (3, 3, 40, 3, 1, 0.0),  # 28
    (1, 6, 80, 5, 2, 0.0),  # 28
    (3, 3, 80, 3, 1, 0.0),  # 14
    (1, 6, 96, 5, 1, 0.0),  # 14
    (3, 3, 96, 5, 1, 0.0),  # 14
    (4, 6, 192, 5, 2, 0.0),  # 14
    (1, 6, 320, 3, 1, 0.0),  # 7
)

ENTRIES = (
    Entry(
        arch=Arch(
            name="single_path_nas",
            resolution_px=224,
            blocks=(
                ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2),  # 224
                *repeat(32, _STAGES, act="relu"),
                ConvBN(in_ch=320, out_ch=1280, kernel=1),  # 7
                Classifier(in_ch=1280, out_ch=1000),
            ),
        ),
        paper="Single-Path NAS: Designing Hardware-Efficient ConvNets in less than 4 Hours, arXiv:1904.02877",
        widen_features=False,
        reference="timm spnasnet_100",
        madds_m=334,  # the paper has none; counted by its users
        params_m=4.4,
        top1=0.7496,
    ),
)
