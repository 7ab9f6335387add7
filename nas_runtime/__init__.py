"""What the other packages stand on and what knows no networks: options, files, records, runs, what is chosen by name.

>>> from nas_runtime import Registry, Run
"""

from typing import TYPE_CHECKING

from nas_runtime.lazy import lazily

if TYPE_CHECKING:
    from nas_runtime.options import Options
    from nas_runtime.records import Records
    from nas_runtime.registry import Registry
    from nas_runtime.run import Run

__all__ = ["Options", "Records", "Registry", "Run"]

__getattr__ = lazily(
    __name__,
    __all__,
    {"options": ("Options",), "records": ("Records",), "registry": ("Registry",), "run": ("Run",)},
)
