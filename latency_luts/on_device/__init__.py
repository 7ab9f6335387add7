"""Times ONNX graphs with ONNX Runtime on the machine it runs on; in a bundle also files of LiteRT.

This package is the measuring part of `latency_luts` and, copied into a bundle by `latency_luts.bundle`, a program of
its own: it needs Python 3.9, numpy and the runtime, and nothing else, and imports only from itself.

Why it measures as it does. A block that is timed by itself, again and again, finds its weights in the fastest caches;
in a network the other blocks' weights have pushed many of them out. So blocks are timed inside
*chains*: networks through which every block passes several times beside different neighbours, with ONNX Runtime's
profiler, which gives every kernel's time to its block. And a machine's speed changes from moment to moment (other
tenants, clocks): long runs of one graph see one moment, so that graphs take turns in short bursts.

Other programs only ever add to a time, so that of several runs the fastest says what a graph takes by itself. Of a
chain that is each kernel's fastest run, since a program that takes the core away spoils one kernel and not the others.
A whole network may be interrupted in every run; its runs are timed by the CPU time of their thread, which stands still
then.
"""

from .graphs import BURST_RUNS, WARM_RUNS, Graph, Timed, burst, call_times, clock, time_graphs
from .lines import FORMAT, Lines, decode, encode, keep
from .machine import cpu_name, pin, runtime
from .profiles import events, kernel_times, owners, profile_chains
from .weights import SECTION_BYTES, SECTIONS, WEIGHTS, weights_section, write_weights

__all__ = [
    "BURST_RUNS",
    "FORMAT",
    "SECTIONS",
    "SECTION_BYTES",
    "WARM_RUNS",
    "WEIGHTS",
    "Graph",
    "Lines",
    "Timed",
    "burst",
    "call_times",
    "clock",
    "cpu_name",
    "decode",
    "encode",
    "events",
    "keep",
    "kernel_times",
    "owners",
    "pin",
    "profile_chains",
    "runtime",
    "time_graphs",
    "weights_section",
    "write_weights",
]
