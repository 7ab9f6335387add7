"""Spaces that controllers are tested on."""

from nas.testing.controllers import conditional_space, small_space

__all__ = ["conditional_space", "small_space"]
