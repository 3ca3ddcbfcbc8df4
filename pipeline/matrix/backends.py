"""A backend of targets.yaml, laid over its preset, as a `Backend`.

`expand` calls `resolve` once for each. The rules that hold between the parts of one backend are here: an architecture
the preset has, a triple that carries the deployment target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pipeline.platforms import APPLE, FORMATS, METALLIBS, Platform, architecture, version

from . import schema
from .cells import Backend
from .diagnostics import Diagnostics, suggest
from .presets import MachinePreset, Preset, presets

_SYSTEMS, _VARIANTS = {"macos": "macosx"}, {None: "", "simulator": "-simulator", "maccatalyst": "-macabi"}
"""How LLVM spells an Apple platform in a triple: its system before the version, where Apple's own word is another, and
its variant behind that."""

_SPELLINGS = {"arm64": "(?:arm64|aarch64)", "x86_64": "x86_64", "armv7": "armv7a?", "wasm32": "wasm32"}
"""How LLVM spells an architecture in a triple, as a regular expression."""

_LOWEST: Mapping[tuple[Platform, str], str] = {
    ("ios", "arm64"): "7.0",
    ("ios-simulator", "arm64"): "14.0",
    ("maccatalyst", "arm64"): "14.0",
    ("maccatalyst", "x86_64"): "13.1",
    ("macos", "arm64"): "11.0",
    ("tvos-simulator", "arm64"): "14.0",
    ("watchos", "arm64"): "26.0",
    ("watchos-simulator", "arm64"): "7.0",
}
"""Where a platform begins on an architecture. Of Apple silicon LLVM writes this into objects that ask for less, and
says nothing."""

_VERSION = "{deployment_target}"


class _Wrong(Exception):
    """Something that makes the backend meaningless; it has been reported."""


def resolve(name: str, spec: schema.Backend, problems: Diagnostics, machine: str) -> Backend | None:
    """Return the backend, or None after reporting what is wrong with it; `machine` is what `host` stands for."""
    try:
        base, arch = (
            _from_nothing(name, spec, problems) if spec.preset is None else _base(name, spec, problems, machine)
        )
        device, kind = _device(name, base.device, spec.device, problems)
        triple, target = _triple(name, spec, base, arch, problems)
        kernels = _kernels(name, spec, base, kind, problems)
    except _Wrong:
        return None
    backend = Backend(
        name=name,
        preset=spec.preset,
        device=device,
        triple=triple,
        arch=arch,
        platform=base.platform,
        deployment_target=target,
        format=FORMATS[base.platform],
        system_libraries=base.system_libraries if spec.system_libraries is None else spec.system_libraries,
        frameworks=base.frameworks if spec.frameworks is None else spec.frameworks,
        where=problems.document.at(("backends", name), key=True),
        kernels=kernels,
    )
    return replace(backend, runners=_runners(backend, spec.runners, problems))


def _possible(backend: Backend) -> tuple[str, ...]:
    """The runners that can run a backend's models on a machine that has what they need."""
    kind = backend.device_kind
    if backend.format == "wasm":
        return {"llvm": ("node", "browser"), "webgpu": ("webgpu", "browser")}.get(str(kind), ())
    if backend.is_host:
        return ("host",)
    if kind == "opencl" or (kind == "metal" and backend.kernels != "metallib"):
        return ("twin",)
    foreign = {("linux", "arm64"): "qemu", ("windows", "x86_64"): "wine"}
    able = foreign.get((backend.platform, architecture(backend.arch))) if kind == "llvm" else None
    return () if able is None else (able,)


def _runners(backend: Backend, asked: tuple[str, ...] | None, problems: Diagnostics) -> tuple[str, ...]:
    able = _possible(backend)
    for number, one in enumerate(asked or ()):
        if one not in able:
            hint = suggest(one, able, "runners") if able else "remove this key: nothing here can run its models"
            what = f"runner {one} cannot run what is built for {backend.name}"
            problems.add(("backends", backend.name, "runners", number), what, hint)
    return able if asked is None else asked


def _base(name: str, spec: schema.Backend, problems: Diagnostics, machine: str) -> tuple[Preset, str]:
    """The preset and the architecture that a backend starts from."""
    known = presets()
    asked = spec.preset or ""
    preset = known.get(asked)
    if preset is None:
        raise _wrong(problems, name, "preset", f"unknown preset `{asked}`", suggest(asked, known, "presets"))
    if spec.platform is not None:
        raise _wrong(problems, name, "platform", f"preset {asked} has its platform", "remove this key, or `preset`")
    if isinstance(preset, MachinePreset):
        meant = preset.on(machine)
        if meant is None:
            what, hint = f"preset {asked} does not know this machine ({machine})", "take another preset"
            raise _wrong(problems, name, "preset", what, hint)
        preset, choices = meant[0], [meant[1]]
    else:
        choices = list(preset.triples)
    arch = spec.arch or choices[0]
    if arch not in choices:
        raise _wrong(problems, name, "arch", f"preset {asked} has no {arch}", suggest(arch, choices, "architectures"))
    return preset, arch


def _from_nothing(name: str, spec: schema.Backend, problems: Diagnostics) -> tuple[Preset, str]:
    """A preset made of the backend's own keys, for what no preset describes."""
    if spec.device is None or spec.triple is None or spec.platform is None or spec.arch is None:
        hint = f"add `preset:` (one of {', '.join(presets())}), or all of device, triple, platform and arch"
        problems.add(
            ("backends", name), "this backend has no preset and does not say everything itself", hint, key=True
        )
        raise _Wrong
    made = Preset(summary="", platform=spec.platform, device=spec.device, triples={spec.arch: spec.triple})
    return made, spec.arch


def _device(
    name: str, base: Mapping[str, object], changes: Mapping[str, object] | None, problems: Diagnostics
) -> tuple[dict[str, object], str]:
    """The device and its kind."""
    changes = changes or {}
    other_kind = changes.get("kind", base.get("kind")) != base.get("kind")
    device = dict(changes) if other_kind else {**base, **changes}
    if "host" in device:
        raise _wrong(problems, name, "device", "the device has a host", "remove `host`: it is made from the triple")
    kind = device.get("kind")
    if not isinstance(kind, str):
        raise _wrong(problems, name, "device", "the device has no kind", "write it like {kind: metal}")
    return device, kind


def _kernels(
    name: str, spec: schema.Backend, base: Preset, kind: str, problems: Diagnostics
) -> Literal["source", "metallib"] | None:
    """Where Metal's kernels are compiled; None for other devices."""
    if kind == "metal":
        kernels = spec.kernels or base.kernels or "source"
        if kernels == "metallib" and base.platform not in METALLIBS:
            what = f"kernels are not compiled here for platform {base.platform}"
            raise _wrong(problems, name, "kernels", what, "set it to source: the device compiles them")
        return kernels
    if spec.kernels is not None:
        what = f"only Metal has a choice of kernels, and the device is {kind}"
        raise _wrong(problems, name, "kernels", what, "remove this key")
    return None


def _triple(name: str, spec: schema.Backend, base: Preset, arch: str, problems: Diagnostics) -> tuple[str, str | None]:
    """The triple, and for Apple the deployment target, which the triple must carry."""
    triple = spec.triple or base.triples[arch]
    if not re.match(_SPELLINGS[arch] + "[a-z0-9.]*-", triple):
        raise _wrong(problems, name, "triple", f"`{triple}` is not a triple of {arch}", "set `arch` to what it is of")
    if base.platform == "windows" and not triple.endswith("-windows-msvc"):
        what = f"`{triple}` is no triple of Visual C++, whose objects and flags platform windows has"
        raise _wrong(problems, name, "triple", what, f"write {triple.partition('-')[0]}-pc-windows-msvc")
    apple = APPLE.get(base.platform)
    if apple is None:
        if spec.deployment_target is not None:
            what = f"platform {base.platform} has no deployment target"
            raise _wrong(problems, name, "deployment_target", what, "remove this key")
        return triple, None
    before, after = _SYSTEMS.get(apple.supported, apple.supported), _VARIANTS[apple.variant]
    target = spec.deployment_target or (base.deployment_target if _VERSION in triple else None)
    full = triple.replace(_VERSION, target or "")
    carried = re.search(rf"-apple-{before}([0-9]+\.[0-9]+(?:\.[0-9]+)?){after}$", full)
    if carried is None:
        like = f"{arch}-apple-{before}{target or base.deployment_target or '14.0'}{after}"
        what = f"`{full}` does not carry a deployment target of {base.platform}"
        raise _wrong(problems, name, "triple", what, f"write it like {like}: without it Xcode refuses the objects")
    if target is not None and carried[1] != target:
        what = f"the triple carries {carried[1]}, and this says {target}"
        hint = f"remove this key, or write {_VERSION} in the triple"
        raise _wrong(problems, name, "deployment_target", what, hint)
    lowest = _LOWEST.get((base.platform, arch), "0")
    if version(carried[1]) < version(lowest):
        what = f"{base.platform} on {arch} begins with {lowest}, not {carried[1]}"
        key = "deployment_target" if spec.deployment_target else "triple"
        raise _wrong(problems, name, key, what, f'write "{lowest}" or more')
    return full, carried[1]


def _wrong(problems: Diagnostics, name: str, key: str, what: str, hint: str) -> _Wrong:
    problems.add(("backends", name, key), what, hint)
    return _Wrong()
