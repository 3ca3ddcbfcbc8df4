"""Step `device`: that a device can hold every model that targets.yaml gives it, with what was built.

Products for the device wait for it: where a model does not fit, there is no report and nothing is published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline import roles
from pipeline.action import Facts, Job
from pipeline.documents.codec import dumps
from pipeline.documents.memory import Choice, Memory, Need, Option, choose, gigabytes, of_built
from pipeline.errors import VerifyError

NAME = "device.json"


@dataclass(frozen=True)
class Params:
    """What the step is given: the device, bytes of its memory, bytes that an app can use, and its models.

    These are models or variants that it must be able to hold, by name, with the ways to have each, the best first.
    """

    device: str
    ram: int
    usable: int
    models: Mapping[str, tuple[Option, ...]]


@dataclass(frozen=True)
class Report:
    """`device.json`: what the device gets of each of its models."""

    device: str
    usable: int
    models: tuple[Choice, ...]


def run(job: Job[Params]) -> Facts:
    """Write `device.json`.

    Returns:
        Facts: `models`: for each name the cell that the device gets, and `margin`: the smallest number of bytes left.

    Raises:
        VerifyError: a model does not fit, or it cannot be told.
    """
    params = job.params
    chosen = {name: _chosen(job, name, options) for name, options in params.models.items()}
    job.write(NAME, dumps(Report(params.device, params.usable, tuple(chosen.values()))))
    margin = min(params.usable - choice.need.bytes for choice in chosen.values())
    return {"models": {name: choice.option.cell for name, choice in chosen.items()}, "margin": margin}


def _chosen(job: Job[Params], name: str, options: Iterable[Option]) -> Choice:
    params = job.params
    choice = choose([(option, _need(job, option)) for option in options], params.usable)
    if choice is None or choice.fits is None:
        raise not_known(params.device, name, "some of its sizes are known only at a call")
    if not choice.fits:
        raise too_large(params.device, choice, params.ram, params.usable)
    return choice


def _need(job: Job[Params], option: Option) -> Need:
    if option.declared is not None:
        return Need(option.declared, "declared", at_least=False)
    return of_built(Memory.read(job.inputs[roles.of(roles.MEMORY, option.cell)]))


def not_known(device: str, model: str, why: str) -> VerifyError:
    """The error for a model of which `why` is all that can be said."""
    return VerifyError(
        f"whether {device} can hold {model} is not known: {why}",
        hint="declare it: `estimated_vram_bytes` of the variant (of a GGUF or LiteRT file: of the model); or take the "
        "model from the device's `models`",
    )


def too_large(device: str, choice: Choice, ram: int, usable: int) -> VerifyError:
    """The error for a model that does not fit, in its smallest form."""
    option, need = choice.option, choice.need
    least = "at least " * need.at_least
    return VerifyError(
        f"{device} cannot hold {option.model} on {option.backend}: it takes {least}{gigabytes(need.bytes)} "
        f"({SOURCES[need.source]}), and an app can use {gigabytes(usable)} of its {gigabytes(ram)}",
        hint="give the device a smaller model, or the model a variant with fewer bits or a shorter context; or, if an "
        "app can use more there, say so: `usable` or `reserved` of the device",
    )


SOURCES = {
    "declared": "as targets.yaml declares",
    "built": "parameters, temporaries and cache",
    "weights": "the weights alone, as slipway.lock has them",
    "nothing": "as far as is known",
}
"""Who says what a model takes, for people."""
