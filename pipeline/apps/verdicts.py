"""Compares what an app holds with what it ought to hold, and tells the ways to break it apart.

`judge` is pure: `Contents` and `Expected` in, `Report` out. Each finding has a state of a fixed set, which `report`
prints and other programs may read, what was seen, and the hint.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.binary.symbols import CONSTRUCTORS_PER_MODEL, GENERATIONS
from pipeline.nearest import nearest

from . import hints
from .checks import CheckVerdict, check_app, check_runtime_version
from .contents import Contents
from .expectations import Expected
from .findings import Finding, models_in
from .images import Image

ModelState = Literal["alive", "stripped", "half", "not-linked", "wrong-name", "unreadable"]
"""`stripped`: registers itself, and no name of it is left to find it by. `half`: one of its two constructors is gone.
`wrong-name`: the app asks for a name that is not there, and a model is there that is not expected."""

_SAME_KIND = 0.8
"""How alike two names are, without MLC's digest at the end, that may be meant for each other."""

_MOST_NAMED = 50
"""Models that are there and not expected, of which a message names this many."""

_DIGEST = re.compile(r"_[0-9a-f]{32}_?$")


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """One expected model on one processor.

    Attributes:
        platform: see `Image`; None for ELF.
        finding: what was found of it, in the image where most was found.
        saw: what was found, as a sentence.
        hint: None where it is alive.
    """

    model: str
    prefix: str
    source: str
    arch: str
    platform: str | None
    state: ModelState
    finding: Finding | None
    saw: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything there is to say. `found` are the models in the app, expected or not."""

    contents: Contents
    sources: tuple[str, ...]
    models: tuple[ModelVerdict, ...]
    checks: tuple[CheckVerdict, ...]
    found: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there are models, and nothing is wrong. What could not be found out is not wrong."""
        whole = bool(self.models) and all(model.state == "alive" for model in self.models)
        return whole and all(check.state != "wrong" for check in self.checks)


def judge(
    contents: Contents,
    expected: Sequence[Expected],
    *,
    allow_stripped: bool = False,
    runtime_version: str | None = None,
) -> Report:
    """Compare an app with what the command line or targets.yaml expects, and with what its own lists ask for.

    With `allow_stripped` a model that registers itself counts as alive although no name of it is left.
    `runtime_version` is the release of TVM that the app's runtime is declared to be of.
    """
    platforms = frozenset().union(*(image.platforms or _guessed(image) for image in contents.images))
    wanted = _merged([model for model in (*expected, *contents.config) if model.is_for(platforms)])
    prefixes = frozenset(prefix for model in wanted for prefix in model.prefixes)
    by_image = [models_in(image, prefixes) for image in contents.images]
    found = tuple(finding for models in by_image for finding in models.values())
    if not expected and not contents.config:  # what is there must at least be whole, and there for every processor
        wanted = [Expected(name, (name,), "found") for name in dict.fromkeys(finding.prefix for finding in found)]
    comparison = _Comparison(contents, found, wanted)
    models = [
        comparison.verdict(model, processor, allow_stripped)
        for model in wanted
        for processor in _processors(contents)
        if model.is_for(processor.image.platforms or _guessed(processor.image))
    ]
    checks = [*_for_other_systems(expected, wanted, platforms), *check_app(contents, found)]
    if runtime_version is not None:
        checks.append(check_runtime_version(contents, runtime_version))
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


@dataclass(frozen=True, slots=True)
class _Processor:
    """What models must be there for. `image` stands for it where nothing of a model is found.

    In an app it is a processor of the program; where models are in a library of the wrong platform, that is for the
    platform check to say. Elsewhere (an xcframework) it is a processor on a platform.
    """

    arch: str
    platform: str | None
    in_app: bool
    image: Image

    def has(self, image: Image) -> bool:
        """Whether an image runs there."""
        return image.arch == self.arch and (self.in_app or image.platform == self.platform)


def _processors(contents: Contents) -> list[_Processor]:
    programs = [image for image in contents.images if image.path in contents.programs]
    processors: dict[tuple[str, str | None], _Processor] = {}
    for image in programs or contents.images:
        processors.setdefault(
            (image.arch, image.platform), _Processor(image.arch, image.platform, bool(programs), image)
        )
    return list(processors.values())


@dataclass(frozen=True)
class _Comparison:
    """What is there and what is wanted, for deciding about one model."""

    contents: Contents
    found: tuple[Finding, ...]
    wanted: Sequence[Expected]

    @cached_property
    def by_prefix(self) -> dict[str, list[Finding]]:
        """What was found of each model."""
        found: dict[str, list[Finding]] = {}
        for finding in self.found:
            found.setdefault(finding.prefix, []).append(finding)
        return found

    @cached_property
    def unclaimed(self) -> list[Finding]:
        """What was found, and is not expected."""
        claimed = {prefix for model in self.wanted for prefix in model.prefixes}
        return [finding for finding in self.found if finding.prefix not in claimed]

    def verdict(self, model: Expected, processor: _Processor, allow_stripped: bool) -> ModelVerdict:
        """Decide about one expected model on one processor."""
        found = (finding for prefix in model.prefixes for finding in self.by_prefix.get(prefix, ()))
        best = max((one for one in found if processor.has(one.image)), key=lambda one: one.rank, default=None)
        prefix = best.prefix if best else model.prefixes[0]
        if best is not None:
            state, saw, hint = _about(best, self._table(best.image), model, allow_stripped=allow_stripped)
        else:
            state, saw, hint = self._missing(model, processor)
        return ModelVerdict(
            model.name, prefix, model.source, processor.arch, processor.platform, state, best, saw, hint
        )

    def _table(self, image: Image) -> tuple[int | None, int]:
        """(entries of an image's start-up table, those its models need)."""
        registering = sum(finding.registers for finding in self.found if finding.image is image)
        return image.constructors, CONSTRUCTORS_PER_MODEL * registering

    def _missing(self, model: Expected, processor: _Processor) -> tuple[ModelState, str, str]:
        image = processor.image
        if image.encrypted:
            return _unreadable(image)
        others = sorted({finding.prefix for finding in self.unclaimed if processor.has(finding.image)})[:_MOST_NAMED]
        listed = ", ".join(other.removesuffix("_") for other in others)
        near = nearest_name(model.prefixes[0], others)
        nothing = "neither its constructors nor its symbols are there"
        if model.asked is not None and near:
            name = near.removesuffix("_")
            saw = f"{model.source} asks for {model.asked}; the nearest that is there is {name}"
            return "wrong-name", saw, hints.rename(name, model.source)
        if others and model.asked is None:
            return "not-linked", f"{nothing}; other models are: {listed}", hints.SAME_BUILD
        saw = f"{nothing}; models that are there and not expected: {listed}" if others else nothing
        if not image.linked:
            return "not-linked", saw, hints.REBUILD_ARCHIVE
        archive = model.archives.get(image.platform or "")
        return "not-linked", saw, hints.force_load(image.platform, archive, macho=image.format == "macho")


def nearest_name(asked: str, others: Sequence[str]) -> str | None:
    """The name that was probably meant, or None.

    A name of MLC's ends in a digest of the options it was compiled with: that of an older build shares what is before.
    """
    kinds = {other: _DIGEST.sub("", other) for other in others}
    if same := nearest(_DIGEST.sub("", asked), set(kinds.values()), _SAME_KIND):
        others = [other for other, kind in kinds.items() if kind == same]
        return max(others, key=lambda other: difflib.SequenceMatcher(None, asked, other).ratio())
    return nearest(asked, others)


def _about(
    finding: Finding, table: tuple[int | None, int], model: Expected, *, allow_stripped: bool
) -> tuple[ModelState, str, str | None]:
    """(state, what was seen, hint) of a model of which something is there."""
    image = finding.image
    macho = image.format == "macho"
    archive = model.archives.get(image.platform or "")
    entries, needed = table
    if not finding.registers:
        if image.encrypted:
            return _unreadable(image)
        hint = hints.whole_model(finding.prefix, image.platform, archive, macho=macho)
        return "half", _half(finding), hint if image.linked else hints.REBUILD_ARCHIVE
    if entries is not None and entries < needed:
        saw = f"the start-up table has {entries} entries, the models need {needed}"
        return "half", saw, hints.START_UP_TABLE
    count = f"both constructors, {finding.functions} functions"
    if finding.visible:
        if not finding.listed:
            count += "; stripped from the symbol table (nm does not list it), dlsym finds it"
        return "alive", count, None
    if allow_stripped:
        return "alive", f"{count}; registers itself, no symbol is left", None
    saw = f"{count}: the runtime finds it, but its symbol is in neither the symbol table (nm) nor the exports (dlsym)"
    return "stripped", saw, hints.keep_symbols(finding.prefix, finding.generation or GENERATIONS[0], macho=macho)


def _half(finding: Finding) -> str:
    if finding.blob:
        return "the blob registers itself, the constructor of the functions is gone"
    if finding.host:
        return f"{finding.functions} functions register themselves, the constructor of the blob is gone"
    return "its symbol is there, and neither of its constructors"


def _unreadable(image: Image) -> tuple[ModelState, str, str]:
    return "unreadable", f"{image.path} is encrypted: its constants cannot be read", hints.NOT_ENCRYPTED


def _for_other_systems(
    expected: Sequence[Expected], wanted: Sequence[Expected], platforms: frozenset[str]
) -> Iterator[CheckVerdict]:
    """A build that has models, and none for this system."""
    if expected and not wanted:
        built = sorted(frozenset().union(*(model.platforms or frozenset() for model in expected)))
        saw = f"{expected[0].source} has no model for {' or '.join(sorted(platforms))}, only for {', '.join(built)}"
        yield CheckVerdict(
            "platform", "wrong", expected[0].source, saw, "add a backend for that system, and link its part"
        )
