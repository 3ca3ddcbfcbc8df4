"""What must hold for an app as a whole: its binaries are for its system, and its runtime is one its models can use.

`verdicts.judge` calls `check_app`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pipeline.binary import abi
from pipeline.binary.blobs import VM_KINDS
from pipeline.binary.symbols import GENERATIONS, Generation
from pipeline.kits.link_flags import ANDROID_PAGE_SIZE as PAGE
from pipeline.platforms import ANDROID_ABIS, architecture

from . import hints
from .contents import Claim, Contents, claim_on
from .findings import Finding
from .images import LOADERS

CheckState = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """A question about the app or one image: `platform`, `runtime`, `registration`, `list` or `page-size`."""

    check: str
    state: CheckState
    where: str
    saw: str
    hint: str | None = None


def check_app(contents: Contents, found: Sequence[Finding]) -> list[CheckVerdict]:
    """Every check, on the app and the models that were found in it."""
    return [
        *(CheckVerdict("list", "wrong", str(one.where), one.what, one.hint) for one in contents.bad_lists),
        *_platforms(contents),
        *_folders(contents),
        *_registrations(contents, found),
        *_runtime(contents, found),
        *_runtimes(contents),
        *_page_size(contents),
    ]


def check_runtime_version(contents: Contents, version: str) -> CheckVerdict:
    """The runtime in the app is of the release that was declared, as far as its names tell."""
    images = [image for image in contents.images if image.linked]
    names = frozenset().union(*(image.exported | image.listed | image.signatures.families for image in images))
    age = abi.age_of_runtime(names)
    if not age.names:
        hint = "give the whole app, or the library of the runtime with it"
        return CheckVerdict("runtime", "unknown", contents.name, "nothing here tells of which TVM its runtime is", hint)
    if age.span.since <= abi.released(version) < age.span.until:
        return CheckVerdict("runtime", "ok", contents.name, f"{abi.said(version)} is among {abi.releases(age.span)}")
    saw = f"the runtime is of {age}; it is declared to be of {abi.said(version)}"
    return CheckVerdict("runtime", "wrong", contents.name, saw, hints.RIGHT_RUNTIME)


def _runtimes(contents: Contents) -> Iterator[CheckVerdict]:
    """One process has one runtime: what registers with the second one is not found by the first."""
    processes: dict[tuple[str, str | None, str], list[str]] = {}
    for image in contents.images:
        is_other_program = image.kind == "executable" and bool(contents.programs - {image.path})
        if image.linked and not is_other_program and any(name.endswith(VM_KINDS) for name in image.signatures.loaders):
            found = _SEPARATE.match(image.path)
            process = image.arch, image.platform, found[0] if found else ""
            processes.setdefault(process, []).append(image.path)
    for (arch, _, _), paths in processes.items():
        if len(paths) > 1:
            saw = f"for {arch}, {' and '.join(paths)} hold a TVM runtime each"
            yield CheckVerdict("runtime", "wrong", paths[-1], saw, hints.ONE_RUNTIME)


_SEPARATE = re.compile(r".*(?:\.appex|standalones/[^/]+\.apk)/|.*/(?:Watch|PlugIns)/[^/]+\.app/")
"""Part of an app that is a process of its own, or installed in place of another."""

_WIDE = re.compile(r"(?:^|/)lib/(?:arm64-v8a|x86_64)/[^/]+\.so$")


def _page_size(contents: Contents) -> Iterator[CheckVerdict]:
    """Android maps 64-bit libraries in pages of 16 KiB, out of the package where they are not compressed."""
    for image in contents.images:
        if image.format != "elf" or image.kind != "dylib" or not _WIDE.search(image.path):
            continue
        if image.load_alignment is not None and image.load_alignment < PAGE:
            saw = f"its segments are aligned to {image.load_alignment} bytes, Android's new pages have {PAGE}"
            yield CheckVerdict("page-size", "wrong", image.path, saw, hints.PAGE_SIZE)
        if image.stored_at is not None and image.stored_at % PAGE:
            saw = f"lies uncompressed in the package, and not at a multiple of {PAGE} bytes"
            yield CheckVerdict("page-size", "wrong", image.path, saw, hints.ZIP_ALIGNMENT)


_FOLDER = re.compile(r"(?:^|/)lib/([^/]+)/[^/]+\.so$")


def _folders(contents: Contents) -> Iterator[CheckVerdict]:
    """Android loads a library from the folder of its processor alone."""
    for image in contents.images:
        folder = _FOLDER.search(image.path) if image.format == "elf" and image.kind == "dylib" else None
        own = ANDROID_ABIS.get(architecture(image.arch))
        if folder is not None and own is not None and folder[1] in ANDROID_ABIS.values() and folder[1] != own:
            saw = f"is for {own}, and lies where devices of {folder[1]} look"
            hint = f"put it into lib/{own}/ (jniLibs/{own}/ of the app's module), and that of the other processor here"
            yield CheckVerdict("platform", "wrong", image.path, saw, hint)


def _platforms(contents: Contents) -> Iterator[CheckVerdict]:
    """Every binary is for the system that the property list around it names."""
    fine: dict[tuple[str, Claim], int] = {}
    for image in contents.images:
        claim = claim_on(image, contents.claims)
        if image.format != "macho":
            continue
        if len(image.platforms) > 1:
            saw = f"holds objects for {' and '.join(sorted(image.platforms))}"
            hint = "build one archive a platform, and put them into one xcframework"
            yield CheckVerdict("platform", "wrong", image.path, saw, hint)
        elif claim is None or image.platform is None:
            continue
        elif image.platform in claim.platforms:
            fine[image.platform, claim] = fine.get((image.platform, claim), 0) + 1
        else:
            saw = f"its {image.arch} slice is for {image.platform}; {claim.root} is not: {claim.says}"
            yield CheckVerdict("platform", "wrong", image.path, saw, hints.right_slice(sorted(claim.platforms)))
    for (platform, claim), count in fine.items():
        yield CheckVerdict(
            "platform", "ok", claim.root, f"{count} slice{'s' * (count != 1)} for {platform}, as {claim.says} says"
        )


def _registrations(contents: Contents, found: Sequence[Finding]) -> Iterator[CheckVerdict]:
    """The function by which models register comes from somewhere: this is where generations of TVM fail to meet."""
    offered = frozenset().union(*(image.exported | image.listed for image in contents.images))
    families = frozenset().union(*(image.signatures.families for image in contents.images))
    runtimes = sorted({name for g in GENERATIONS for name in g.registrations if name in offered})
    for image in {id(e.image): e.image for e in found}.values():
        for name in sorted(image.registrations - offered):
            asks = f"the models ask for {name} ({_since(name)})"
            if runtimes:
                saw = f"{asks}, the runtime here has {' and '.join(runtimes)} ({_since(runtimes[-1])})"
            elif contents.complete and families:
                saw = f"{asks}, and the TVM runtime in the app has no such function"
            elif contents.complete:
                saw = f"{asks}, and nothing in the app has it"
            elif not image.linked:
                continue  # an archive of models never holds its runtime
            else:
                saw = f"{asks}, which is not in this file"
                yield CheckVerdict("registration", "unknown", image.path, saw, _whole(contents))
                continue
            yield CheckVerdict("registration", "wrong", image.path, saw, hints.REBUILD_TOGETHER)


def _whole(contents: Contents) -> str:
    named = " ".join(PurePosixPath(one).name for one in contents.lacking) or "LIBRARY…"
    return f"give the whole app, or what this loads behind it: doit verify-app {contents.name} {named}"


def _since(registration: str) -> str:
    return abi.releases(abi.TABLE[registration].offered)


def _runtime(contents: Contents, found: Sequence[Finding]) -> Iterator[CheckVerdict]:
    """There is a loader for every kind of module in the models."""
    images = [image for image in contents.images if image.linked]
    loaders = frozenset().union(*(image.signatures.loaders for image in images))
    families = frozenset().union(*(image.signatures.families for image in images))
    linked = [finding for finding in found if finding.image.linked and finding.blob]
    if not linked:
        return
    kinds: dict[str, Finding] = {}
    for finding in linked:
        for kind in finding.kinds or (_virtual_machine(finding, loaders),):
            kinds.setdefault(kind, finding)
    missing = {kind: e for kind, e in kinds.items() if not any(f + kind in loaders for f in _families(e.generation))}
    if not missing:
        yield CheckVerdict("runtime", "ok", contents.name, f"has loaders for {', '.join(sorted(kinds))}")
    for kind, finding in missing.items():
        yield _no_loader(contents, kind, finding, loaders, families)


def _virtual_machine(finding: Finding, loaders: frozenset[str]) -> str:
    """The first module of a blob whose header cannot be read: the virtual machine, as this runtime calls it."""
    families = _families(finding.generation)
    return next((kind for kind in VM_KINDS for family in families if family + kind in loaders), VM_KINDS[-1])


def _no_loader(
    contents: Contents, kind: str, finding: Finding, loaders: frozenset[str], families: frozenset[str]
) -> CheckVerdict:
    image = finding.image
    macho = image.format == "macho"
    wanted = _families(finding.generation)[0] + kind
    others = sorted(name for name in loaders if name.endswith(f"{kind}") or name.rpartition("_")[2] in VM_KINDS)
    if families and not families & set(_families(finding.generation)):
        model = _age(_families(finding.generation))
        saw = f"no {wanted}: the runtime is of {_age(families)} ({', '.join(others)}), {finding.prefix} of {model}"
        return CheckVerdict("runtime", "wrong", image.path, saw, hints.REBUILD_TOGETHER)
    if not contents.complete:
        return CheckVerdict("runtime", "unknown", image.path, f"no loader {wanted} in this file", _whole(contents))
    what = "a runtime without it" if families else "no TVM runtime at all"
    saw = f"no loader {wanted}: there is {what}"
    hint = hints.load_runtime(kind, image.platform, macho=macho, families=bool(families))
    return CheckVerdict("runtime", "wrong", image.path, saw, hint)


def _families(generation: Generation | None) -> tuple[str, ...]:
    """How the loaders that a model of a generation needs may be called; both in the summer of the change."""
    if generation is GENERATIONS[-1]:
        return LOADERS[1:]
    return LOADERS[:1] if generation is None or generation is GENERATIONS[0] else LOADERS


def _age(families: Iterable[str]) -> str:
    return " and ".join(abi.releases(abi.TABLE[family].offered) for family in sorted(families))
