"""A command that measures this machine in fewer turns than it should: `python -m tests.quickly latency_luts.build ...`.

On a busy machine units differ from turn to turn, and are timed again and again: enough for a table, not for a test.
"""

import runpy
import sys

from latency_luts import due, fold

FEWER = {"CONTEXTS": 2, "NETWORK_TURNS": 2, "NETWORK_BURSTS": 2}


def main() -> None:
    _, module, *arguments = sys.argv
    for where in (fold, due):
        for name in FEWER.keys() & vars(where).keys():
            setattr(where, name, FEWER[name])
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
