"""Shared weights that several workers train together."""

import json

from tests.commands.test_commands import command, search


def test_two_workers_one_of_which_dies_train_what_one_process_does(tmp_path):
    settings = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
    done = command("tests.training_together", str(tmp_path), cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["killed"]
    assert [tuple(news[:2]) for news in result["said"]] == [(4, "largest"), (8, "align"), (12, "mixed")]
    assert result["trained"] > 1e-4
    assert result["apart"] < 1e-6
    assert result["logits"] > 0.1
    assert result["logits_apart"] < 1e-4
    assert "the cluster has room for 2" in result["refused"]


def test_workers_need_a_cluster(tmp_path):
    refused = search("evaluator=shared_weights", "executor=serial", "ray.train_workers=2", cwd=tmp_path)
    assert "ray.train_workers=2 takes executor=ray, not serial" in refused.stderr
    refused = search("evaluator=shared_weights", "ray.num_gpus=1.5", "ray.train_workers=2", cwd=tmp_path)
    assert "ray.train_workers takes whole GPUs: ray.num_gpus=1 for each worker, or 0" in refused.stderr
    refused = search("evaluator=shared_weights", "executor=ray", "ray.train_workers=3", cwd=tmp_path)
    assert "ray.train_workers=3 cannot share batches of evaluator.shared.batch=64 evenly" in refused.stderr
