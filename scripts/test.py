"""Set up everything the tests need, then run them: `python scripts/test.py [pytest arguments]`.

Without arguments the whole suite runs, a real ComfyUI server and a real browser included.
The browser is Chromium from the system's packages (`apt-get install chromium` on Debian).
"""

from __future__ import annotations

import subprocess
import sys

import environment


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__ + "\nEverything after the command goes to pytest; `--co -q` lists the tests.")
        return 0
    where = environment.enter("test")
    command = [str(where.python), "-m", "pytest", *sys.argv[1:]]
    print(f"Running the tests with {where.python}, ComfyUI in {where.comfyui}", flush=True)
    return subprocess.run(command, cwd=environment.ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main())
