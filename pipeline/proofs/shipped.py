"""Does the runtime that is shipped beside the models offer every symbol they ask for, and is it of their age?

Called by `pipeline.steps.verify` where the product brings a runtime along. `closure` asks the same of the toolchain's
own runtime, which is a different one: a checkout here, a wheel there, and two versions of TVM can meet in one app.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.binary import abi
from pipeline.binary.symbols import defined
from pipeline.documents.runtime import read_runtime_json

from .closure import wanted_symbols
from .report import Check, failed, listed, not_proven, proven
from .subject import Library, runtime_members
from .system_symbols import system_symbols

NAME = "runtime"
_DECLARED = "runtime version"


@dataclass(frozen=True, slots=True)
class Shipped:
    """The libraries of a runtime, as far as models are concerned.

    Attributes:
        libraries: their names.
        defined: C names they offer.
    """

    libraries: tuple[str, ...]
    defined: frozenset[str]


def read_shipped(folder: Path) -> Shipped:
    """Read the libraries that the step `runtime` left.

    Raises:
        FormatError: one of them is malformed.
    """
    document = read_runtime_json(folder)
    listed_, backend = document.libraries, document.backend
    infos = [info for one in listed_ for info in runtime_members(folder / one.file, backend.arch, shared=one.shared)]
    return Shipped(tuple(one.name for one in listed_), defined(infos))


def check_shipped(library: Library, shipped: Shipped) -> Check:
    """Undefined symbols of the models are a subset of what the shipped runtime and the system define."""
    wanted, system = wanted_symbols(library), system_symbols(library.backend.platform)
    missing = [name for name in wanted if name not in shipped.defined and name not in system]
    if not missing:
        ours = sum(name in shipped.defined for name in wanted)
        saw = f"{ours} of {len(wanted)} undefined symbols are in lib{', lib'.join(shipped.libraries)}"
        return proven(NAME, f"{saw}; {len(wanted) - ours} in the system")
    if abi.known(missing) and not abi.can_serve(shipped.defined, wanted):
        return failed(NAME, _ages(wanted, missing, shipped), _OTHER_AGE)
    saw = f"{listed(missing)} is in none of lib{', lib'.join(shipped.libraries)}"
    return failed(NAME, saw, _OTHER_AGE if any(name.startswith("TVM") for name in missing) else _MORE)


def check_declared(shipped: Shipped, version: str) -> Check:
    """The shipped runtime is of the release that targets.yaml declares, as far as its names tell."""
    age = abi.age_of_runtime(shipped.defined)
    if not age.names:
        return not_proven(_DECLARED, "none of its names tells of which TVM it is", "ship the library with TVM's C API")
    if not age.span.since <= abi.released(version) < age.span.until:
        what = f"the runtime is of {age}; targets.yaml says `runtime_version: {abi.said(version)}`"
        return failed(_DECLARED, what, "correct `runtime_version`, or ship the runtime of that release")
    return proven(_DECLARED, f"{abi.said(version)} is among {abi.releases(age.span)}")


def _ages(wanted: Iterable[str], missing: Iterable[str], shipped: Shipped) -> str:
    """Two generations met: models ask for a function that this runtime does not have."""
    runtime = abi.age_of_runtime(shipped.defined)
    has = f"the runtime is of {runtime}" if runtime.names else "the runtime has no function of the kind"
    return (
        f"the models are of another generation of TVM than the runtime: they are of {abi.age_of_objects(wanted)}, and "
        f"{has}; it lacks {listed(list(abi.known(missing)))}"
    )


_OTHER_AGE = (
    "build models and runtime of one TVM: check out in `runtime.source` the release that build/toolchain/*/probe.json "
    "names, or compile with a toolchain of the checkout's release"
)
_MORE = (
    "build that part of the runtime too (`libraries:` or `options:` of `runtime` in targets.yaml), or name the system "
    "library that has it in the backend's system_libraries"
)
