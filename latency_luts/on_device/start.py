"""Measures the bundle that this file lies in; it goes there as ``on_device.py``, beside its package.

    python on_device.py [out=measured.jsonl] [core=3] [again=busy] [adb=benchmark_model]

``again=busy`` measures once more what was measured while other programs slowed the machine down. With ``adb=`` a bundle
of LiteRT is measured on the Android phone that ``adb`` reaches, by LiteRT's program ``benchmark_model`` for it.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    sys.path.insert(0, str(folder))  # which `python -I` leaves out
    try:
        from on_device.program import main  # pyright: ignore[reportMissingImports]

        main(sys.argv[1:], folder)
    except ImportError as e:
        name = (e.name or "").partition(".")[0]
        remedy = f"install it for this Python: {sys.executable} -m pip install {name.replace('_', '-')}"
        sys.exit(f"error: {e}; {'unzip the bundle again' if name == 'on_device' else remedy}")
    except KeyboardInterrupt:
        sys.exit("interrupted; run it again to continue")
