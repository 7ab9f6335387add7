"""`python -m nas_runtime.reference PACKAGE.MODULE:OPTIONS ...`: all options of commands, as Markdown.

    python -m nas_runtime.reference nas.search_options:SearchOptions netadapt.options:NetadaptOptions > options.md

Each is the `nas_runtime.options.CommandOptions` of a command; its options stand there with meanings and defaults.
"""

from nas_runtime.command import page, run_plain
from nas_runtime.registry import Registry

__all__ = ["main"]

_COMMANDS = Registry("command", "platform_aware_nas.commands", {})


def main(arguments: list[str]) -> None:
    if not arguments:
        raise ValueError("name the options of commands, as nas_runtime.reference nas.search_options:SearchOptions")
    print("\n\n".join(page(_COMMANDS.get(name)) for name in arguments))


if __name__ == "__main__":
    run_plain(main)
