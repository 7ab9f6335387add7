"""The program that lies beside a delivered graph sees the pixels that the network was trained and measured on."""

import json
import runpy
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nas.delivery import Delivery, description, program_file
from nas.training import sources
from nas.training.pictures import PictureSet, of_arrays
from nas.training.sources.images import decode, stretched

RNG = np.random.default_rng(0)
SIZES = ((61, 40), (33, 97), (28, 28), (32, 32), (5, 300), (28, 29), (200, 27))
MODES = ("RGB", "L", "LA", "P", "RGBA", "CMYK", "1", "I;16")


def picture(path, mode, size, orientation=1):
    kinds = {"L": 1, "LA": 2, "RGBA": 4, "CMYK": 4}
    smooth = Image.fromarray(RNG.integers(0, 256, (5, 4, 4), dtype=np.uint8), "RGBA").resize(size)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(smooth)[..., 0].astype(np.uint16) * 257 + 3)
    elif mode in ("CMYK", "RGB", "1", "L"):
        image = smooth.convert("RGB").convert(mode)
    elif mode == "P":
        image = smooth.convert("RGB").quantize(16)
        image.info["transparency"] = 3
    else:
        image = smooth.convert(mode)
    assert image.mode == mode
    assert len(image.getbands()) == kinds.get(mode, len(image.getbands()))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    files = [picture(folder / f"size{i}.png", "RGB", size) for i, size in enumerate(SIZES)]
    files += [picture(folder / f"turned{i}.jpg", "RGB", (50, 37), orientation=i) for i in range(1, 9)]
    for mode in MODES:
        ending = "tif" if mode == "CMYK" else "png"
        files.append(picture(folder / f"{mode.replace(';', '')}.{ending}", mode, (45, 71), orientation=6))
    return files


class Session:
    """Answers as a delivered graph of three classes would, and remembers what it was given."""

    given = ()
    how = None

    def __init__(self, path, providers):
        assert path.endswith(".onnx")
        Session.given = []

    def get_modelmeta(self):
        about = {"preprocess": json.dumps(Session.how), "labels": json.dumps(["cat", "dog", "ant"])}
        return SimpleNamespace(custom_metadata_map=about)

    def run(self, names, inputs):
        ((name, x),) = inputs.items()
        assert name == Session.how["best.onnx"]["input"]
        Session.given.append(x)
        return [np.tile(np.log(np.float32([0.2, 0.7, 0.1])), (len(x), 1))]


def seen(monkeypatch, how, files, *, unread=False):
    """What the program gives the graph for these pictures, of which it says with its exit code if one is unreadable."""
    Session.how = how
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, files)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(program_file()), run_name="__main__")
    assert end.value.code == unread
    return Session.given


def coloured(crop, resize="shorter_side") -> PictureSet:
    small = of_arrays(sources.load("fashion_mnist_mini"), "")
    return replace(
        small,
        channels=3,
        resize=resize,
        crop=crop,
        resolution_px=28,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.25),
    )


def options(**given):
    return Delivery(**{"input": "uint8", "batch": 1, "opset": 18, "quantize": "none"} | given)


@pytest.mark.parametrize("crop", [1.0, 0.875, 0.8])
def test_every_picture_is_the_same_pixel_for_pixel(crop, pictures, monkeypatch, capsys):
    data = coloured(crop)
    rule = data.preprocessing
    given = seen(monkeypatch, description.preprocessing(data, options()), pictures)
    for file, x in zip(pictures, given, strict=True):
        expected = decode(file, file.name, rule.resolution_px, resize_px=rule.resize_px)
        assert np.array_equal(x, expected[None]), file.name
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{pictures[0]}\tdog 70.0%\tcat 20.0%\tant 10.0%"
    assert len(lines) == len(pictures)


def test_pictures_that_cannot_be_read_are_said_and_the_others_are_named(pictures, tmp_path, monkeypatch, capsys):
    how = description.preprocessing(coloured(1.0), options())
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    files = [tmp_path / "broken.jpg", pictures[0], tmp_path / "missing.jpg"]
    assert len(seen(monkeypatch, how, files, unread=True)) == 1
    out, err = capsys.readouterr()
    assert out == f"{pictures[0]}\tdog 70.0%\tcat 20.0%\tant 10.0%\n"
    assert [line.split(" cannot be read: ")[0] for line in err.splitlines()] == [str(files[0]), str(files[2])]


def test_what_is_stretched_or_grey_is_the_same_too(pictures, monkeypatch):
    given = seen(monkeypatch, description.preprocessing(coloured(1.0, "stretch"), options()), pictures)
    assert all(np.array_equal(x[0], stretched(f, f.name, 28)) for f, x in zip(pictures, given, strict=True))
    how = description.preprocessing(of_arrays(sources.load("fashion_mnist_mini"), ""), options())
    for file, x in zip(pictures, seen(monkeypatch, how, pictures), strict=True):
        assert np.array_equal(x[0], description.square(file, how["picture"])), file.name
        assert x.shape == (1, 28, 28, 1)


def test_planes_are_normalised_and_a_batch_is_full(pictures, monkeypatch):
    data = coloured(1.0)
    given = seen(monkeypatch, description.preprocessing(data, options(input="float32", batch=3)), pictures[:2])
    whole = decode(pictures[0], "", 28)
    expected = ((whole / 255 - np.array(data.mean)) / np.array(data.std)).transpose(2, 0, 1)
    assert given[0].shape == (3, 3, 28, 28)
    assert given[0].dtype == np.float32
    np.testing.assert_allclose(given[0], np.stack([expected] * 3), rtol=1e-5, atol=1e-5)
    (x, _) = seen(monkeypatch, description.preprocessing(data, options(batch=None)), pictures[:2])
    assert x.shape == (1, 28, 28, 3)


def test_another_graph_is_named_by_its_file(pictures, monkeypatch):
    how = description.preprocessing(coloured(1.0), options())
    assert len(seen(monkeypatch, how, ["elsewhere/best_int8.onnx", pictures[0]])) == 1


def test_what_earlier_versions_say_is_understood(pictures):
    rule = description.preprocessing(coloured(1.0), options())["picture"]
    earlier = {name: value for name, value in rule.items() if name != "resize_px"}
    assert np.array_equal(description.square(pictures[0], earlier), description.square(pictures[0], rule))
