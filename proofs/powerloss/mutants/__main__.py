"""A program with a bug planted in the engine.

python -m proofs.powerloss.mutants MUTANT MODULE ARGUMENT ...
"""

from __future__ import annotations

import runpy
import sys

from proofs.powerloss.mutants import MUTANTS, WITHOUT_A_CRASH

if __name__ == "__main__":
    (MUTANTS | WITHOUT_A_CRASH)[sys.argv[1]].plant()
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
