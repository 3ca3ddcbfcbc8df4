"""The OpenCL runtime of a checkout of TVM, as a shared library beside the runtime in the toolchain's package.

The package generates OpenCL and has no runtime for it. Two files of a checkout and one of ours are compiled against the
package's own headers, so what fits is seen by the compiler. The runner `twin` calls it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.action import Tool
from pipeline.errors import StepError, ToolMissing
from pipeline.files import hash_path, sha256_bytes
from pipeline.files.locks import locked
from pipeline.process import run as run_program
from pipeline.process import state_of

from . import wheel
from .wheel import Packages

PACKAGE_DATA = "native/opencl"

OURS = Path(__file__).parent / "opencl" / "extensions.cc"
_THEIRS = "src/backend/opencl/runtime"
_SOURCES = ("opencl_device_api.cc", "opencl_module.cc")
_STANDARD = ("-std=c++20", "-O1", "-fPIC", "-shared", "-DCL_TARGET_OPENCL_VERSION=220")


def build(
    checkout: Tool, compiler: Tool, packages: Packages, runtime: Sequence[Path], *, home: Path, log: Path
) -> Path:
    """Build the library; one that is in `home`, a directory that is kept, for the same of all of this is taken.

    It is linked with the libraries of the packages that are the runtime.

    Raises:
        ToolMissing: the checkout is of another TVM than the packages, or of none.
    """
    sources = [checkout.path / _THEIRS / name for name in _SOURCES]
    lacking = next((path for path in sources if not path.is_file()), None)
    if lacking is not None:
        raise ToolMissing(f"the checkout of TVM has no {lacking.relative_to(checkout.path)}", hint=_fitting(packages))
    linked = [str(state_of(path)) for path in runtime]  # a package that is installed anew keeps its path and version
    identity = [
        checkout.version,
        compiler.version,
        hash_path(OURS),
        *sorted(packages.folders.values()),
        *sorted(packages.versions.values()),
        *linked,
    ]
    out = home / f"libtvm_runtime_opencl-{sha256_bytes(chr(0).join(identity).encode())[:16]}.so"
    # The package has no headers but its runtime's; what these include besides comes from the checkout.
    folders = [f"-I{checkout.path / name}" for name in ("include", "3rdparty/compiler-rt", ".")]
    made = out.with_suffix(".new")
    words: list[str | Path] = [compiler.path, *_STANDARD, *wheel.includes(packages), *folders]
    with locked(home / "lock"):
        if out.is_file():
            return out
        try:
            run_program([*words, *sources, OURS, *runtime, "-lOpenCL", "-o", made], log=log)
        except StepError as error:
            said = re.search(r"(?:fatal )?error: (.+)", error.what)
            what = "the OpenCL runtime of the checkout does not compile with the headers of the toolchain's package"
            raise ToolMissing(f"{what}: {said[1] if said else error.what}", hint=_fitting(packages)) from error
        made.replace(out)
    return out


def _fitting(packages: Packages) -> str:
    return f"let TVM_SOURCE_DIR name a checkout of TVM {packages.version or 'of the release'}"
