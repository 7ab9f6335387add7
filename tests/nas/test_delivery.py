"""What a run delivers: networks that are loaded in two lines, and graphs that classify photos without this project."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from nas import delivery
from nas.training import sources
from nas.training.train import normalise
from search_spaces import onnx_net, text, torch_net
from search_spaces.onnx_net import Pixels
from tests.nas.delivered import V3, calibrated, deliver

SMALL = replace(V3, norm_eps=1e-3)


def some_net(arch=SMALL):
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(0)).eval()
    return net.to(memory_format=torch.channels_last)


# ---- weights and their network in one file


def test_a_network_and_its_weights_are_one_file(tmp_path):
    net = some_net()
    torch_net.save(net.train(), tmp_path / "run" / torch_net.WEIGHTS)
    (tmp_path / "run").rename(tmp_path / "moved")
    random = torch.get_rng_state()
    for path in (str(tmp_path / "moved"), tmp_path / "moved" / torch_net.WEIGHTS):
        again = torch_net.load(path)
        assert torch.equal(torch.get_rng_state(), random)
        assert again.arch == SMALL
        assert not again.training
    (tmp_path / "moved" / torch_net.WEIGHTS).write_bytes(b"")  # what was read does not hang on the file
    assert all(torch.equal(again.state_dict()[name], value) for name, value in net.state_dict().items())
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(again(x), net.eval()(x))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "best.safetensors: no such file; give the folder of a finished run, or its best.safetensors$"),
        (b"not safetensors", "best.safetensors cannot be read: "),
        ({}, "best.safetensors does not say what network its weights are of; give a file of torch_net.save$"),
        ({"arch": "{}"}, "best.safetensors: not a network: expected an object with format, name, resolution_px and"),
        (
            {"arch": text.to_json(V3)},
            "best.safetensors: the weights lack blocks.0.conv.conv.weight, which network 'mobilenet_v3_small 0.35'",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(content, message, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / torch_net.WEIGHTS).write_bytes(content)
    elif content is not None:
        save_file({"x": torch.zeros(2)}, tmp_path / torch_net.WEIGHTS, metadata=content or {"other": "metadata"})
    with pytest.raises(ValueError, match=message) as caught:
        torch_net.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_weights_that_their_network_cannot_describe_are_not_saved(tmp_path):
    net = some_net()
    net.blocks[1].project.norm.eps = 1e-5
    with pytest.raises(ValueError, match="blocks.1.project.norm has eps 1e-05, but network .* has norm_eps 0.001;"):
        torch_net.save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_read_by_any_name_of_its_file(tmp_path):
    path = tmp_path / "best.json"
    path.write_text(text.to_json(SMALL))
    assert text.from_file(str(path)) == text.from_file(path) == SMALL
    with pytest.raises(ValueError, match="none.json cannot be read: No such file or directory"):
        text.from_file(tmp_path / "none.json")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="best.json is not a text file"):
        text.from_file(path)


# ---- a run's files


def predicted(net, data, images):
    with torch.inference_mode():
        return [data.class_names[i] for i in net(normalise(torch.from_numpy(images), data, "cpu")).argmax(1)]


def by_its_program(run_dir, pictures, *graph):
    """The names that the program in the run's folder gives, in a Python that sees neither this project nor the user's
    settings."""
    program = run_dir / "predict.py"
    assert len(program.read_text().splitlines()) < 40
    arguments = [sys.executable, "-I", str(program), *graph, *map(str, pictures)]
    done = subprocess.run(arguments, cwd=run_dir.parent, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[1].rpartition(" ")[0] for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def fashion():
    data = sources.load("fashion_mnist_mini")
    return data, calibrated(data)


def test_pictures_are_classified_without_this_project(fashion, tmp_path):
    data, net = fashion
    deliver(str(tmp_path / "run"), net, data)
    pictures = [tmp_path / f"{i}.png" for i in range(300)]
    for path, image in zip(pictures, data.test.images, strict=False):
        Image.fromarray(image[..., 0]).save(path)
    expected = predicted(net, data, data.test.images[:300])
    assert len(set(expected)) > 3
    assert by_its_program(tmp_path / "run", pictures) == expected


def test_photos_of_any_size_become_what_the_network_was_trained_on(tmp_path):
    rng = np.random.default_rng(0)
    pictures = []
    for part, n in (("train", 12), ("test", 6)):
        for label in ("a cat", "dog", "ünit"):
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for i in range(n):
                size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)))
                kind = 4 if i % 3 == 2 else 3  # of which a part is transparent
                image = Image.fromarray(rng.integers(0, 256, (6, 6, kind), dtype=np.uint8)).resize(size)
                path = tmp_path / "images" / part / label / f"{i}.png"
                exif = Image.Exif()
                exif[0x0112] = 6 if i % 2 else 1  # turned by 90 degrees, as phones do it
                image.save(path, exif=exif)
                pictures += [path] if part == "test" else []
    data = sources.load("image_folder", path=tmp_path / "images", resolution_px=28)
    net = calibrated(data)
    deliver(tmp_path / "run", net, data)
    expected = predicted(net, data, data.test.images)
    assert set(expected) == {"a cat", "dog", "ünit"}
    assert by_its_program(tmp_path / "run", pictures) == expected


def test_what_is_delivered(fashion, tmp_path):
    data, net = fashion
    before = os.umask(0o022)
    deliver(tmp_path, net, data, training={"epochs": 1})
    os.umask(before)
    files = {path.name: path for path in tmp_path.iterdir()}
    assert files.keys() == {
        *("best.json", "searched.json", "best.safetensors", "best.onnx", "preprocess.json", "labels.txt"),
        *("predict.py", "model_card.md", "delivery.json", "best_timm.py", "best_timm.safetensors"),
    }
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o644}
    assert text.from_file(files["searched.json"]) == V3
    assert text.from_file(files["best.json"]) == net.arch == torch_net.load(tmp_path).arch
    again = torch_net.Net(text.from_file(files["best.json"]))
    again.load_state_dict(load_file(files["best.safetensors"]))
    how = json.loads(files["preprocess.json"].read_text())
    session = onnxruntime.InferenceSession(files["best.onnx"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["preprocess"]) == how
    assert json.loads(about["labels"]) == files["labels.txt"].read_text().splitlines() == list(data.class_names)
    (source,) = session.get_inputs()
    assert (source.name, source.type, source.shape) == ("image", "tensor(uint8)", how["best.onnx"]["shape"])
    x = data.test.images[:1].transpose(0, 3, 1, 2) / np.float32(how["best.safetensors"]["divide_by"])
    x = (x - np.float32(how["best.safetensors"]["then_subtract"])) / np.float32(
        how["best.safetensors"]["then_divide_by"]
    )
    with torch.inference_mode():
        y = torch_net.load(tmp_path)(torch.from_numpy(x))
    np.testing.assert_allclose(session.run(None, {"image": data.test.images[:1]})[0], y.numpy(), rtol=1e-3, atol=1e-3)
    with pytest.raises(Exception, match="Unexpected input data type"):  # a wrong use is an error, no wrong class
        session.run(None, {"image": data.test.images[:1] / np.float32(255)})


def test_files_that_follow_from_the_weights_are_written_again(fashion, tmp_path):
    data, net = fashion
    training = {"epochs": 1, "lr": (0.1,)}
    assert delivery.kept(tmp_path, net.arch, training) is None
    deliver(tmp_path, net, data, training=training)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in before.keys() - {torch_net.WEIGHTS, "delivery.json"}:
        (tmp_path / name).unlink()
    (tmp_path / "best.onnx").write_bytes(b"of another training")
    deliver(tmp_path, delivery.kept(tmp_path, net.arch, training), data, training=training)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert delivery.kept(tmp_path, net.arch, {"epochs": 2}) is None
    assert delivery.kept(tmp_path, SMALL, training) is None
    (tmp_path / torch_net.WEIGHTS).write_bytes(before[torch_net.WEIGHTS][:-10])
    assert delivery.kept(tmp_path, net.arch, training) is None


def test_nothing_stays_beside_weights_that_it_does_not_follow_from(fashion, tmp_path):
    data, net = fashion
    deliver(tmp_path, net, data)
    delivery.keep(tmp_path, net, {})
    assert (tmp_path / "best.onnx").exists()
    delivery.keep(tmp_path, net, {"epochs": 2})
    assert {path.name for path in tmp_path.iterdir()} == {"best.json", "searched.json", "best.safetensors"}


def test_networks_of_runs_of_earlier_versions_are_found(tmp_path):
    (tmp_path / "best.json").write_text(text.to_json(V3))
    assert delivery.searched_net(tmp_path) == delivery.trained_net(tmp_path) == V3
    (tmp_path / "trained.json").write_text(text.to_json(SMALL))
    assert (delivery.searched_net(tmp_path), delivery.trained_net(tmp_path)) == (V3, SMALL)
    delivery.write_networks(tmp_path, trained=SMALL, searched=V3)
    assert (delivery.searched_net(tmp_path), delivery.trained_net(tmp_path)) == (V3, SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"best.json", "searched.json"}
    (tmp_path / "searched.json").unlink()
    (tmp_path / "best.json").unlink()
    with pytest.raises(ValueError, match=r"has no best.json; give the folder of a finished run$"):
        delivery.searched_net(tmp_path)


def test_a_graph_that_computes_something_else_is_not_delivered(fashion, tmp_path, monkeypatch):
    data, net = fashion
    monkeypatch.setattr(onnx_net, "Pixels", lambda mean, std: Pixels(mean=mean, std=(2 * std[0],)))
    with pytest.raises(ValueError, match="ONNX graph of network .* computes something else than the network: .* by"):
        deliver(tmp_path, net, data)
    assert not (tmp_path / "best.onnx").exists()


def test_every_export_is_checked(tmp_path):
    net = some_net()
    net.blocks[2].register_forward_hook(lambda module, inputs, y: y * 1.5)
    for pixels in (None, Pixels(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))):
        with pytest.raises(ValueError, match="computes something else than the network: its outputs differ by up to"):
            onnx_net.export(SMALL, tmp_path / "net.onnx", net=net, pixels=pixels)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="pixels have 1 means and 1 deviations; network .* reads 3 channels"):
        onnx_net.export(SMALL, tmp_path / "net.onnx", pixels=Pixels(mean=(0.5,), std=(0.2,)))
    net = some_net().train()
    onnx_net.export(SMALL, str(tmp_path / "missing" / "net.onnx"), net=net, pixels=pixels)
    assert net.training
    with pytest.raises(OSError, match="net.onnx/net.onnx") as caught:
        onnx_net.export(SMALL, f"{tmp_path}/missing/net.onnx/net.onnx")
    assert "\n" not in str(caught.value)
