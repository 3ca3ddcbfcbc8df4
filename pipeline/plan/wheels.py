"""The part of the plan that fetches the runtime in TVM's package for another machine, to run models there or ship it.

`plan` calls the functions here; as there, nothing reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline import roles
from pipeline.action import Action, AnyAction, Upstream
from pipeline.matrix.cells import Backend
from pipeline.matrix.matrix import Matrix
from pipeline.steps import wheel

from .lockfile import Pins
from .models import proving_toolchain


def wheel_name(package: str, backend: Backend) -> str:
    """The name of an action that fetches a package for a backend's machine, and of its entry in slipway.lock."""
    return f"{package}@{wheel.platform_of(backend)}"


def wheels_of(backend: Backend) -> dict[str, Upstream]:
    """The edges to the packages for a backend's machine."""
    return {roles.of(roles.WHEEL, one): Upstream(f"wheel:{wheel_name(one, backend)}") for one in wheel.PACKAGES}


def wheel_actions(
    matrix: Matrix, lock: Pins, shipped: Iterable[Backend], ran: Iterable[tuple[Backend, tuple[str, ...]]]
) -> Iterator[AnyAction]:
    """Each package once for each kind of machine.

    Args:
        matrix: the matrix.
        lock: what slipway.lock pins.
        shipped: backends whose products bring the runtime along.
        ran: backends whose models are only run with it, and the tools for that: without one nothing is fetched.
    """
    needed: dict[str, tuple[Backend, tuple[str, ...]]] = {wheel.platform_of(one): (one, tools) for one, tools in ran}
    needed |= {wheel.platform_of(one): (one, ()) for one in shipped}
    for platform, (backend, asked) in needed.items():
        toolchain = proving_toolchain(matrix.cells_for(backend))
        for package in wheel.PACKAGES:
            name = wheel_name(package, backend)
            yield Action(
                step="wheel",
                run=wheel.run,
                subject=name,
                params=wheel.Params(package, platform, toolchain, lock.get(name)),
                upstream={roles.TOOLCHAIN: Upstream(f"toolchain:{toolchain}")},
                tools=asked,
                doc=f"the runtime in {package} for {platform}",
                where=backend.where,
                link_outputs=True,
            )
