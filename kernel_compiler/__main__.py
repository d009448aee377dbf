"""Compiles all kernels for one processor to an object file, or whole libraries.

python -m kernel_compiler                for this machine's processor, into the checkout
python -m kernel_compiler avx2 OBJECT    what the line above does in a process of its own
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
from pathlib import Path

from kernel_compiler import building


def main() -> None:
    known = building.module_alone("processors").PROCESSORS
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("processor", nargs="?", choices=[processor.name for processor in known])
    parser.add_argument("object", nargs="?", type=Path)
    arguments = parser.parse_args()
    if importlib.util.find_spec("numba") is None:
        parser.exit(2, "kernels are compiled by numba: pip install -e '.[jit]'\n")
    if arguments.processor is None:
        for path in building.build(building.processors(platform.machine(), this_one=True)):
            print(path)
        return
    if arguments.object is None:
        parser.error("expected the name of an object file to write")
    [processor] = [processor for processor in known if processor.name == arguments.processor]
    features = [f"+{name}" for name in processor.features]
    words = ",".join([*features, *filter(None, [processor.tuning])])
    os.environ.update(NUMBA_CPU_NAME=processor.cpu, NUMBA_CPU_FEATURES=words, VECDB_KERNELS="jit")
    if processor.machine != platform.machine():
        from kernel_compiler import foreign

        foreign.prepare(processor.machine, processor.cpu, words)
    from kernel_compiler import library

    arguments.object.write_bytes(library.emit(building.SOURCES, processor.cpu, words))


main()
