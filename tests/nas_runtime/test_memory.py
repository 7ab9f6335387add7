"""Memory that is freed stays with the process."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import numpy as np
from nas_runtime.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
    assert keep_freed_memory()  # again does no harm
for turn in range(6):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2**23) for _ in range(2)]  # 64 MiB each
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_large_arrays_are_not_fetched_from_the_system_again():
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    given_back = faults("given back")
    assert faults("kept") < given_back / 10
