"""Compiles the kernels for wheels, and for the checkout of an editable install.

Where that cannot be done (another kind of machine, no linker, ``VECDB_COMPILE=0``, a failure), the
wheel is pure Python, and that wheel requires numba, which compiles kernels when they are called.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NUMBA = "numba>=0.60"


class Kernels(BuildHookInterface):
    """Hatchling's hook of a build."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What building takes besides hatchling."""
        self._find_compiler_package()
        from kernel_compiler import building, linking

        if not self._wanted() or not building.processors(platform.machine(), this_one=False):
            return []
        return [NUMBA] if linking.compiler() else [NUMBA, "ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what the wheel is; ``version`` is ``standard`` or ``editable``."""
        if self.target_name != "wheel":
            return
        libraries = self._libraries(editable=version == "editable")
        if not libraries:
            build_data["dependencies"].append(NUMBA)
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"cp310-abi3-{self._platform()}"
        build_data["artifacts"].append("vecdb/kernels/compiled/*.so")

    def _libraries(self, *, editable: bool) -> list[Any]:
        self._find_compiler_package()
        from kernel_compiler import building

        wanted = building.processors(platform.machine(), this_one=editable)
        if not self._wanted() or not wanted:
            return []
        try:
            return building.build(wanted)
        except (RuntimeError, OSError) as error:
            self.app.display_warning(f"kernels are not compiled, numba will do it: {error}")
            return []

    def _wanted(self) -> bool:
        return os.environ.get("VECDB_COMPILE") != "0"

    def _find_compiler_package(self) -> None:
        if self.root not in sys.path:
            sys.path.insert(0, self.root)

    def _platform(self) -> str:
        """Of the wheel's name. The libraries ask for no version of libc: any Linux will do."""
        return os.environ.get("VECDB_PLATFORM", f"linux_{platform.machine()}")
