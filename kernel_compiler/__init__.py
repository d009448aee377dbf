"""Compiles ``vecdb.kernels`` when vecdb is built, so that no search needs numba or LLVM.

Numba types, lowers and optimizes the kernels as it would when they are called. Its result, entries
that Python calls, and sixty lines of runtime become one extension module for each `Processor`: no
C compiler's headers, no version of Python or libc is in it.

    vecdb/kernels/*.py -> numba -> LLVM modules -> `library` -> object -> `linking` -> .so
                                   + `entries`, `runtime`, `exceptions`

A build hook (``hatch_build.py``) calls `build`. By hand: ``python -m kernel_compiler``. Nothing of
this package is installed.
"""
