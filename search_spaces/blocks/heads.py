"""Last blocks: from a map to classes."""

from dataclasses import dataclass

from search_spaces.blocks.fields import check
from search_spaces.ops import Conv, Dropout, GlobalPool, Linear, Op

__all__ = ["Classifier", "ConvClassifier", "DenseClassifier"]


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """Global average pooling, an optional hidden layer without batch norm, dropout, and a linear layer.

    ``hidden_ch`` is MobileNetV3's efficient last stage ("conv2d 1x1, NBN"); 0 for none. ``out_ch`` is the number of
    classes.
    """

    in_ch: int
    out_ch: int
    hidden_ch: int = 0
    act: str = "hard_swish"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check(self)

    def ops(self) -> tuple[Op, ...]:
        pool = GlobalPool(name="pool", inputs=("input",))
        features, last = self.in_ch, "pool"
        hidden: tuple[Op, ...] = ()
        if self.hidden_ch:
            hidden = (Linear(name="hidden", inputs=("pool",), in_ch=self.in_ch, out_ch=self.hidden_ch, act=self.act),)
            features, last = self.hidden_ch, "hidden"
        return (
            pool,
            *hidden,
            Dropout(name="dropout", inputs=(last,), rate=self.dropout),
            Linear(name="linear", inputs=("dropout",), in_ch=features, out_ch=self.out_ch),
        )


@dataclass(frozen=True, kw_only=True)
class DenseClassifier:
    """The head of AlexNet and VGG: linear layers on the whole feature map of ``size_px`` x ``size_px``, with ReLU and
    dropout after each hidden one."""

    in_ch: int
    out_ch: int
    size_px: int
    hidden_ch: int = 4096
    hidden_layers: int = 2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check(self)

    def ops(self) -> tuple[Op, ...]:
        ops: list[Op] = []
        source, features = "input", self.in_ch * self.size_px**2
        for i in range(self.hidden_layers):
            hidden = Linear(name=f"hidden{i}", inputs=(source,), in_ch=features, out_ch=self.hidden_ch, act="relu")
            ops += [hidden, Dropout(name=f"dropout{i}", inputs=(hidden.name,), rate=self.dropout)]
            source, features = ops[-1].name, self.hidden_ch
        return (*ops, Linear(name="linear", inputs=(source,), in_ch=features, out_ch=self.out_ch))


@dataclass(frozen=True, kw_only=True)
class ConvClassifier:
    """SqueezeNet's head: dropout, a 1x1 convolution to the classes with ReLU, and its average over all positions."""

    in_ch: int
    out_ch: int
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check(self)

    def ops(self) -> tuple[Op, ...]:
        return (
            Dropout(name="dropout", inputs=("input",), rate=self.dropout),
            Conv(name="conv", inputs=("dropout",), in_ch=self.in_ch, out_ch=self.out_ch, norm=False, act="relu"),
            GlobalPool(name="pool", inputs=("conv",), flat=True),
        )
