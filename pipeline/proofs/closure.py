"""Does the runtime, together with the system, offer every symbol that the models ask for, and is it of their age?

Called by `pipeline.steps.verify`. This is the question an app's linker will ask on another day and another machine; the
usual answer there, "undefined symbol _TVMFFIEnvModRegisterSystemLibSymbol", does not say that two versions of TVM met.
It is asked of the toolchain's own runtime, and of the one that a product ships beside the models: a checkout here, a
wheel there, and two versions of TVM can meet in one app.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from pipeline.binary import abi
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import c_name, defined
from pipeline.documents.runtime import RuntimeManifest
from pipeline.nearest import listed

from .report import Check, failed, not_proven, proven
from .subject import Library, runtime_members
from .system_symbols import LINKER_SYMBOLS, system_symbols


def runtime_symbols(libraries: Mapping[str, str]) -> frozenset[str]:
    """C names exported by the runtime's shared libraries: name -> path, as `wheel.libraries` returns them.

    Raises:
        FormatError: one of them is no shared library.
    """
    return defined(read_object(path.read_bytes(), path.name) for path in map(Path, libraries.values()))


def wanted_symbols(library: Library) -> dict[str, tuple[str, ...]]:
    """C name that the archive needs from elsewhere -> names of the members that refer to it."""
    known = defined(library.members) | LINKER_SYMBOLS
    wanted: dict[str, list[str]] = {}
    for member in library.members:
        for symbol in member.undefined:
            name = c_name(symbol.name, member.format)
            if not symbol.weak and name not in known:
                wanted.setdefault(name, []).append(member.name)
    return {name: tuple(members) for name, members in sorted(wanted.items())}


def offered_symbols(library: Library, runtime: AbstractSet[str]) -> frozenset[str]:
    """What a link is offered: runtime, system, and what is already known to be missing.

    The last are named by `check_closure`; the links are about something else, and need not fail for the same cause.
    """
    return system_symbols(library.backend.platform) | runtime | wanted_symbols(library).keys()


def check_closure(library: Library, libraries: Mapping[str, str], runtime_version: str | None = None) -> Check:
    """Undefined symbols of the archive are a subset of what runtime and system define.

    Where `runtime_version`, the release of TVM whose runtime apps have, is declared, of the names that tell ages it has
    those of its time, whatever the toolchain has. A toolchain may have no libraries of the runtime.
    """
    wanted = wanted_symbols(library)
    if missing_libraries := {"tvm_runtime", "tvm_ffi"} - libraries.keys():
        return not_proven(
            "closure",
            f"the toolchain has no lib{' and no lib'.join(sorted(missing_libraries))} to compare with",
            "install apache-tvm and apache-tvm-ffi in the toolchain's Python",
        )
    runtime = runtime_symbols(libraries)
    if runtime_version is not None:
        runtime = runtime - abi.TABLE.keys() | abi.offered(runtime_version)
    system = system_symbols(library.backend.platform)
    missing = [name for name in wanted if name not in runtime and name not in system]
    if not missing:
        ours = sum(name in runtime for name in wanted)
        return proven(
            "closure", f"{len(wanted)} undefined symbols: {ours} in the TVM runtime, {len(wanted) - ours} in the system"
        )
    return failed("closure", listed([_about(name, library, wanted[name]) for name in missing]), _hint(missing))


def _about(symbol: str, library: Library, members: tuple[str, ...]) -> str:
    model = library.model_of(members[0].partition("(")[2] or members[0])
    who = f"model {model.subject}" if model else members[0]
    hint = f"; models of {abi.releases(abi.TABLE[symbol].asked)} do" if symbol in abi.TABLE else ""
    return f"{symbol} is nowhere ({who} asks{hint})"


def _hint(missing: list[str]) -> str:
    if any(name.startswith("TVM") for name in missing):
        return (
            "compile the models and build the runtime with one version of TVM; build/toolchain/*/probe.json names it. "
            "Where the app has another runtime than the toolchain, declare it: `runtime_version` in targets.yaml"
        )
    return "the model needs another library: name it in the backend's system_libraries, or compile it into the model"


_SHIPPED = "runtime"
_DECLARED = "runtime version"


@dataclass(frozen=True, slots=True)
class Shipped:
    """The libraries of a runtime, as far as models are concerned: their names, and the C names that they offer."""

    libraries: tuple[str, ...]
    defined: frozenset[str]


def read_shipped(folder: Path) -> Shipped:
    """Read the libraries that the step `runtime` left.

    Raises:
        FormatError: one of them is malformed.
    """
    document = RuntimeManifest.read(folder)
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
        return proven(_SHIPPED, f"{saw}; {len(wanted) - ours} in the system")
    if abi.known(missing) and not abi.can_serve(shipped.defined, wanted):
        return failed(_SHIPPED, _ages(wanted, missing, shipped), _OTHER_AGE)
    saw = f"{listed(missing)} is in none of lib{', lib'.join(shipped.libraries)}"
    return failed(_SHIPPED, saw, _OTHER_AGE if any(name.startswith("TVM") for name in missing) else _MORE)


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
