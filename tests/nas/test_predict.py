"""`python -m nas.predict`: lines for pictures that can be read, and one line for what cannot be."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nas import predict
from nas.training import sources
from nas_runtime.help import plain as help_text
from search_spaces import onnx_net
from tests.nas.delivered import calibrated, deliver
from tests.test_import_boundaries import ROOT


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    data = sources.load("fashion_mnist_mini")
    folder = tmp_path_factory.mktemp("run")
    deliver(folder, calibrated(data), data)
    return folder


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = sources.load("fashion_mnist_mini").test.images
    for i, name in enumerate(("a.png", "b=c.png", "inside/d.png", "inside/deep/e.png", "inside/.hidden.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(images[i, ..., 0]).save(tmp_path / name)
    (tmp_path / "inside" / "notes.txt").write_text("no picture")
    return tmp_path


def lines(capsys):
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_the_likeliest_classes_are_printed(run_dir, photos, capsys):
    predict.main([f"run={run_dir}", "a.png"])
    ((name, *classes),) = lines(capsys)
    data = sources.load("fashion_mnist_mini")
    logits = onnx_net.run((run_dir / "best.onnx").read_bytes(), data.test.images[:1])[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    expected = [f"{data.class_names[i]} {shares[i]:.1%}" for i in np.argsort(shares)[::-1][:5]]
    assert (name, classes) == ("a.png", expected)
    predict.main([f"run={run_dir}", "top=1", "inside", "--", "b=c.png", "a.png"])
    found = lines(capsys)
    assert [row[0] for row in found] == [
        os.path.join("inside", "d.png"),
        os.path.join("inside", "deep", "e.png"),
        "b=c.png",
        "a.png",
    ]
    assert {len(row) for row in found} == {2}
    assert found[-1][1] == classes[0]


def test_pictures_that_cannot_be_read_are_named_and_the_others_are_not_lost(run_dir, photos, capsys):
    (photos / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match="^1$"):
        predict.main([f"run={run_dir}", "broken.jpg", "a.png", "none.jpg"])
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()] == ["a.png"]
    assert captured.err.splitlines() == [
        "error: broken.jpg is not a readable image (cannot identify image file 'broken.jpg')",
        "error: none.jpg: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png"], "^no run: add run=, the folder of a run: python -m nas.predict run=runs/mine photo.jpg$"),
        (["run=RUN"], "^no pictures: add their names: python"),
        (
            ["run=RUN", "b=c.png"],
            "'b=c.png' is not known; allowed: run=, .* with = in them go behind --",
        ),
        (["run=RUN", "--top", "a.png"], "^no flag --top; allowed: --help, and -- before names that begin with -$"),
        (["run=RUN", "top=0", "a.png"], "^top=0: it must be a whole number at least 1"),
        (["run=elsewhere", "a.png"], "^elsewhere has no best.onnx; give the folder of a run that has trained"),
        (["run=RUN", "quantized=true", "a.png"], "has no best_int8.onnx; delivery.quantize=static makes it$"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message, run_dir, photos):
    with pytest.raises(ValueError, match=message) as caught:
        predict.main([word.replace("RUN", str(run_dir)) for word in arguments])
    assert "\n" not in str(caught.value)


def test_graphs_of_earlier_versions(run_dir, photos):
    old = photos / "old"
    old.mkdir()
    data = sources.load("fashion_mnist_mini")
    net = calibrated(data)
    onnx_net.export(net.arch, old / "best.onnx", net=net)
    with pytest.raises(ValueError, match=r"old/best.onnx does not say how a picture .* writes it again"):
        predict.main(["run=old", "a.png"])
    (old / "best.onnx").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"old/best.onnx cannot be read \("):
        predict.main(["run=old", "a.png"])


def test_the_command(run_dir, photos):
    command = [sys.executable, "-m", "nas.predict", f"run={run_dir}", "none.jpg", "a.png"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert (done.returncode, done.stderr) == (1, "error: none.jpg: No such file or directory\n")
    assert done.stdout.startswith("a.png\t")
    text = help_text(predict.__doc__, predict.PredictOptions)
    assert "quantized" in text
    assert "Behind ``--`` everything is a picture" in text
