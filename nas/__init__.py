"""Finding an architecture: `nas.loop.search`, and what it is made of.

>>> from nas import Trial, controllers, loop, reward

``nas.search`` is the command, ``python -m nas.search``; the function behind it is ``nas.loop.search``.
"""

from typing import TYPE_CHECKING

from nas_runtime.lazy import lazily

if TYPE_CHECKING:
    from nas import controllers, loop, networks, pareto, reward, strategies, testing, tune
    from nas.executor import Executor, SerialExecutor
    from nas.executor_ray import RayExecutor
    from nas.journal import Journal, JournalError
    from nas.objective import Objective
    from nas.trial import Evaluation, Trial

__all__ = [
    "Evaluation",
    "Executor",
    "Journal",
    "JournalError",
    "Objective",
    "RayExecutor",
    "SerialExecutor",
    "Trial",
    "controllers",
    "loop",
    "networks",
    "pareto",
    "reward",
    "strategies",
    "testing",
    "tune",
]

__getattr__ = lazily(
    __name__,
    __all__,
    {
        "executor": ("Executor", "SerialExecutor"),
        "executor_ray": ("RayExecutor",),
        "journal": ("Journal", "JournalError"),
        "objective": ("Objective",),
        "trial": ("Evaluation", "Trial"),
    },
)
