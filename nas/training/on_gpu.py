"""Training on a GPU without waiting for it: images that stay in its memory, and updates as CUDA graphs.

Networks for small images launch hundreds of tiny kernels an update, and a GPU waits for Python to launch them. Captured
once as a graph, an update is one launch; only the places of its images travel.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Graphed",
    "at_a_time",
    "autocast",
    "exact",
    "gathered",
    "keeps",
    "many_shapes",
    "resident",
    "sent",
    "stream",
]

_MOST_RESIDENT = 0.4  # of the GPU's free memory, for one array
_EAGER = 3  # updates before the capture: they load kernels, and create gradients and the optimizer's state
_CPU_PIXELS = 2**19  # of the images that a CPU classifies at a time
_FEWEST_AT_A_TIME = 16
_SMALL_PX = 32  # images up to this size are small
_resident: dict[tuple[int, str], Tensor] = {}


def keeps(array: np.ndarray, device: str) -> bool:
    """Whether `device` is a GPU that has `array` already, or room to keep it beside what other processes use."""
    if device == "cpu" or (id(array), device) in _resident:
        return device != "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return array.nbytes < _MOST_RESIDENT * free


def resident(array: np.ndarray, device: str) -> Tensor:
    """`array` in the memory of `device`: copied once, and kept as long as the array lives."""
    key = (id(array), device)
    with torch.inference_mode(False):
        if key not in _resident:
            _resident[key] = torch.from_numpy(np.ascontiguousarray(array)).to(device)
            weakref.finalize(array, _resident.pop, key, None)
        return _resident[key]


def sent(array: np.ndarray, device: str) -> Tensor:
    """`array` on its way to `device`; nothing waits for it."""
    return torch.from_numpy(array).pin_memory().to(device, non_blocking=True)


def gathered(images: Tensor, plan: Tensor, crop_px: int) -> Tensor:
    """Images shifted and mirrored, as `nas.training.train.augmented` does it on the CPU.

    Args:
        images: (N, H, W, C) uint8.
        plan: (4, n) int64: which images, rows and columns by which each is shifted, 0 to 2 * crop_px, and whether it is
            mirrored.

    Returns:
        (n, H, W, C) uint8.
    """
    height, width = images.shape[1:3]
    picked, down, right, mirrored = plan
    rows = torch.arange(height, device=images.device) + (down - crop_px)[:, None]
    columns = torch.arange(width, device=images.device).expand(len(picked), width)
    columns = torch.where(mirrored[:, None] == 1, width - 1 - columns, columns) + (right - crop_px)[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return images[picked[:, None, None], rows[:, :, None], columns[:, None, :]] * inside[..., None]


def at_a_time(device: str, resolution_px: int) -> int:
    """How many images are classified at a time: on a CPU as many as its caches like, which is up to twice as fast."""
    if device == "cpu":
        return max(_FEWEST_AT_A_TIME, min(250, _CPU_PIXELS // resolution_px**2))
    return 500 if resolution_px <= _SMALL_PX else 250


@contextmanager
def stream(device: str) -> Iterator[None]:
    """Inside the ``with``, a CUDA stream of its own if `device` is a GPU; what follows waits for it."""
    if device == "cpu":
        yield
        return
    own, outer = _stream(device), torch.cuda.current_stream(device)
    own.wait_stream(outer)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        outer.wait_stream(own)


@cache
def _stream(device: str) -> torch.cuda.Stream:
    """One stream for all trainings of this process: memory that one training frees can only be used again on the same
    stream."""
    return torch.cuda.Stream(device)


def autocast(device: str, resolution_px: int) -> AbstractContextManager:
    """The precision of forward passes: bfloat16 on a GPU for images that are not small. For small ones the many
    conversions take longer than they save, and TF32 does (`many_shapes`)."""
    large = device != "cpu" and resolution_px > _SMALL_PX
    return torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False) if large else nullcontext()


@contextmanager
def many_shapes(device: str, resolution_px: int) -> Iterator[None]:
    """Inside the ``with``, if `device` is a GPU and images are small, products of matrices are in TF32, and cuDNN is
    off: for every shape that it meets for the first time it takes longer than hundreds of such convolutions do
    (`search_spaces.torch_ops.conv2d`)."""
    if device == "cpu" or resolution_px > _SMALL_PX:
        yield
        return
    before = torch.backends.cudnn.enabled, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.enabled, torch.backends.cuda.matmul.allow_tf32 = False, True
    try:
        yield
    finally:
        torch.backends.cudnn.enabled, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Inside the ``with``, if `device` is a GPU, it computes in float32 as CPUs do, without its faster TF32."""
    if device == "cpu":
        yield
        return
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class Graphed:
    """A computation on a GPU that is launched as one CUDA graph, from its fourth call on.

    It must always run on the same stream, not the default one (`stream`).

    Args:
        compute: from a plan (4, n) on the device to a tensor; what it launches must be the same from call to call.
        images: n.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], images: int, device: str) -> None:
        self._compute = compute
        self._plan = torch.zeros((4, images), dtype=torch.int64, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor | None = None
        self._calls = 0

    def __call__(self, plan: np.ndarray) -> Tensor:
        """What `compute` gives for the `plan`, (4, n) int64; the next call overwrites it."""
        self._plan.copy_(torch.from_numpy(plan).pin_memory(), non_blocking=True)
        self._calls += 1
        if self._calls <= _EAGER:
            return self._compute(self._plan)
        if self._graph is None:
            torch.cuda.empty_cache()  # what graphs before this one held
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._result = self._compute(self._plan)
            finally:
                graph.capture_end()
            self._graph = graph
        self._graph.replay()
        assert self._result is not None
        return self._result
