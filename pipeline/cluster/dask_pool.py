"""A cluster of Dask as a pool of machines, and a worker that joins one: all that is known of `distributed` is here.

Security is Dask's own: certificates that its configuration names, for addresses that begin with `tls://`. Importing
this module imports nothing of Dask.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.documents.codec import decode
from pipeline.errors import SlipwayError, StoreError, ToolMissing
from pipeline.store.remote import Remote
from pipeline.transport.http import redact_url

from .placement import Machine

if TYPE_CHECKING:
    from distributed import Client, Security

CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 15.0
"""How long a scheduler that cannot be reached is left alone."""

LOOK_SECONDS = 1.0
"""How old what is known of the machines may be."""


_SCHEMES = ("tcp", "tls")


def demand_cluster(address: str, remote: Remote | None, note: Callable[[str], None]) -> None:
    """Check an address, as far as that goes without connecting, and that all is there that a cluster takes.

    Raises:
        SlipwayError: it is no address of a scheduler.
        ToolMissing: Dask, or a remote store that may be written to.
    """
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname and parts.port) and address in {
            f"{scheme}://{parts.netloc}" for scheme in _SCHEMES
        }
    except ValueError:
        usable = False
    if not usable or "@" in address:
        said = redact_url(address) if "@" in address else address
        raise SlipwayError(f"{said!r} is no address of a scheduler", hint="e.g. tcp://scheduler:8786, or tls://…")
    lacks = {}
    if find_spec("distributed") is None:
        lacks["Dask is not installed"] = "pip install 'slipway-tvm[dask]'"
    if remote is None or not remote.write:
        lacks["there is no remote store that may be written to: files travel through it"] = (
            "set SLIPWAY_REMOTE and SLIPWAY_REMOTE_WRITE=1, where doit --on runs and on the workers"
        )
    if lacks:
        raise ToolMissing("; ".join(lacks), hint="; ".join(lacks.values()))
    if parts.scheme == "tcp" and not _is_loopback(parts.hostname or ""):
        note(f"{address}: whoever can connect there can run programs as you; use tls:// where others can")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _quiet() -> None:
    """Have Dask keep to itself what we say in our own words."""
    if not logging.getLogger("pipeline").isEnabledFor(logging.DEBUG):
        for name in logging.root.manager.loggerDict:  # levels are set for each by Dask's configuration
            if name.partition(".")[0] in {"distributed", "tornado", "asyncio"}:
                logging.getLogger(name).setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class _Worker:
    """What a scheduler says of a worker."""

    nthreads: int
    resources: Mapping[str, float] | None = None
    status: str = "running"
    name: str | int = ""


@dataclass(frozen=True)
class _Identity:
    """What a scheduler says of itself, as far as it is read here. Workers have a `type`, too."""

    workers: Mapping[str, _Worker] = field(default_factory=dict)
    type: str = ""


class DaskPool:
    """The workers of a scheduler; see `placement.Pool`. Connected to when first needed, and again when lost."""

    def __init__(self, address: str, note: Callable[[str], None]) -> None:
        self._address = address
        self._note = note
        self._client: Client | None = None
        self._failed = float("-inf")
        self._looked = float("-inf")
        self._machines: tuple[Machine, ...] = ()
        self._lock = threading.Lock()

    def machines(self) -> Collection[Machine]:
        """See `placement.Pool`."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_SECONDS:
                self._machines = self._ask()
                self._looked = time.monotonic()
            return self._machines

    def executor(self, machine: Machine, wants: Mapping[str, float]) -> Executor:
        """See `placement.Pool`.

        Raises:
            StoreError: the scheduler is gone.
        """
        client = self._client
        if client is None or client.status != "running":
            raise StoreError("the scheduler is gone")
        amounts = {name: amount for name, amount in wants.items() if name in machine.resources}
        made: Executor = client.get_executor(
            pure=True,  # two near sides that want the same get it from one task
            workers=[machine.name],  # no other: Dask would take an order away from where its lowering is
            resources=amounts or None,
        )
        return made

    def connection(self) -> object:
        """See `placement.Pool`."""
        client = self._client
        return client.scheduler_comm if client is not None and client.status == "running" else None

    def close(self) -> None:
        """See `placement.Pool`."""
        with self._lock:
            self._leave()
            self._failed = float("inf")

    def _ask(self) -> tuple[Machine, ...]:
        client = self._connected()
        if client is None:
            return ()
        try:
            said = client.sync(client.scheduler.identity, callback_timeout=CONNECT_SECONDS)
            found = decode(_Identity, said, self._address).workers
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever the library meets
            if client.status == "running":  # it is busy
                return self._machines
            self._lost(error)
            return ()
        return tuple(
            Machine(address, one.nthreads, one.resources or {}, str(one.name))
            for address, one in sorted(found.items())
            if one.status == "running" and one.nthreads
        )

    def _connected(self) -> Client | None:
        if self._client is not None:
            if self._client.status == "running":
                return self._client
            if self._client.status == "connecting":  # it tries by itself, for as long as the first time
                return None
            self._failed = time.monotonic()
            self._leave()
        if time.monotonic() - self._failed < AGAIN_SECONDS:
            return None
        from distributed import Client  # noqa: PLC0415 - a second, for who needs it

        _quiet()
        try:
            asyncio.run(_reach(self._address, "client"))
            self._client = Client(self._address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - as above
            self._lost(error)
        return self._client

    def _lost(self, error: BaseException) -> None:
        if self._failed == float("-inf"):
            self._note(f"{self._address} cannot be reached ({_said(error)}); building here")
        self._failed = time.monotonic()
        self._leave()

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception, asyncio.CancelledError):
                client.close(timeout=2)


async def _reach(address: str, role: str) -> None:
    """Connect once: a worker of Dask would try for ever, and a client leaves a traceback behind (quirk DASK-1).

    Raises:
        OSError: nobody answers, or somebody who is no scheduler.
    """
    from distributed import Security  # noqa: PLC0415 - as above
    from distributed.comm import connect  # noqa: PLC0415

    security = Security()
    _demand_certificates(address, security, role)

    async def asked() -> object:
        comm = await connect(address, timeout=CONNECT_SECONDS, **security.get_connection_args(role))
        try:
            await comm.write({"op": "identity", "reply": True})
            return await comm.read()
        finally:
            comm.abort()

    try:
        found = decode(_Identity, await asyncio.wait_for(asked(), 2 * CONNECT_SECONDS), address).type
    except asyncio.TimeoutError:
        found = "silent"
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - what a stranger says is read as anything (quirk DASK-4)
        found = ""
    if found != "Scheduler":
        raise ConnectionError(f"what answers there is {_STRANGERS.get(found, 'no scheduler of Dask')}")


def _demand_certificates(address: str, security: Security, role: str) -> None:
    """Say what Dask's configuration lacks for an address: Dask itself names neither files nor fields."""
    named = security.get_tls_config_for_role(role)
    files = [named["ca_file"], named["cert"], named["key"]]
    if address.startswith("tls:") and not all(files):
        raise ConnectionError("for tls:// Dask's configuration has to name a ca-file, and a cert and a key")
    if address.startswith("tcp:") and security.require_encryption:
        raise ConnectionError("Dask's configuration demands tls://")
    for path in files:
        if path and "\n" not in path and not Path(path).is_file():  # Dask takes the text of a certificate, too
            raise ConnectionError(f"Dask's configuration names {path}, and there is no such file")


_STRANGERS = {"Worker": "a worker of Dask, no scheduler", "silent": "no scheduler of Dask: it says nothing"}


def serve(
    address: str,
    *,
    threads: int,
    resources: Mapping[str, float],
    folder: Path,
    name: str | None,
    ready: Callable[[], None],
) -> None:
    """Be a worker of a scheduler until that is gone, or the process is interrupted.

    It does as many orders at one time as it has threads. `folder` is for what Dask itself writes; `ready` is called
    when it has joined.

    Raises:
        SlipwayError: the scheduler cannot be reached, or does not take this worker.
    """
    import dask.config  # noqa: PLC0415 - as above
    from distributed import Worker  # noqa: PLC0415

    _quiet()

    async def work() -> None:
        try:
            await _reach(address, "worker")
        except Exception as error:
            hint = (
                "start it (dask scheduler), check the address (tls:// or tcp://, as the scheduler's own; port 8786 "
                "where it was not told another), or name this machine's certificates in Dask's configuration"
            )
            raise SlipwayError(f"{address} cannot be reached: {_said(error)}", hint=hint) from error
        async with AsyncExitStack() as stack:
            try:
                worker = await stack.enter_async_context(
                    Worker(
                        address,
                        nthreads=threads,
                        resources=dict(resources),
                        local_directory=str(folder),
                        name=name,
                        memory_limit=0,  # what a step needs is looked after by `engine.memory`
                    )
                )
            except Exception as error:
                raise _refusal(address, name, error.__cause__ or error) from error
            ready()
            await worker.finished()

    quietly = {"distributed.worker.profile.enabled": False, "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s"}
    with dask.config.set(quietly):
        asyncio.run(work())


def _refusal(address: str, name: str | None, cause: BaseException) -> SlipwayError:
    """Why a worker could not begin, in words; Dask itself says that it failed to start (see quirk DASK-4)."""
    if "name taken" in str(cause):
        return SlipwayError(
            f"{address} has a worker called {name} already",
            hint="give this one another --name, or none: then it is known by its address",
        )
    hint = f"the log of the scheduler at {address} may say more"
    return SlipwayError(f"the worker could not begin: {_said(cause)}", hint=hint)


def _said(error: BaseException) -> str:
    """What Dask says, without the `in <TCP (closed) local=…>:` before it."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return re.sub(r"^in <.*>: ", "", line)
