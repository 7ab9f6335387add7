"""A network that several workers train."""

import json

import pytest

from tests.commands.test_commands import command


def test_two_workers_one_of_which_dies_train_what_one_process_does(tmp_path):
    """With the same micro-batches: within rounding, which sums over workers in another order."""
    settings = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
    done = command("tests.full_training_together", str(tmp_path), cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["killed"]
    assert result["trained"] > 0.01
    assert result["apart"] < 1e-6
    assert result["losses"][0] == pytest.approx(result["losses"][1], rel=1e-5)
    assert len(result["losses"][0]) == 3
    assert result["top1s"][0] == result["top1s"][1]
    assert result["result"] == result["top1s"][1][-1]
    assert result["said"] == 2
    tries, why = result["hopeless"]
    assert 1 <= tries <= 3  # not 51: it would fail again
    assert why == "the training of the network failed: 17.png is gone"
