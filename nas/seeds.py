"""The seeds of trainings: final ones have others than those that networks were chosen by."""

import numpy as np

__all__ = ["final_seed"]


def final_seed(rng_seed: int, repetition: int = 0) -> int:
    """Of a run's final trainings, its `repetition`-th: a function of `rng_seed` alone.

    Samples are trained with the seeds `rng_seed`, `rng_seed` + 1, and so on. A final training with one of them would
    begin with the initial weights and the order of images that its network was chosen by: what was luck would come
    again, and the two accuracies would agree more than two trainings do. This one is a hash, and at least 2^32.
    """
    return 2**32 + int(np.random.SeedSequence((rng_seed, repetition)).generate_state(1)[0])
