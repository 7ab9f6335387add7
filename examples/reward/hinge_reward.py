"""``ACC - 0.2 × max(0, LAT / TAR - 1)``: the accuracy, less what a network takes beyond the target.

The target is a limit, and slowness has a price that grows with it: the exact penalty function of constrained
optimisation (Nocedal and Wright, Numerical Optimization, section 17.2). Unlike TuNAS's absolute reward
(arXiv:2008.06120, equation 2) it asks nothing for networks that are faster than the target.

    python -m nas.search +target=pixel1_small reward=hinge
    python -m nas.search +target=pixel1_small reward=hinge_reward:hinge      # in this folder
"""

_PRICE = 0.2  # in accuracy, of twice the target's latency


def hinge(top1: float, latency_ms: float, target_ms: float) -> float:
    """The accuracy, less 0.2 for each time that the target is exceeded."""
    return top1 - _PRICE * max(0.0, latency_ms / target_ms - 1)
