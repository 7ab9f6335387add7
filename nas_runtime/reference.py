"""`python -m nas_runtime.reference [COMMAND ...]`: all options of commands, their meanings and defaults, as Markdown.

    python -m nas_runtime.reference > options.md
    python -m nas_runtime.reference nas.search

A command of one's own is named by its options: ``my_package:MyOptions``.
"""

from nas_runtime.command import page, run_plain
from nas_runtime.registry import Registry

__all__ = ["COMMANDS", "main"]

COMMANDS = Registry(
    "command",
    "platform_aware_nas.commands",
    {
        "nas.search": "nas.search_options:SearchOptions",
        "netadapt.run": "netadapt.options:NetadaptOptions",
        "latency_luts.build": "latency_luts.options:BuildOptions",
        "latency_luts.bundle": "latency_luts.options:BundleOptions",
        "latency_luts.validate": "latency_luts.options:ValidateOptions",
        "latency_luts.calibrate": "latency_luts.options:CalibrateOptions",
        "latency_luts.import_table": "latency_luts.options:ImportOptions",
        "latency_luts.show": "latency_luts.options:ShowOptions",
    },
)
"""The options of commands, by the command's name."""


def main(arguments: list[str]) -> None:
    print("\n\n".join(page(COMMANDS.get(name)) for name in arguments or COMMANDS.shipped))


if __name__ == "__main__":
    run_plain(main)
