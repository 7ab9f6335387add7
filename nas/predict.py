"""`python -m nas.predict run=runs/long photo.jpg ...`: the classes of pictures, by the network that a run delivered.

    python -m nas.predict run=RUN_DIR PICTURE_OR_FOLDER... [quantized=true] [top=5] [-- PICTURE...]

A line for each picture: its name, then the likeliest classes with their probabilities. Of a folder, all pictures in it
are read. Behind ``--`` everything is a picture, also names with = in them. Pictures that cannot be read are named, and
the exit code is then 1.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from nas_runtime.command import run_plain
from nas_runtime.console import brief, shown
from nas_runtime.errors import EXPECTED, one_line, say
from nas_runtime.kinds import AnyPath
from nas_runtime.options import Options, read_plain

__all__ = ["PredictOptions", "main"]


class PredictOptions(Options):
    """Says what is on pictures."""

    run: AnyPath | None = Field(default=None, description="the folder of a run that has delivered a network")
    quantized: bool = Field(default=False, description="whether to take best_int8.onnx instead of best.onnx")
    top: int = Field(default=5, ge=1, le=1000, description="the likeliest classes, so many")


@dataclass(frozen=True, kw_only=True)
class _Classifier:
    """A delivered graph.

    Attributes:
        how: what it says of its input.
        labels: the names of its classes.
    """

    session: Any
    how: dict[str, Any]
    labels: list[str]

    def probabilities(self, path: Path) -> np.ndarray:
        """(classes,) of the picture in a file.

        Raises:
            nas.training.sources.DataError: it cannot be read.
            OSError: there is no such file.
        """
        from nas.delivery.description import as_input, square

        path.stat()  # says it best, if there is no such file
        x = as_input(square(path, self.how["picture"])[None], self.how["best.onnx"])
        source = self.session.get_inputs()[0]
        at_a_time = source.shape[0] if isinstance(source.shape[0], int) else 1
        logits = self.session.run(None, {source.name: np.repeat(x, at_a_time, axis=0)})[0][0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        return shares / shares.sum()


def main(arguments: list[str]) -> None:
    options, pictures = _read(arguments)
    if options.run is None or not pictures:
        lacking = "no run: add run=, the folder of a run" if options.run is None else "no pictures: add their names"
        raise ValueError(f"{lacking}: python -m nas.predict run=runs/mine photo.jpg")
    classifier = _open(options.run, "best_int8.onnx" if options.quantized else "best.onnx")
    failed = False
    for path in _files(pictures):
        try:
            shares = classifier.probabilities(path)
        except EXPECTED as e:
            failed = True
            say(f"error: {one_line(e)}")
            continue
        likeliest = shares.argsort(kind="stable")[::-1][: options.top]
        print(shown(str(path)), *(f"{classifier.labels[i]} {shares[i]:.1%}" for i in likeliest), sep="\t", flush=True)
    if failed:
        raise SystemExit(1)


def _read(arguments: Sequence[str]) -> tuple[PredictOptions, list[str]]:
    """The options, and the names of pictures and folders.

    Raises:
        ValueError: an option or flag that there is not.
    """
    words = list(arguments)
    behind = words[words.index("--") + 1 :] if "--" in words else []
    before = words[: len(words) - len(behind) - ("--" in words)]
    given = [word for word in before if "=" in word]
    if flags := [word for word in before if word.startswith("-")]:
        raise ValueError(f"no flag {brief(flags[0])}; allowed: --help, and -- before names that begin with -")
    try:
        options = read_plain(PredictOptions, given)
    except ValueError as e:
        raise ValueError(f"{e}; names of pictures with = in them go behind --") from None
    return options, [word for word in before if "=" not in word] + behind


def _files(names: Sequence[str]) -> Iterator[Path]:
    """The pictures of these names; of a folder, all that are in it, by name."""
    for path in map(Path, names):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _is_shown(file.relative_to(path)) and file.is_file())
            if not inside:
                say(f"note: {path} has no pictures")
            yield from inside
        else:
            yield path


def _is_shown(path: Path) -> bool:
    """Whether a file of a folder is a picture, and neither it nor a folder that it is in is hidden."""
    from nas.training.sources.images import is_picture

    return is_picture(path.name) and not any(part.startswith(".") for part in path.parts)


def _open(run_dir: Path, name: str) -> _Classifier:
    """The delivered graph `name` of a run.

    Raises:
        ValueError: it is not there, is damaged, or does not say how pictures become its input.
    """
    import onnxruntime

    path = run_dir / name
    if not path.is_file():
        remedy = "delivery.quantize=static makes it" if "int8" in name else "give the folder of a run that has trained"
        raise ValueError(f"{run_dir} has no {name}; {remedy}")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as e:  # the runtime's errors have no base of their own
        raise ValueError(f"{path} cannot be read ({brief(e, most=200)})") from None
    about = session.get_modelmeta().custom_metadata_map
    if not {"preprocess", "labels"} <= about.keys():
        raise ValueError(
            f"{path} does not say how a picture becomes its input, as it is of an earlier version; the command of the "
            "run writes it again"
        )
    return _Classifier(session=session, how=json.loads(about["preprocess"]), labels=json.loads(about["labels"]))


if __name__ == "__main__":
    run_plain(main, PredictOptions)
