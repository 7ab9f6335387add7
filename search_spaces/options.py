"""The options of a search space, for all commands that have one."""

from typing import Annotated

from pydantic import Field

from nas_runtime.kinds import named_in
from nas_runtime.options import Options
from search_spaces import spaces

__all__ = ["Space"]


class Space(Options):
    """Which networks there are to choose from."""

    name: Annotated[str, named_in(spaces.SPACES)] = Field(description="of the search space")
    base_width: float = Field(
        gt=0, le=4, description="width multiplier of all networks; a target chooses one with which it can be reached"
    )
    resolution_px: int | None = Field(
        ge=32, le=4096, description="height and width of the images that latencies are for; null: 224"
    )
    classes: int | None = Field(
        ge=2, le=1_000_000, description="classes that latencies are for; null: as many as the data has"
    )

    @property
    def px(self) -> int:
        """Height and width of the images that latencies are for."""
        return 224 if self.resolution_px is None else self.resolution_px
