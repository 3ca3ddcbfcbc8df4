"""Which archives share one slice of an xcframework, and what the slice is called.

`xcframework` packs slices and `linkkit` writes flags that point into them; both ask here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.matrix.cells import Backend
from pipeline.platforms import APPLE, ApplePlatform, version


@dataclass(frozen=True, slots=True)
class Slice:
    """One entry of `AvailableLibraries`: everything of one platform and variant, as one archive, fat where it must be.

    Attributes:
        identifier: name of its directory, e.g. `ios-arm64_x86_64-simulator`.
        platform: `ios-simulator` and so on, as in targets.yaml.
        backends: whose archives are in it, sorted by architecture.
    """

    identifier: str
    platform: str
    backends: tuple[Backend, ...]

    @property
    def apple(self) -> ApplePlatform:
        """What Apple calls the platform."""
        return APPLE[self.platform]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Sorted, as the identifier has them."""
        return tuple(one.arch for one in self.backends)

    @property
    def deployment_target(self) -> str | None:
        """The oldest system that can run every architecture of the slice."""
        known = [one.deployment_target for one in self.backends if one.deployment_target is not None]
        return max(known, key=version) if known else None


def slices(backends: Iterable[Backend]) -> tuple[Slice, ...]:
    """Group archives by platform, sorted by identifier.

    Apple's tools want one library for each platform and variant, so several architectures of one become one fat
    archive. That all are Apple's, and no two the same, the matrix has seen to.
    """
    groups: dict[str, list[Backend]] = {}
    for one in sorted(backends, key=lambda backend: backend.arch):
        groups.setdefault(one.platform, []).append(one)
    return tuple(sorted((_slice(*group) for group in groups.items()), key=lambda found: found.identifier))


def _slice(platform: str, backends: Sequence[Backend]) -> Slice:
    apple = APPLE[platform]
    words = [apple.supported, "_".join(one.arch for one in backends), *([apple.variant] if apple.variant else [])]
    return Slice("-".join(words), platform, tuple(backends))


def library_name(product: str) -> str:
    """The name of the library, the same in every slice (CocoaPods refuses others) and another in every product.

    Xcode copies the libraries of all xcframeworks of an app into one directory, so it is the product's name and not
    that of the archives.
    """
    return f"lib{product}.a"


def library_path(name: str, piece: Slice) -> str:
    """Where a slice's library is, relative to the product's directory; the models' is called like the product."""
    return f"{name}.xcframework/{piece.identifier}/{library_name(name)}"
