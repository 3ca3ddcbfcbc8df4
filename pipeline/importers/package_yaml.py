"""Writer of a targets.yaml for models that came from package configs of `mlc_llm`; `commands.import_config` calls it.

Every scalar that YAML could take for something else is in quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .mlc_package import APPLE, DEVICES, Model

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|0|-?[1-9][0-9]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True)
class Systems:
    """What a package config leaves to environment variables.

    Attributes:
        ios: oldest iOS.
        catalyst: oldest iOS of Mac Catalyst (`MLC_MACABI_DEPLOYMENT_TARGET`).
        catalyst_archs: its architectures (`MLC_MACABI_ARCHS`).
        source: whether mlc_llm is the checkout that `MLC_LLM_SOURCE_DIR` names.
        runtime: whether that checkout's runtime is built and linked with the models, as `mlc_llm package` does.
    """

    ios: str = "14.0"
    catalyst: str = "18.0"
    catalyst_archs: tuple[str, ...] = ("arm64",)
    source: bool = False
    runtime: bool = True


def backends_of(device: str, systems: Systems) -> dict[str, str]:
    """Our backends for a device of a package config: name -> what targets.yaml says of it."""
    if device == "iphone":
        return {"ios-arm64": f'{{preset: iphone, deployment_target: "{systems.ios}"}}'}
    if device == "android":
        return {"android-arm64": "{preset: android}"}
    return {
        f"catalyst-{arch}": f'{{preset: macabi, arch: {arch}, deployment_target: "{systems.catalyst}"}}'
        for arch in systems.catalyst_archs
    }


def render(models: Sequence[Model], sources: Sequence[str], systems: Systems) -> str:
    """The text of a targets.yaml.

    Args:
        models: what to build; see `mlc_package.merge`.
        sources: names of the files it comes from, for the first comment.
        systems: what those files do not say.
    """
    devices = [one for one in DEVICES if any(one in variant.devices for model in models for variant in model.variants)]
    lines = [
        f"# Made by `doit import` from {', '.join(sources)}.",
        "# doit init --schema writes a description of every key, which editors show.",
        "version: 1",
        "",
        *_toolchains(models, systems),
        "# slipway.lock pins the commit of weights that are on a branch.",
        "models:",
    ]
    for model in models:
        lines += _model(model, systems)
    lines += ["", "backends:"]
    for device in devices:
        lines += [f"  {name}: {text}" for name, text in backends_of(device, systems).items()]
    lines += ["", *_matrix(models, devices, systems), *_runtime(systems), "", "products:"]
    lines += _products(models, devices, systems)
    return "\n".join(lines) + "\n"


def _toolchains(models: Sequence[Model], systems: Systems) -> Iterator[str]:
    if all(model.prebuilt for model in models):
        return
    yield "toolchains:"
    yield "  # An environment of its own for mlc_llm, pinned in slipway.lock. One that you have: {path: ~/.venvs/mlc}"
    yield "  mlc:"
    if systems.source:
        yield "    source: $MLC_LLM_SOURCE_DIR"
    yield "    requirements: [mlc-llm-nightly-cpu, mlc-ai-nightly-cpu]"
    yield "    find_links: [https://mlc.ai/wheels]"
    yield "    pre: true"
    yield ""


def _model(model: Model, systems: Systems) -> Iterator[str]:
    yield f"  {scalar(model.name)}:"
    if model.prebuilt:
        files = {name: path for device, path in model.prebuilt.items() for name in backends_of(device, systems)}
        yield f"    prebuilt: {flow(files)}"
        prefix = str(model.variants[0].model_lib).replace("-", "_") + "_"
        yield f"    system_lib_prefix: {scalar(prefix)}"
    else:
        yield "    compiler: mlc"
        yield "    toolchain: mlc"
    yield f"    weights: {flow(model.weights)}"
    yield "    variants:"
    for one in model.variants:
        if {"iphone", "macabi"} <= set(one.devices) and one.model_lib is None:
            yield "      # iPhone and Catalyst are one app: both get the model_lib that iphone has in mlc_llm."
        named = {"model_lib": one.model_lib} if one.model_lib is not None and not model.prebuilt else {}
        yield f"      {scalar(one.name)}:"
        yield from (f"        {scalar(key)}: {flow(item)}" for key, item in {**one.options, **named}.items())


def _matrix(models: Sequence[Model], devices: Sequence[str], systems: Systems) -> Iterator[str]:
    yield "matrix:"
    variants = [(f"{model.name}-{one.name}", one.devices) for model in models for one in model.variants]
    every = [name for device in devices for name in backends_of(device, systems)]
    if all(set(built) == set(devices) for _, built in variants):
        yield f"  model: {flow([model.name for model in models])}"
        yield f"  backend: {flow(every)}"
        return
    yield "  include:"
    for subject, built in variants:
        for device in devices:
            for name in backends_of(device, systems) if device in built else ():
                yield f"    - {flow({'model': subject, 'backend': name})}"


def _runtime(systems: Systems) -> Iterator[str]:
    if systems.runtime:
        yield ""
        yield "# TVM's runtime, libmlc_llm and the tokenizers, which `mlc_llm package` builds beside the models."
        yield "# Remove the line where the app has its own."
        yield "runtime: {source: $MLC_LLM_SOURCE_DIR}"


def _products(models: Sequence[Model], devices: Sequence[str], systems: Systems) -> Iterator[str]:
    """One xcframework for iPhone and Catalyst where they have the same models, as its slices must; else two."""
    apple = [device for device in devices if device in APPLE]
    built = {
        device: {(model.name, one.name) for model in models for one in model.variants if device in one.devices}
        for device in devices
    }
    parts = (
        {"apple": apple} if len({frozenset(built[device]) for device in apple}) == 1 else {one: [one] for one in apple}
    )
    if len(parts) > 1:
        yield "  # Two products: the slices of an xcframework hold the same models, and these lists differ."
    for name, held in parts.items():
        backends = [backend for device in held for backend in backends_of(device, systems)]
        if backends:
            yield f"  {name}: {flow({'kind': 'xcframework', 'backends': backends})}"
    if "android" in devices:
        yield f"  android: {flow({'kind': 'android', 'backends': list(backends_of('android', systems))})}"


def flow(value: object) -> str:
    """A value in YAML's flow style, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: object) -> str:
    """A scalar; text that YAML could take for something else is in quotes, which JSON's are."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not value[0].isdigit():
        return value
    return json.dumps(value, ensure_ascii=False)
