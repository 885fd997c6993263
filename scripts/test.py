"""Set up everything the tests need, then run them: `python scripts/test.py [pytest arguments]`.

Without arguments the whole suite runs, a real ComfyUI server and a real browser included.
The browser is Chromium from the system's packages (`apt-get install chromium` on Debian).
"""

from __future__ import annotations

import os
import sys

import environment


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__ + "\nEverything after the command goes to pytest; `--co -q` lists the tests.")
        return
    where = environment.enter("test")
    print(f"Running the tests with {where.python}, ComfyUI in {where.comfyui}", flush=True)
    os.chdir(environment.ROOT)
    os.execv(where.python, [str(where.python), "-m", "pytest", *sys.argv[1:]])


if __name__ == "__main__":
    main()
