"""Keeps what a command of this project prints, and says where it is from. `python -m experiments.record`

    python -m experiments.record name=search_pixel1_small picture=runs/my_search/pareto.png \\
        command="nas.search +target=pixel1_small w=-0.15 run_dir=runs/my_search"

Writes experiments/results/<name>.txt, and a picture that the command makes as <name>.png beside it. `seeds=` says which
random numbers it took where the command does not say `rng_seed=`.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from experiments import options, provenance, tables
from nas_runtime.files import check_name, write_text

DEFAULTS = {"name": "", "command": "", "picture": "", "seeds": ""}


def main() -> None:
    given = options.read(DEFAULTS, needed=["name", "command"])
    words = shlex.split(given["command"])
    check_name(given["name"], "name")
    printed = []
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if process.returncode:
        sys.exit(process.returncode)
    seeds = given["seeds"] or next((word for word in words if word.startswith("rng_seed=")), "rng_seed=0")
    origin = provenance.of(seeds, packages=("torch", "numpy", "onnxruntime"), command=f"python -m {shlex.join(words)}")
    path = tables.RESULTS / f"{given['name']}.txt"
    write_text(path, provenance.header(origin) + "".join(printed))
    if given["picture"]:
        shutil.copy(Path(given["picture"]), path.with_suffix(".png"))


if __name__ == "__main__":
    options.run(main)
