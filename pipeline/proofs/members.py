"""Is every object of an archive for the system it is meant for, and is every model whole in it?

`pipeline.steps.verify` calls the checks on a `Library`, whose members `pipeline.binary` has read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from pipeline.binary.conformance import hint as hint_for
from pipeline.binary.conformance import mismatch
from pipeline.binary.object_info import ObjectInfo
from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL, GENERATIONS, ModelSymbols, c_name, find_models
from pipeline.errors import FormatError
from pipeline.kits.link_flags import ANDROID_PAGE_SIZE
from pipeline.nearest import listed

from .report import Check, counted, failed, proven
from .subject import Library


def check_members(library: Library) -> Check:
    """Format, architecture, platform and minimum OS of every member equal the backend's."""
    backend = library.backend
    wrong = [f"{member.name} {problem}" for member in library.members if (problem := mismatch(member, backend))]
    if not library.members:
        return failed("members", f"{library.path.name} is empty", "rebuild the archive: doit archive:" + backend.name)
    if wrong:
        return failed("members", listed(wrong), hint_for(backend, backend.triple))
    system = f", {backend.platform} {backend.deployment_target}" if backend.format == "macho" else ""
    return proven("members", f"{len(library.members)} objects, all {backend.format} {backend.arch}{system}")


def check_symbols(library: Library) -> Check:
    """Every expected model is there, both halves, in today's generation; no other model, and no name twice."""
    try:
        models = {model.prefix: model for model in find_models(library.members)}
    except FormatError as error:
        return failed("symbols", error.what, error.hint or _TWICE)
    expected = {model.prefix: model for model in library.models}
    if missing := [f"{expected[prefix].subject} ({prefix})" for prefix in expected if prefix not in models]:
        return failed("symbols", f"no library_bin symbol of {listed(missing)}", _MISSING)
    if strangers := sorted(models.keys() - expected.keys()):
        return failed("symbols", f"holds models nobody asked for: {listed(strangers)}", _STRANGER)
    if twice := list(_duplicates(library)):
        return failed("symbols", f"defined more than once: {listed(twice)}", _TWICE)
    problems = [
        f"{expected[prefix].subject} {problem}"
        for prefix, model in models.items()
        for problem in _half_a_model(library, model)
    ]
    if problems:
        return failed("symbols", listed(problems), _MISSING)
    functions = sum(len(model.functions) for model in models.values())
    holds = f"{counted(len(models), 'model')}, {counted(functions, 'function')}"
    saw = f"{holds}, generation {GENERATIONS[0].name} ({GENERATIONS[0].blob_suffix})"
    return proven("symbols", saw)


_MISSING = (
    "compile it with system_lib=True and system_lib_prefix, with this toolchain; a prebuilt model must bring both of "
    "its objects (lib0.o and <prefix>devc.o)"
)
_STRANGER = "a prebuilt model brings more than its own prefix: give it a `prefix` of its own, or remove the objects"
_TWICE = "give each model a prefix of its own in targets.yaml"


def _half_a_model(library: Library, model: ModelSymbols) -> Iterator[str]:
    """What is missing of a model whose blob is there."""
    if model.generation is not GENERATIONS[0]:
        today = GENERATIONS[0].name
        yield f"is of generation {model.generation.name} ({model.generation.blob_suffix}), the flags are for {today}"
    if model.host_object is None:
        yield "has a blob and no object with its functions"
        return
    halves = {model.blob_object, model.host_object}
    have = sum(member.constructors or 0 for member in library.members if member.name in halves)
    if have < CONSTRUCTORS_PER_MODEL:
        yield f"has {have} of {CONSTRUCTORS_PER_MODEL} constructors"


def _duplicates(library: Library) -> Iterator[str]:
    """Strong names with more than one definition: an error in any link that takes all members."""
    strong = Counter(symbol.name for member in library.members for symbol in member.defined if not symbol.weak)
    for name, count in sorted(strong.items()):
        if count > 1:
            yield c_name(name, library.backend.format)


def check_pages(linked: ObjectInfo) -> Check:
    """LOAD segments of a linked Android library are aligned to the pages of every device."""
    if linked.load_alignment is None or linked.load_alignment < ANDROID_PAGE_SIZE:
        saw = f"LOAD segments are aligned to {linked.load_alignment}, devices with 16 KiB pages refuse that"
        return failed("pages", saw, f"link with -Wl,-z,max-page-size={ANDROID_PAGE_SIZE}")
    return proven("pages", f"LOAD segments are aligned to {linked.load_alignment}")


def check_imports(linked: ObjectInfo, offered: AbstractSet[str]) -> Check:
    """A linked WebAssembly module asks for functions only, and only for those that the web runtime and libc have.

    The web runtime is TVM's C runtime compiled for wasm32: it offers what the native one of the same version does.
    """
    strange = [
        f"{found.module}.{found.name} ({found.kind})"
        for found in linked.imports
        if (found.module, found.kind) != ("env", "function") or found.name not in offered
    ]
    if strange:
        hint = (
            "TVM's web linker does not complain of these, the browser does: compile with the runtime's version of TVM"
        )
        return failed("imports", f"asks for {listed(strange)}", hint)
    return proven("imports", f"{len(linked.imports)} functions, all of the web runtime or libc")
