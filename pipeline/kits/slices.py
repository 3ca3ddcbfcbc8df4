"""Which archives share one slice of an xcframework, and what the slice is called.

`xcframework` packs slices and `linkkit` writes flags that point into them; both ask here, so the two can not disagree.
Knows Apple's naming rules only: no files, no templates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import StepError

_APPLE = {
    "ios": ("ios", None, "iphoneos"),
    "ios-simulator": ("ios", "simulator", "iphonesimulator"),
    "maccatalyst": ("ios", "maccatalyst", "macosx"),
    "macos": ("macos", None, "macosx"),
}
"""Our platform -> SupportedPlatform, SupportedPlatformVariant, and the SDK Xcode builds it with."""


@dataclass(frozen=True, slots=True)
class Thin:
    """One architecture of a slice: the archive of one backend."""

    backend: str
    platform: str
    arch: str
    deployment_target: str | None


@dataclass(frozen=True, slots=True)
class Slice:
    """One entry of `AvailableLibraries`: everything of one platform and variant, as one archive, fat where it must be.

    Attributes:
        identifier: name of its directory, e.g. `ios-arm64_x86_64-simulator`.
        platform: `ios-simulator` and so on, as in targets.yaml.
        supported: value of `SupportedPlatform`.
        variant: value of `SupportedPlatformVariant`, absent for devices and plain macOS.
        sdk: the SDK Xcode uses for it; Catalyst and macOS share one.
        thins: its architectures, sorted by name.
    """

    identifier: str
    platform: str
    supported: str
    variant: str | None
    sdk: str
    thins: tuple[Thin, ...]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Sorted, as the identifier has them."""
        return tuple(thin.arch for thin in self.thins)

    @property
    def deployment_target(self) -> str | None:
        """The oldest system that can run every architecture of the slice."""
        known = [thin.deployment_target for thin in self.thins if thin.deployment_target is not None]
        return max(known, key=version) if known else None


def slices(thins: Iterable[Thin]) -> tuple[Slice, ...]:
    """Group archives by platform, sorted by identifier.

    Apple's tools want one library for each platform and variant, so several architectures of one become one fat
    archive, and two archives of the same platform *and* architecture can not both be in.

    Raises:
        StepError: a platform that is not Apple's, or two backends that would be the same slice.
    """
    groups: dict[str, dict[str, Thin]] = {}
    for thin in thins:
        if thin.platform not in _APPLE:
            raise StepError(
                f"backend {thin.backend} is for {thin.platform}, which an xcframework can not hold",
                hint=f"leave {thin.backend} out of the product; it can hold {', '.join(_APPLE)}",
            )
        group = groups.setdefault(thin.platform, {})
        twin = group.setdefault(thin.arch, thin)
        if twin is not thin:
            raise StepError(
                f"backends {twin.backend} and {thin.backend} are both {thin.platform} {thin.arch}: "
                "an xcframework holds one library for each platform and architecture",
                hint=f"put {twin.backend} and {thin.backend} into two products",
            )
    return tuple(sorted((_slice(name, group) for name, group in groups.items()), key=lambda one: one.identifier))


def version(text: str) -> tuple[int, ...]:
    """`14.0` as numbers, without zeros at the end: `14`, `14.0` and `14.0.0` are the same system.

    Raises:
        StepError: it is not numbers with dots between them.
    """
    try:
        numbers = [int(part) for part in text.split(".")]
    except ValueError:
        raise StepError(
            f"{text!r} is not a version of a system", hint='write a deployment target like "14.0"'
        ) from None
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _slice(platform: str, group: dict[str, Thin]) -> Slice:
    supported, variant, sdk = _APPLE[platform]
    thins = tuple(group[arch] for arch in sorted(group))
    words = [supported, "_".join(thin.arch for thin in thins), *([variant] if variant else [])]
    return Slice("-".join(words), platform, supported, variant, sdk, thins)
