#!/usr/bin/env bash
# numba 0.68.1: mean() and var() of a float32 array are far from NumPy's, which the same code calls uncompiled.
#
# Seen: a million float32 numbers drawn around 10,000 with a variance of 1 have, in a compiled function,
# a mean of 10,131 and a variance of 17,097, although none of them is above 10,005. The sum is kept
# in float32 and added to number by number, so that beyond 2^24 each addition is rounded.
# Both results are float64, which looks like more precision than NumPy's float32.
# Expected: what NumPy says, 10,000 and 1.00; or a mean that is between the least and the largest.
# Exits 0 while it is so, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numba==0.68.1 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numba
import numpy as np


def moments(numbers):
    return numbers.mean(), numbers.var()


numbers = (10_000 + np.random.default_rng(0).standard_normal(1_000_000)).astype(np.float32)
print(f"all numbers are between {numbers.min():.1f} and {numbers.max():.1f}")
mean, variance = moments(numbers)
print(f"NumPy: mean {mean:.2f}, variance {variance:.4f}")
compiled_mean, compiled_variance = numba.njit(moments)(numbers)
print(f"numba: mean {compiled_mean:.2f}, variance {compiled_variance:.4f} "
      f"({type(compiled_variance).__name__})")
so = compiled_mean > numbers.max() and compiled_variance > 1000 and abs(variance - 1) < 0.1
sys.exit(0 if so else 1)
PYTHON
