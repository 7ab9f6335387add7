"""`python -m search_spaces.export`: networks as files of other runtimes, with the weights that they have."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nas_runtime import extras
from search_spaces import export, onnx_net, rewrite, text, torch_net, zoo
from search_spaces.formats import FORMATS, Format, get

ARCH = rewrite.classes(zoo.get("mobilenet_v3_small", width=0.35, resolution_px=64), 10)
NEEDS = {"onnx": None, "openvino": "openvino", "tflite": "ai_edge_litert", "ncnn": "ncnn"}
FILES = {"onnx": [".onnx"], "openvino": [".xml", ".bin"], "tflite": [".tflite"], "ncnn": [".param", ".bin"]}


@pytest.fixture(params=FORMATS.names())
def format(request) -> str:
    if needed := NEEDS[request.param]:
        pytest.importorskip(needed)
    return request.param


@pytest.fixture
def run(tmp_path) -> Path:
    """A folder with a trained network, as runs have it."""
    net = torch_net.build(ARCH, generator=torch.Generator().manual_seed(0)).eval()
    torch_net.save(net, tmp_path / "run" / "best.safetensors")
    (tmp_path / "run" / "best.json").write_text(text.to_json(ARCH))
    return tmp_path / "run"


def test_what_is_written_gives_the_network_s_answers(format, run, tmp_path, capsys):
    export.main([str(run / "best.json"), f"format={format}", f"out={tmp_path / 'mine'}"])
    files = [tmp_path / f"mine{suffix}" for suffix in FILES[format]]
    assert {path.name for path in tmp_path.iterdir()} == {"run", *(path.name for path in files)}
    inputs = np.random.default_rng(3).standard_normal((1, 3, 64, 64), dtype=np.float32)
    found = ran(format, files, inputs)
    expected = torch_net.answer(torch_net.load(run), inputs)
    assert found.reshape(1, 10) == pytest.approx(expected, abs=float(1e-3 * np.abs(expected).max()))
    said = " ".join(capsys.readouterr().out.split())
    assert f"the weights of {run / 'best.safetensors'}" in said
    assert get(format).reads in said


def ran(format: str, files: list[Path], inputs: np.ndarray) -> np.ndarray:
    """What files give for pictures (N, C, H, W), by their runtime's own means."""
    if format == "onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(files[0]).run(None, {"input": inputs})[0]
    if format == "openvino":
        import openvino

        return openvino.Core().compile_model(str(files[0]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(inputs)[0]
    if format == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        made = Interpreter(str(files[0]))
        made.allocate_tensors()
        made.set_tensor(made.get_input_details()[0]["index"], np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)))
        made.invoke()
        return made.get_tensor(made.get_output_details()[0]["index"])
    import ncnn

    net = ncnn.Net()
    net.load_param(str(files[0]))
    net.load_model(str(files[1]))
    extractor = net.create_extractor()
    extractor.input("input", ncnn.Mat(inputs[0]))
    return np.array(extractor.extract("output")[1])


def test_what_a_run_delivers_is_not_replaced(run, monkeypatch):
    monkeypatch.chdir(run)
    (run / "best.onnx").write_bytes(b"reads pixels")
    for name in ("best.json", "."):
        with pytest.raises(ValueError, match="best.onnx is there already, as runs have one; say with out="):
            export.main([name])
    assert (run / "best.onnx").read_bytes() == b"reads pixels"
    export.main([".", "out=best"])
    assert (run / "best.onnx").stat().st_size > 1000


def test_a_batch(run, tmp_path):
    (path,) = export.export(ARCH, tmp_path / "four", format="onnx", net=torch_net.load(run), batch=4)
    inputs = np.zeros((4, 3, 64, 64), np.float32)
    assert onnx_net.run(path.read_bytes(), inputs).shape == (4, 10)


def test_weights_that_are_made_up_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(text.to_json(ARCH))
    export.main(["mine.json"])
    assert (tmp_path / f"{ARCH.name}.onnx").exists()
    said = " ".join(capsys.readouterr().out.split())
    assert "with random weights: it takes as long as a trained network, and its answers mean nothing" in said
    assert "there is no mine.safetensors" in said


WRONG = Format(
    files=lambda arch, *, net, batch: {".a": b"a", ".b": b"b"},
    run=lambda a, b, inputs: np.ones((len(inputs), 10), np.float32),
    reads="",
)


def test_what_computes_something_else_is_not_written(tmp_path):
    name = f"{__name__}:WRONG"
    with pytest.raises(ValueError, match=f"format={name}: network .* gives other answers there.*nothing is written"):
        export.export(ARCH, tmp_path / "x", format=name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="format=math:pi is no format: give a search_spaces.formats.Format"):
        export.export(ARCH, tmp_path / "x", format="math:pi")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a network: best.json of a run, or one of mobilenet_v1"),
        (["format=onnx"], "name a network"),
        (["no_such"], "no network no_such; give best.json of a run, or one of"),
        (["mobilenet_v2", "format=tflit"], "format=tflit; did you mean tflite"),
        (["mobilenet_v2", "batch=0"], "batch=0"),
        (["missing.json"], "missing.json"),
    ],
)
def test_what_cannot_be_exported(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=said) as caught:
        export.main(arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network(run):
    (run / "best.json").write_text(text.to_json(rewrite.classes(ARCH, 7)))
    with pytest.raises(ValueError, match=r"best.safetensors has the weights of another network than .*best.json"):
        export.main([str(run)])


def test_a_package_that_is_missing():
    said = r"format x needs the package no-such-package \(No module named .*\); pip install 'platform-aware-nas\[x\]'"
    with pytest.raises(ValueError, match=said):
        extras.needed("no_such_package.part", "x", "format x")
