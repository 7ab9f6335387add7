"""Seeds that are functions of a run's: those of final trainings, and of the controllers of several targets."""

import numpy as np

__all__ = ["controller_seed", "final_seed"]


def final_seed(rng_seed: int, repetition: int = 0) -> int:
    """Of a run's final trainings, its `repetition`-th: a function of `rng_seed` alone.

    Samples are trained with the seeds `rng_seed`, `rng_seed` + 1, and so on. A final training with one of them would
    begin with the initial weights and the order of images that its network was chosen by: what was luck would come
    again, and the two accuracies would agree more than two trainings do. This one is a hash, and at least 2^32.
    """
    return 2**32 + int(np.random.SeedSequence((rng_seed, repetition)).generate_state(1)[0])


def controller_seed(rng_seed: int, target: int) -> int:
    """Of the controller for the `target`-th target of a search; the first has the search's own. The others' are hashes:
    with `rng_seed` + 1 the second controller would begin as the first of another search does."""
    return rng_seed if target == 0 else int(np.random.SeedSequence((rng_seed, target, 1)).generate_state(1)[0])
