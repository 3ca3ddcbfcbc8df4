"""Which archives share one slice of an xcframework, and what the slice is called.

`xcframework` packs slices and `linkkit` writes flags that point into them; both ask here, so they can not disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import StepError
from pipeline.platforms import APPLE, version


@dataclass(frozen=True, slots=True)
class ArchSlice:
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
        archs: its architectures, sorted by name.
    """

    identifier: str
    platform: str
    supported: str
    variant: str | None
    sdk: str
    archs: tuple[ArchSlice, ...]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Sorted, as the identifier has them."""
        return tuple(one.arch for one in self.archs)

    @property
    def deployment_target(self) -> str | None:
        """The oldest system that can run every architecture of the slice."""
        known = [one.deployment_target for one in self.archs if one.deployment_target is not None]
        return max(known, key=version) if known else None


def slices(archs: Iterable[ArchSlice]) -> tuple[Slice, ...]:
    """Group archives by platform, sorted by identifier.

    Apple's tools want one library for each platform and variant, so several architectures of one become one fat
    archive, and two archives of the same platform *and* architecture can not both be in.

    Raises:
        StepError: a platform that is not Apple's, or two backends that would be the same slice.
    """
    groups: dict[str, dict[str, ArchSlice]] = {}
    for one in archs:
        if one.platform not in APPLE:
            raise StepError(
                f"backend {one.backend} is for {one.platform}, which an xcframework can not hold",
                hint=f"leave {one.backend} out of the product; it can hold {', '.join(APPLE)}",
            )
        group = groups.setdefault(one.platform, {})
        twin = group.setdefault(one.arch, one)
        if twin is not one:
            raise StepError(
                f"backends {twin.backend} and {one.backend} are both {one.platform} {one.arch}: "
                "an xcframework holds one library for each platform and architecture",
                hint=f"put {twin.backend} and {one.backend} into two products",
            )
    return tuple(sorted((_slice(name, group) for name, group in groups.items()), key=lambda found: found.identifier))


def _slice(platform: str, group: dict[str, ArchSlice]) -> Slice:
    apple = APPLE[platform]
    archs = tuple(group[arch] for arch in sorted(group))
    words = [apple.supported, "_".join(one.arch for one in archs), *([apple.variant] if apple.variant else [])]
    return Slice("-".join(words), platform, apple.supported, apple.variant, apple.sdk, archs)


def library_name(product: str) -> str:
    """The name of the library, the same in every slice (CocoaPods refuses others) and another in every product.

    Xcode copies the libraries of all xcframeworks of an app into one directory, so it is the product's name and not
    that of the archives.
    """
    return f"lib{product}.a"


def library_path(name: str, piece: Slice) -> str:
    """Where a slice's library is, relative to the product's directory; the models' is called like the product."""
    return f"{name}.xcframework/{piece.identifier}/{library_name(name)}"
