"""Kinds of model by the names of models: the section `model_types` of targets.yaml; `expand` asks for both.

A model's own `model_type` wins, and of several patterns the first that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from . import schema
from .cells import ModelVariant
from .diagnostics import Diagnostics


def type_of(name: str, patterns: Mapping[str, str]) -> str | None:
    """The kind that the first fitting pattern gives a model."""
    return next((kind for pattern, kind in patterns.items() if fnmatchcase(name, pattern)), None)


def remarks(targets: schema.Targets, variants: Iterable[ModelVariant], problems: Diagnostics) -> Iterator[str]:
    """What is right in that section and may surprise, one line each, with its place."""
    own: dict[str, set[str]] = {}
    for model in variants:
        if model.compiler == "mlc":
            own.setdefault(model.model, set()).add(str(model.options.get("model_type")))
    seen: dict[str, str] = {}
    for pattern, kind in targets.model_types.items():
        place = problems.document.at(("model_types", pattern), key=True)
        fitting = [name for name in own if fnmatchcase(name, pattern)]
        if not fitting:
            yield f"{place}: `{pattern}` fits the name of no model of mlc_llm's"
        for name in fitting:
            first = seen.setdefault(name, pattern)
            if targets.model_types[first] != kind:
                yield f"{place}: {name} fits `{first}`, too, and is {targets.model_types[first]} by that, not {kind}"
            elif first == pattern and kind not in own[name]:
                yield f"{place}: {name} says itself that it is {', '.join(sorted(own[name]))}, not {kind}"
