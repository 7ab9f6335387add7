"""The supernet: networks of a space computed with shared weights."""

import numpy as np
import pytest
import torch

import latency_luts
from nas.controllers.reinforce import Reinforce
from nas.reward import Reward
from nas.supernet.checkpoint import CheckpointError
from nas.supernet.mixed import Mixtures
from nas.supernet.module import Supernet
from nas.supernet.phases import PHASES, Joint, Phase
from nas.supernet.policy import JointPolicy
from nas.supernet.train import Training
from nas.training import sources
from nas.training.recipe import Recipe
from search_spaces import rewrite, spaces, torch_net
from search_spaces.arch import Arch
from search_spaces.layout import Layout

SPACES = ("mnasnet", "mobilenet_v3")


def small(arch: Arch) -> Arch:
    arch = rewrite.small_image(arch, 28, min_px=2)
    return rewrite.dropout(rewrite.classes(rewrite.in_channels(arch, 1), 10), 0.0)


def make(name: str, **settings: str) -> Supernet:
    layout = Layout(spaces.get(name, base_width=0.35))
    return Supernet(layout, in_ch=1, classes=10, generator=torch.Generator().manual_seed(0), **settings)


@pytest.mark.parametrize("kernels", ["own", "centre"])
@pytest.mark.parametrize("name", SPACES)
def test_a_network_alone_computes_what_it_computes_in_the_supernet(name, kernels):
    supernet = make(name, kernels=kernels).double().eval()
    space = supernet.layout.space
    x = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(1)).double()
    for row in space.sample(np.random.default_rng(0), 10):
        arch = space.decode(row)
        route = supernet.route(arch, small(arch))
        statistics = supernet.calibrate(route, [x])
        net = torch_net.build(small(arch)).double()
        net.load_state_dict(supernet.state_dict_of(route, statistics))
        net.eval()
        with torch.inference_mode():
            alone, shared = net(x), supernet.folded(route, statistics)(x)
            batch = net.train()(x)
            torch.testing.assert_close(shared, alone, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(supernet(x, route), batch, rtol=1e-8, atol=1e-8)


def test_statistics_are_those_of_all_images_together():
    supernet = make("mnasnet").double().eval()
    arch = supernet.layout.space.decode(supernet.layout.space.largest)
    route = supernet.route(arch, small(arch))
    images = torch.randn(40, 1, 28, 28, generator=torch.Generator().manual_seed(1)).double()
    first = next(iter(route.steps)).name  # what the first norm sees does not depend on other statistics
    whole, pieces = (supernet.calibrate(route, batches)[first] for batches in ([images], images.split([20, 12, 8])))
    torch.testing.assert_close(whole[0], pieces[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(whole[1], pieces[1], rtol=0.02, atol=0)  # the variance within batches


# ---- training


def training(
    folder, *, space: str = "mnasnet", steps: int = 12, dropout: float = 0.0, joint: bool | Joint = False, **changes
) -> Training:
    from nas.training.trainer import Trainer

    torch.set_num_threads(1)
    data = sources.load("fashion_mnist_mini", train_images=96)
    recipe = Recipe(steps=steps, batch=16)
    trainer = Trainer(data=data, recipe=recipe, dropout=dropout)
    supernet = make(space)
    networks = supernet.layout.space

    def route(indices):
        arch = networks.decode(indices)
        return supernet.route(arch, trainer.small(arch))

    settings = {
        "supernet": supernet,
        "data": data,
        "recipe": recipe,
        "phases": {name: Phase(share=1, lr=1e-3) for name in PHASES},
        "largest": route(networks.largest),
        "draw": lambda rng: route(networks.sample(rng, 1)[0]),
        "rng_seed": 3,
        "identity": {"space": space},
        "file": folder / "shared.safetensors",
    }
    if joint:
        latency = latency_luts.load("pixel1")
        settings["policy"] = JointPolicy(
            Reinforce(networks, rng_seed=0),
            mixtures=Mixtures(networks, route, supernet.kernels),
            latency_ms=lambda points: latency.latency_ms_batch(networks, points),
            reward=Reward(name="absolute", target_ms=15.8),
            data=data,
            batch=16,
            steps=steps,
            joint=joint if isinstance(joint, Joint) else None,
        )
    return Training(**{**settings, **changes})


ONLY_MIXED = {name: Phase(share=name == "mixed", lr=1e-3) for name in PHASES}


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ({}, [(4, "largest"), (8, "align"), (12, "mixed")]),
        ({"dropout": 0.2, "joint": True}, [(4, "largest"), (8, "align"), (12, "mixed")]),
        ({"space": "mobilenet_v3", "joint": Joint(delay=0.5, warmup=0.5), "phases": ONLY_MIXED}, [(12, "mixed")]),
    ],
)
def test_a_training_in_pieces_ends_as_one_without_a_break(tmp_path, how, ends):
    whole = training(tmp_path / "whole", **how)
    phases = []
    assert whole.run(lambda step, phase, loss: phases.append((step, phase)))
    assert phases == ends
    for _ in range(3):  # 5 + 5 + 2 updates, each time with a new supernet
        again = training(tmp_path / "pieces", **how)
        ended = again.run(stop_after=5)
    assert ended
    for name, weight in whole.supernet.weights.items():
        assert torch.equal(weight, again.supernet.weights[name]), name
    if whole.policy and again.policy:
        np.testing.assert_array_equal(whole.policy.controller.logits, again.policy.controller.logits)
        logits = whole.policy.controller.logits
        assert (logits[np.isfinite(logits)] != 0).any()


def test_nothing_learns_from_a_network_that_was_not_trained(tmp_path):
    phases = {name: Phase(share=name != "largest", lr=1e-3) for name in PHASES}
    with pytest.raises(ValueError, match="gets no update before others learn from it"):
        training(tmp_path, phases=phases).run()


def test_what_a_checkpoint_must_be(tmp_path):
    one = training(tmp_path)
    one.run(stop_after=1)
    with pytest.raises(CheckpointError, match="holds shared weights with space=mnasnet, not mobilenet_v3"):
        training(tmp_path, identity={"space": "mobilenet_v3"}).run()
    one.file.write_bytes(one.file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="is damaged"):
        training(tmp_path).run()


def test_a_training_that_diverges_says_so(tmp_path):
    phases = {name: Phase(share=1, lr=1e30) for name in PHASES}
    with pytest.raises(ValueError, match="diverged after 4 updates; try a lower learning rate"):
        training(tmp_path, phases=phases).run()


@pytest.mark.parametrize("name", SPACES)
def test_nothing_is_wider_than_the_largest_network(name):
    space = spaces.get(name, base_width=0.35)
    layout, arch = Layout(space), space.decode(space.largest)
    largest = dict(zip(layout.positions(arch), arch.blocks, strict=True))
    for position, blocks in layout.blocks.items():
        assert largest[position].out_ch == max(block.out_ch for block in blocks)
