"""Writer of a targets.yaml for models that came from package configs of `mlc_llm`; `commands.import_config` calls it.

Every scalar that YAML could take for something else is in quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.kits.render import environment

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
    """The text of a targets.yaml for models of `mlc_package.merge`, whose first comment names the sources."""
    variants = [(f"{model.name}-{one.name}", one.devices) for model in models for one in model.variants]
    devices = [device for device in DEVICES if any(device in built for _, built in variants)]
    backends = {device: backends_of(device, systems) for device in devices}
    prebuilt = [model for model in models if model.prebuilt]
    jinja = environment([Path(__file__).parent], {"flow": flow})
    return jinja.get_template("targets.yaml.j2").render(
        sources=sources,
        systems=systems,
        models=models,
        compiled=len(prebuilt) < len(models),
        prebuilt={
            one.name: {name: path for device, path in one.prebuilt.items() for name in backends_of(device, systems)}
            for one in prebuilt
        },
        prefixes={one.name: str(one.variants[0].model_lib).replace("-", "_") + "_" for one in prebuilt},
        backends=backends,
        every=[name for device in devices for name in backends[device]],
        everywhere=all(set(built) == set(devices) for _, built in variants),
        included=[
            {"model": subject, "backend": name}
            for subject, built in variants
            for device in devices
            for name in (backends[device] if device in built else ())
        ],
        products=_products(models, backends),
    )


def _products(models: Sequence[Model], backends: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, object]]:
    """One xcframework for iPhone and Catalyst where they have the same models, as its slices must; else two."""
    built = {
        device: {(model.name, one.name) for model in models for one in model.variants if device in one.devices}
        for device in backends
        if device in APPLE
    }
    together = len({frozenset(held) for held in built.values()}) == 1
    parts = {"apple": [*built]} if together else {device: [device] for device in built}
    found: dict[str, dict[str, object]] = {
        name: {"kind": "xcframework", "backends": [backend for device in held for backend in backends[device]]}
        for name, held in parts.items()
    }
    return found | (
        {"android": {"kind": "android", "backends": [*backends["android"]]}} if "android" in backends else {}
    )


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
