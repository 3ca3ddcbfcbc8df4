"""Compares what an app holds with what it ought to hold, and tells the ways to break it apart.

`judge` is pure: `Contents` and `Expected` in, `Report` out. Each finding has a state of a fixed set, which `report`
prints and other programs may read, what was seen, and the cure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL, GENERATIONS, Generation

from . import cures
from .contents import Claim, Contents, claim_on
from .evidence import Evidence, models_in
from .expectations import Expected
from .images import Image
from .traces import LOADERS, VM_KINDS

ModelState = Literal["alive", "stripped", "half", "not-linked", "wrong-name", "unreadable"]
"""`stripped`: registers itself, and no name of it is left to find it by. `half`: one of its two constructors is gone.
`wrong-name`: the app asks for a name that is not there, and another model is there that nobody asks for."""
CheckState = Literal["ok", "wrong", "unknown"]

_SIMILAR = 0.6


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """One expected model on one processor (`arch` is None where no binary is for any).

    Attributes:
        model: what people call it.
        prefix: its `system_lib_prefix`.
        source: where it is expected.
        arch: the processor.
        state: see `ModelState`.
        evidence: what was found of it, in the image where most was found.
        saw: for people.
        cure: None where it is alive.
    """

    model: str
    prefix: str
    source: str
    arch: str
    state: ModelState
    evidence: Evidence | None
    saw: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """A question about the app as a whole or one image: `platform`, `runtime` or `registration`."""

    check: str
    state: CheckState
    where: str
    saw: str
    cure: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything there is to say. `found` are the models in the app, expected or not."""

    contents: Contents
    sources: tuple[str, ...]
    models: tuple[ModelVerdict, ...]
    checks: tuple[CheckVerdict, ...]
    found: tuple[Evidence, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong. What could not be found out is not wrong."""
        return all(model.state == "alive" for model in self.models) and all(c.state != "wrong" for c in self.checks)


def judge(contents: Contents, expected: Sequence[Expected], *, allow_stripped: bool = False) -> Report:
    """Compare.

    Args:
        contents: the app.
        expected: of the command line or targets.yaml. What the app's own lists ask for is added.
        allow_stripped: count a model that registers itself as alive although no name of it is left.
    """
    platforms = frozenset().union(*(image.platforms or _guessed(image) for image in contents.images))
    wanted = _merged([model for model in (*expected, *contents.config) if model.is_for(platforms)])
    prefixes = frozenset(prefix for model in wanted for prefix in model.prefixes)
    by_image = [models_in(image, prefixes) for image in contents.images]
    found = tuple(evidence for models in by_image for evidence in models.values())
    sought = _Sought(contents, found, wanted)
    models = [sought.verdict(model, arch, allow_stripped) for model in wanted for arch in _processors(contents, found)]
    if not wanted:  # nothing to compare with: what is there must at least be whole
        models = [sought.whole(evidence, allow_stripped) for evidence in found]
    checks = [*_for_nobody(expected, wanted, platforms), *_platforms(contents)]
    checks += [*_registrations(contents, found), *_runtime(contents, found)]
    sources = tuple(dict.fromkeys(model.source for model in (*expected, *contents.config)))
    return Report(contents, sources, tuple(models), tuple(checks), found)


def _guessed(image: Image) -> frozenset[str]:
    """ELF has no word for its platform."""
    return frozenset({"linux", "android"}) if image.format == "elf" else frozenset()


def _merged(models: Iterable[Expected]) -> list[Expected]:
    """One entry a model: who names it first speaks for it."""
    merged: dict[str, Expected] = {}
    for model in models:
        if not any(prefix in merged for prefix in model.prefixes):
            merged |= dict.fromkeys(model.prefixes, model)
    return list(dict.fromkeys(merged.values()))


def _processors(contents: Contents, found: Iterable[Evidence]) -> list[str]:
    """Processors that the models must be there for: those of the program, or of whatever has models."""
    programs = {image.arch: None for image in contents.images if image.path in contents.programs}
    holders = {evidence.image.arch: None for evidence in found}
    return list(programs or holders or {image.arch: None for image in contents.images})


@dataclass(frozen=True, slots=True)
class _Sought:
    """What is there and what is wanted, for deciding about one model."""

    contents: Contents
    found: tuple[Evidence, ...]
    wanted: Sequence[Expected]

    def verdict(self, model: Expected, arch: str, allow_stripped: bool) -> ModelVerdict:
        """Decide about one expected model on one processor."""
        here = [e for e in self.found if e.prefix in model.prefixes and e.image.arch == arch]
        best = max(here, key=lambda evidence: evidence.rank, default=None)
        prefix = best.prefix if best else model.prefixes[0]
        if best is not None:
            state, saw, cure = _about(best, self._table(best.image), model, allow_stripped=allow_stripped)
        else:
            state, saw, cure = self._missing(model, arch)
        return ModelVerdict(model.name, prefix, model.source, arch, state, best, saw, cure)

    def whole(self, evidence: Evidence, allow_stripped: bool) -> ModelVerdict:
        """Decide about a model that is there and that nobody asked for."""
        model = Expected(evidence.prefix, (evidence.prefix,), "found")
        table = self._table(evidence.image)
        state, saw, cure = _about(evidence, table, model, allow_stripped=allow_stripped)
        return ModelVerdict(evidence.prefix, evidence.prefix, "found", evidence.image.arch, state, evidence, saw, cure)

    def _table(self, image: Image) -> tuple[int | None, int]:
        """(entries of an image's start-up table, those its models need)."""
        registering = sum(evidence.registers for evidence in self.found if evidence.image is image)
        return image.constructors, CONSTRUCTORS_PER_MODEL * registering

    def _missing(self, model: Expected, arch: str) -> tuple[ModelState, str, str]:
        images = [image for image in self.contents.images if image.arch == arch]
        programs = [image for image in images if image.path in self.contents.programs] or images
        image = programs[0]
        macho = image.format == "macho"
        if image.encrypted:
            return _unreadable(image)
        claimed = {prefix for other in self.wanted for prefix in other.prefixes}
        others = sorted({e.prefix for e in self.found if e.image.arch == arch and e.prefix not in claimed})
        listed = ", ".join(other.removesuffix("_") for other in others)
        nearest = difflib.get_close_matches(model.prefixes[0], others, 1, _SIMILAR)
        nothing = "neither its constructors nor its symbols are there"
        if model.asked is not None and nearest:
            name = nearest[0].removesuffix("_")
            saw = f"{model.source} asks for {model.asked}; the nearest that is there is {name}"
            return "wrong-name", saw, cures.rename(name, model.source)
        if others and model.asked is None:
            return "not-linked", f"{nothing}; other models are: {listed}", cures.same_build()
        saw = f"{nothing}; models that are there and nobody asks for: {listed}" if others else nothing
        archive = model.archives.get(image.platform or "")
        return "not-linked", saw, cures.force_load(image.platform, archive, macho=macho)


def _about(
    evidence: Evidence, table: tuple[int | None, int], model: Expected, *, allow_stripped: bool
) -> tuple[ModelState, str, str | None]:
    """(state, what was seen, cure) of a model of which something is there."""
    image = evidence.image
    macho = image.format == "macho"
    archive = model.archives.get(image.platform or "")
    entries, needed = table
    if not evidence.registers:
        if image.encrypted:
            return _unreadable(image)
        return "half", _half(evidence), cures.whole_model(evidence.prefix, image.platform, archive, macho=macho)
    if entries is not None and entries < needed:
        saw = f"the start-up table has {entries} entries, the models need {needed}"
        return "half", saw, cures.start_up_table()
    count = f"both constructors, {evidence.functions} functions"
    if evidence.visible:
        if not evidence.listed:
            count += "; stripped from the symbol table (nm does not list it), dlsym finds it"
        return "alive", count, None
    if allow_stripped:
        return "alive", f"{count}; registers itself, no symbol is left", None
    saw = f"{count}: it registers itself, but its symbol is in neither the symbol table nor the exports"
    return "stripped", saw, cures.keep_symbols(evidence.prefix, evidence.generation or GENERATIONS[0], macho=macho)


def _half(evidence: Evidence) -> str:
    if evidence.blob:
        return "the blob registers itself, the constructor of the functions is gone"
    if evidence.host:
        return f"{evidence.functions} functions register themselves, the constructor of the blob is gone"
    return "its symbol is there, and neither of its constructors"


def _unreadable(image: Image) -> tuple[ModelState, str, str]:
    return "unreadable", f"{image.path} is encrypted: its constants cannot be read", cures.not_encrypted()


def _for_nobody(
    expected: Sequence[Expected], wanted: Sequence[Expected], platforms: frozenset[str]
) -> Iterator[CheckVerdict]:
    """A build that has models, and none for this system."""
    if expected and not wanted:
        built = sorted(frozenset().union(*(model.platforms or frozenset() for model in expected)))
        saw = f"{expected[0].source} has no model for {' or '.join(sorted(platforms))}, only for {', '.join(built)}"
        yield CheckVerdict(
            "platform", "wrong", expected[0].source, saw, "add a backend for that system, and link its part"
        )


def _platforms(contents: Contents) -> Iterator[CheckVerdict]:
    """Every binary is for the system that the property list around it names."""
    fine: dict[tuple[str, Claim], int] = {}
    for image in contents.images:
        claim = claim_on(image, contents.claims)
        if image.format != "macho":
            continue
        if len(image.platforms) > 1:
            saw = f"holds objects for {' and '.join(sorted(image.platforms))}"
            cure = "build one archive a platform, and put them into one xcframework"
            yield CheckVerdict("platform", "wrong", image.path, saw, cure)
        elif claim is None or image.platform is None:
            continue
        elif image.platform in claim.platforms:
            fine[image.platform, claim] = fine.get((image.platform, claim), 0) + 1
        else:
            saw = f"its {image.arch} slice is for {image.platform}; {claim.root} is not: {claim.says}"
            yield CheckVerdict("platform", "wrong", image.path, saw, cures.right_slice(sorted(claim.platforms)))
    for (platform, claim), count in fine.items():
        yield CheckVerdict("platform", "ok", claim.root, f"{count} slices for {platform}, as {claim.says} says")


def _registrations(contents: Contents, found: Sequence[Evidence]) -> Iterator[CheckVerdict]:
    """The function by which models register comes from somewhere: this is where generations of TVM fail to meet."""
    offered = frozenset().union(*(image.exported | image.listed for image in contents.images))
    runtimes = sorted({name for g in GENERATIONS for name in g.registrations if name in offered})
    for image in {id(e.image): e.image for e in found}.values():
        for name in sorted(image.registrations - offered):
            asks = f"the models ask for {name} ({_since(name)})"
            if runtimes:
                saw = f"{asks}, the runtime here has {' and '.join(runtimes)} ({_since(runtimes[-1])})"
            elif contents.complete:
                saw = f"{asks}, and no library in the app has it"
            else:
                cure = "give the whole app, or the library together with the runtime it loads"
                yield CheckVerdict("registration", "unknown", image.path, f"{asks}, which is not in this file", cure)
                continue
            yield CheckVerdict("registration", "wrong", image.path, saw, cures.rebuild_together())


def _since(registration: str) -> str:
    names = {
        "TVMBackendRegisterSystemLibSymbol": "TVM before 2025-08-17",
        "TVMFFIEnvRegisterSystemLibSymbol": "TVM of 2025-08-17 to 2025-08-20",
    }
    return names.get(registration, "TVM since 2025-08-20")


def _runtime(contents: Contents, found: Sequence[Evidence]) -> Iterator[CheckVerdict]:
    """There is a loader for every kind of module in the models."""
    images = [image for image in contents.images if image.linked]
    loaders = frozenset().union(*(image.traces.loaders for image in images))
    families = frozenset().union(*(image.traces.families for image in images))
    linked = [evidence for evidence in found if evidence.image.linked and evidence.blob]
    if not linked:
        return
    kinds: dict[str, Evidence] = {}
    for evidence in linked:
        # A blob of an older layout cannot be read; its first module is what every model begins with.
        for kind in evidence.kinds or (VM_KINDS[1 if evidence.generation is GENERATIONS[-1] else 0],):
            kinds.setdefault(kind, evidence)
    missing = {kind: e for kind, e in kinds.items() if not any(f + kind in loaders for f in _families(e.generation))}
    if not missing:
        yield CheckVerdict("runtime", "ok", contents.name, f"has loaders for {', '.join(sorted(kinds))}")
    for kind, evidence in missing.items():
        yield _no_loader(contents, kind, evidence, loaders, families)


def _no_loader(
    contents: Contents, kind: str, evidence: Evidence, loaders: frozenset[str], families: frozenset[str]
) -> CheckVerdict:
    image = evidence.image
    macho = image.format == "macho"
    wanted = _families(evidence.generation)[0] + kind
    others = sorted(name for name in loaders if name.endswith(f"{kind}") or name.rpartition("_")[2] in VM_KINDS)
    if families and not families & set(_families(evidence.generation)):
        model = _age(_families(evidence.generation))
        saw = f"no {wanted}: the runtime is of {_age(families)} ({', '.join(others)}), {evidence.prefix} of {model}"
        return CheckVerdict("runtime", "wrong", image.path, saw, cures.rebuild_together())
    if not families and not contents.complete:
        cure = "give the whole app, or the library together with the runtime it loads"
        return CheckVerdict("runtime", "unknown", image.path, "the runtime is not in this file", cure)
    what = "a runtime without it" if families else "no TVM runtime at all"
    saw = f"no loader {wanted}: there is {what}"
    cure = cures.load_runtime(kind, image.platform, macho=macho, families=bool(families))
    return CheckVerdict("runtime", "wrong", image.path, saw, cure)


def _families(generation: Generation | None) -> tuple[str, ...]:
    """How the loaders that a model of a generation needs may be called; both in the summer of the change."""
    if generation is GENERATIONS[-1]:
        return LOADERS[1:]
    return LOADERS[:1] if generation is None or generation is GENERATIONS[0] else LOADERS


def _age(families: Iterable[str]) -> str:
    ages: Mapping[str, str] = {LOADERS[0]: "TVM 0.21 or newer", LOADERS[1]: "TVM 0.20 or older"}
    return " and ".join(ages[family] for family in sorted(families))
