"""The class that validates the devices of `targets.yaml`: what apps run on, and how much memory there is.

As in `schema`, which has it, docstring and descriptions are the reference of the file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .fields import MemorySize, Names, Patterns, Strict, wrong

GpuFamily = Literal["adreno", "mali", "powervr", "xclipse", "apple", "nvidia", "amd", "intel", "none"]
DeviceOs = Literal["android", "ios", "xros", "tvos", "watchos", "macos", "linux"]


class Device(Strict):
    """A device that models are for. `doit devices` says which model and backend it gets, and what is left of its
    memory; a model that is named here and does not fit is an error."""  # noqa: D205, D209 - pydantic shows it as one paragraph

    gpu: GpuFamily = Field(description="Family of its GPU; a backend that is made for another one is not for it.")
    ram: MemorySize = Field(description="Its memory, as it is sold: `4GB`; GB are decimal, GiB are binary.")
    os: DeviceOs = Field(description="Its system, as the platforms of backends are called; visionOS is `xros`.")
    usable: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Share of the memory that an app can use for its model; left out, 0.5.",
    )
    reserved: MemorySize | None = Field(
        default=None, description="What system and app need themselves, instead of a share: `1.5GB`."
    )
    backends: Names | None = Field(
        default=None,
        description="Backends for it, the best first; left out, those of the matrix that can run on it, in the order "
        "of the file.",
    )
    models: Names | None = Field(
        default=None,
        description="What it must be able to hold: single variants, or models, of which it gets the first variant that "
        "fits. No product is published that has one for it which does not. Left out, it gets what fits.",
    )

    adb_model: Annotated[Patterns, Field(min_length=1)] | None = Field(
        default=None,
        description="Of an Android device: what `adb devices -l` prints behind `model:`, or patterns of it, "
        "`[SM_S911*]`. `doit deploy` knows the device by it, and pushes no model that does not fit.",
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Device:
        if self.usable is not None and self.reserved is not None:
            raise wrong("`usable` and `reserved` say the same thing twice", "keep one of them")
        if self.adb_model is not None and self.os not in {"android", "linux"}:
            raise wrong(f"adb reaches no device that runs {self.os}", "remove `adb_model`")
        return self
