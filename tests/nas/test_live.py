"""What a person sees while a search runs."""

import io
import math
import time

from rich.console import Console

from nas.report import plots
from nas.report.live import Live
from nas.reward import Reward
from nas.trial import Trial
from search_spaces import zoo


def test_a_fast_search_does_not_flood_a_log():
    arch = zoo.get("mnasnet_small")
    out = io.StringIO()
    with Live(Console(file=out, width=200), 500, [Reward(name="hard", target_ms=20.0)], every=4) as live:
        for i in range(500):
            top1 = 0.6 if i == 7 else 0.5
            live.on_trial(
                Trial(
                    sample=i, indices=(i,), arch=arch, top1=top1, latency_ms=10.0, reward=top1, status="ok", seconds=0.1
                )
            )
    lines = out.getvalue().splitlines()
    assert [line.split(":")[0].split()[-1] for line in lines if "new best" in line] == ["0", "7"]
    progress = [line for line in lines if "/500 samples" in line]
    assert 2 <= len(progress) < 20  # one a second, not 125
    assert progress[0].startswith("4/500 samples, best 0.5000")
    assert progress[-1].startswith(
        "500/500 samples, best 0.6000: 60.0% at 10.0 ms, lately 0.50 of the target, 1 on the front"
    )


def test_the_best_for_each_of_several_targets():
    out = io.StringIO()
    rewards = [Reward(name="hard", target_ms=ms) for ms in (10.0, 20.0)]
    with Live(Console(file=out, width=200), 4, rewards, every=4) as live:
        for i, (top1, ms) in enumerate([(0.5, 10.0), (0.6, 19.0), (0.51, 9.0), (0.55, 15.0)]):
            live.on_trial(
                Trial(sample=i, indices=(i,), arch=zoo.get("mnasnet_small"), top1=top1, latency_ms=ms, reward=top1)
            )
    lines = out.getvalue().splitlines()
    assert lines[:3] == [
        "sample    0: top-1 50.0%, 10.0 ms  new best for 10.0, 20.0 ms",
        "sample    1: top-1 60.0%, 19.0 ms  new best for 20.0 ms",
        "sample    2: top-1 51.0%, 9.00 ms  new best for 10.0 ms",
    ]
    assert lines[3].startswith(
        "4/4 samples, for 10.0 ms 51.0% at 9.00 ms, for 20.0 ms 60.0% at 19.0 ms, 3 on the front"
    )


def test_the_time_that_is_left_goes_by_the_samples_of_this_call():
    out = io.StringIO()
    trial = Trial(sample=0, indices=(0,), arch=zoo.get("mnasnet_small"), top1=0.5, latency_ms=10.0, reward=0.5)
    with Live(Console(file=out, width=200), 4, [Reward(name="hard", target_ms=20.0)], known=2, every=2) as live:
        for _ in range(2):
            live.on_trial(trial)
        assert out.getvalue().splitlines()[-1].endswith(" 0 s")  # nothing is known of it yet
        time.sleep(0.6)
        live.on_trial(trial)
        live.on_trial(trial)
    assert out.getvalue().splitlines()[-1].endswith(" 1 s, 0 s left")


def test_a_network_whose_latency_is_not_known_is_left_out_of_latencies(tmp_path):
    out = io.StringIO()
    unknown, known = (
        Trial(sample=i, indices=(i,), arch=zoo.get("mnasnet_small"), top1=0.5, latency_ms=ms, reward=0.5, status=status)
        for i, (ms, status) in enumerate([(math.nan, "failed"), (10.0, "ok")])
    )
    with Live(Console(file=out, width=200), 2, [Reward(name="hard", target_ms=20.0)], every=1) as live:
        live.on_trial(unknown)
        live.on_trial(known)
    assert out.getvalue().splitlines()[-1].startswith("2/2 samples, best 0.5000: 50.0% at 10.0 ms, lately 0.50 of the")
    path = tmp_path / "latencies.png"
    plots.plot_latencies(path, [unknown, known] * 20, target_ms=20.0, title="", latency_label="ms")
    assert path.stat().st_size > 1000
