"""`python -m search_spaces.export runs/mine/best.json format=tflite`: a network as another runtime's file.

    python -m search_spaces.export best.json [format=onnx] [batch=1] [out=best]
    python -m search_spaces.export mobilenet_v3_small format=ncnn

`best.json` is a network's file; its weights are those of ``best.safetensors`` beside it, as runs have it. Without them,
and for a network of the zoo, weights are random, which is said: such a file takes as long as a trained one and knows
nothing. What is written is run first and compared with the network.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from nas_runtime.command import run_plain
from nas_runtime.files import write_bytes
from nas_runtime.kinds import AnyPath, named_in
from nas_runtime.options import Options, read_plain
from search_spaces import text, zoo
from search_spaces.arch import Arch
from search_spaces.formats import FORMATS, get
from search_spaces.lower import lower

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["ExportOptions", "export", "main"]


class ExportOptions(Options):
    """Options:"""

    format: Annotated[str, named_in(FORMATS)] = Field(default="onnx", description="whose files; tflite: LiteRT's")
    batch: int = Field(default=1, ge=1, le=1024, description="N, the pictures that it takes at a time; of ncnn 1")
    out: AnyPath | None = Field(
        default=None, description="the files' name, without suffix; null: the network's, in the current directory"
    )


def export(
    arch: Arch, path: Path, *, format: str, net: "Net | None" = None, batch: int = 1, replace: bool = True
) -> list[Path]:
    """Writes `arch` in the files of a runtime, `path` with the suffixes of these; gives them.

    The input is float32, normalised as the network was trained. What would be written is run and compared with `net`,
    or with ONNX Runtime if the weights are random.

    Args:
        format: of `formats.FORMATS`, or a dotted name.
        net: gives the weights; None: random ones.
        batch: N.
        replace: whether files that are there already are replaced.

    Raises:
        ValueError: no such format, a file is there already, the format cannot hold the network, what it needs is not
            installed, or its runtime computes something else than the network.
        OSError: a file cannot be written.
    """
    its = get(format)
    files = its.files(arch, net=net, batch=batch)
    paths = [path.with_name(path.name + suffix) for suffix in files]
    if not replace and (there := [str(file) for file in paths if file.exists()]):
        raise ValueError(f"{there[0]} is there already, as runs have one; say with out= where to write")
    inputs = np.random.default_rng(0).standard_normal((batch, *lower(arch)[0].in_shape), dtype=np.float32)
    _check(format, arch, its.run(*files.values(), inputs), _expected(arch, net, inputs))
    for file, content in zip(paths, files.values(), strict=True):
        write_bytes(file, content)
    return paths


def _expected(arch: Arch, net: "Net | None", inputs: np.ndarray) -> np.ndarray:
    if net is None:
        from search_spaces import onnx_net

        return onnx_net.run(onnx_net.model(arch, batch=len(inputs)).SerializeToString(), inputs)
    from search_spaces import torch_net

    return torch_net.answer(net, inputs)


def _check(format: str, arch: Arch, found: np.ndarray, expected: np.ndarray) -> None:
    from search_spaces.onnx_net import TOLERANCE

    off = np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max()
    if not off <= TOLERANCE:  # nor NaN
        raise ValueError(
            f"format={format}: network {arch.name!r} gives other answers there, by up to {off:.2g} of the largest; "
            "nothing is written"
        )


def main(arguments: list[str]) -> None:
    from nas_runtime.console import new_console

    if not arguments or "=" in arguments[0]:
        raise ValueError(f"name a network: best.json of a run, or one of {', '.join(zoo.names())}")
    name, *rest = arguments
    options = read_plain(ExportOptions, rest)
    arch, net, source = _network(name)
    stem = options.out or Path(arch.name if net is None else Path("best" if Path(name).is_dir() else name).stem)
    paths = export(arch, stem, format=options.format, net=net, batch=options.batch, replace=options.out is not None)
    console = new_console()
    console.print(f"{' and '.join(map(str, paths))}: {source}", soft_wrap=True)
    console.print(f"{get(options.format).reads}, float32, normalised as preprocess.json of its run says",
                  soft_wrap=True)  # fmt: skip


def _network(name: str) -> "tuple[Arch, Net | None, str]":
    """The network that is named, its weights if there are any, and a line about these.

    Raises:
        ValueError: no such network, or weights that are not its own.
    """
    random = "with random weights: it takes as long as a trained network, and its answers mean nothing"
    if name in zoo.names():
        return zoo.get(name), None, random
    path = Path(name)
    path = path / "best.json" if path.is_dir() else path
    if path.suffix != ".json":
        raise ValueError(f"no network {name}; give best.json of a run, or one of {', '.join(zoo.names())}")
    arch, weights = text.from_file(path), path.with_suffix(".safetensors")
    if not weights.exists():
        return arch, None, f"{random} (there is no {weights})"
    from search_spaces import torch_net

    net = torch_net.load(weights)
    if net.arch.blocks != arch.blocks:
        raise ValueError(f"{weights} has the weights of another network than {path}; remove one of them")
    return arch, net, f"the weights of {weights}"


if __name__ == "__main__":
    run_plain(main, ExportOptions)
