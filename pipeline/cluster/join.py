"""Puts the near side together: what `doit_plugin.session` calls where a cluster is to do the work."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engine.engine import Engine
from pipeline.errors import StoreError
from pipeline.project import Project

from .dask_pool import DaskPool, demand_dask
from .sender import Sender


def join(address: str, engine: Engine, project: Project, note: Callable[[str], None]) -> Sender:
    """What has an engine's actions performed by the workers of a scheduler. Nothing is connected to yet.

    Raises:
        SlipwayError: the address is none, Dask is not installed, or there is no remote store that may be written to.
    """
    demand_dask(address, note)
    remote = engine.store.remote
    if remote is None or not remote.write:
        raise StoreError(
            "--on needs a remote store that may be written to: files travel through it",
            hint="set SLIPWAY_REMOTE and SLIPWAY_REMOTE_WRITE=1, here and on the workers",
        )
    return Sender(
        DaskPool(address, note),
        project.root,
        inputs=engine.inputs,
        store=engine.store,
        environment=project.environment,
        log_of=engine.executor.log_of,
        note=note,
    )
