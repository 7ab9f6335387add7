"""`Modelled`: what controllers with a model can be told, the same for all."""

from collections.abc import Callable, Sequence

import numpy as np

from nas.controllers.model import Model
from nas.controllers.proposals import Proposals
from nas.controllers.region import Region

__all__ = ["Modelled"]


class Modelled:
    """The part of a controller that passes on what is known to its model and its proposals."""

    _model: Model
    _proposals: Proposals

    @property
    def has_model(self) -> bool:
        """Whether it learns from any network, not only from what it proposed."""
        return True

    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]) -> None:
        """See `Model.inform`."""
        self._model.inform(latency_ms, reward)

    def recall(self, searches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """See `Model.recall`."""
        self._model.recall(searches)

    def restrict(self, region: Region) -> None:
        """From now on, points of the region only (`nas.controllers.region`)."""
        self._proposals.restrict(region)
