"""The arithmetic of `matrix`, `include` and `exclude`, exactly as GitHub Actions does it.

`expand` calls `combine`. Nothing here knows what an axis means: a combination is a mapping from axis to value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

Values = Mapping[str, str]


@dataclass(frozen=True)
class Combination:
    """One combination, and the index of the include that created it (None: it is from the product of the axes)."""

    values: Values
    include: int | None = None


def combine(
    axes: Mapping[str, Sequence[str]], include: Sequence[Values], exclude: Sequence[Values]
) -> list[Combination]:
    """Expand a matrix.

    1. The product of the axes, the first varying slowest.
    2. Less every combination that has all the values of some exclude.
    3. Each include, in order: its values are added to every combination of 1-2 whose own values it would not change.
       Values added by an earlier include may be replaced, those of the axes never.
    4. An include that could be added to none becomes a combination of its own, to which no other include is added.

    Args:
        axes: axis -> values. No axes, no product.
        include: additions, with keys that may be axes or not.
        exclude: exclusions, whose keys must be axes.
    """
    names = tuple(axes)
    originals = [dict(zip(names, values, strict=True)) for values in product(*axes.values())] if axes else []
    kept = [one for one in originals if not any(part.items() <= one.items() for part in exclude)]
    grown = [dict(one) for one in kept]
    created = []
    for index, addition in enumerate(include):
        fixed = {axis: value for axis, value in addition.items() if axis in axes}
        matching = [i for i, one in enumerate(kept) if fixed.items() <= one.items()]
        for i in matching:
            grown[i].update(addition)
        if not matching:
            created.append(Combination(addition, index))
    return [*(Combination(values) for values in grown), *created]
