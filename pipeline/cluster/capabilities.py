"""What this machine is and has, held against what an order wants; `performer` asks before it does anything.

A worker lives long, and a machine changes under it: a program that was upgraded is asked anew for each order, while
code and packages are those that were loaded when the worker began.
"""

from __future__ import annotations

import platform
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.action import LOGS
from pipeline.engine import keys
from pipeline.engine.code import folder
from pipeline.engine.executor import Tools
from pipeline.errors import Position, SlipwayError
from pipeline.files import look, written
from pipeline.matrix.cells import Toolchain
from pipeline.toolchains.environment import Environment
from pipeline.tools.finder import PYTHON_OF, Finder
from pipeline.worker.pool import CURRENT

from .order import Order


class Refused(Exception):
    """This machine cannot do that; carries why."""


def machine() -> str:
    """The kind of machine this is."""
    return f"{sys.platform}-{platform.machine()}"


class Capabilities:
    """One machine, as its worker found it. Methods may be called from any thread.

    Args:
        home: directory for environments of toolchains.
        root: the worker's scratch tree.
        packages: where steps may come from.
        note: told when something that takes long begins.

    Attributes:
        environments: those that orders have named, by what a toolchain is called here.
    """

    def __init__(self, home: Path, root: Path, packages: tuple[str, ...], note: Callable[[str], None]) -> None:
        self.environments: dict[str, Environment] = {}
        self._home = home
        self._root = root
        self._note = note
        self._pythons: dict[str, str | None] = {}
        self._lock = threading.Lock()
        folders = filter(None, map(folder, packages))
        code = (path for one in folders for path in one.rglob("*") if _is_code(path))
        self._code = {path: written(look(path)) for path in code}
        # Looked at before anything is loaded: what is found first is what later looks are held against.
        self._demand_same_packages(CURRENT, PYTHON_OF + CURRENT, self._tools(None))

    def demand(self, order: Order) -> tuple[str, Tools]:
        """What the order's toolchain is called here, and the programs of this machine, all as the order wants them.

        Raises:
            Refused: this is another kind of machine, or one with other code, tools or packages.
        """
        if order.machine != machine():
            raise Refused(f"is {machine()}, not {order.machine}")
        for path, state in self._code.items():
            if written(look(path)) != state:
                raise Refused(f"must be started again: {path.parent.name}/{path.name} has changed")
        described = order.environment
        name, environment = CURRENT, None
        if described is not None:
            digest = keys.digest({"toolchain": described.toolchain, "frozen": described.frozen})[:12]
            name = f"{order.toolchain}-{digest}"
            environment = self._made(name, described.toolchain, described.frozen)
        tools = self._tools(environment)
        self._demand_same_packages(name, PYTHON_OF + order.toolchain, tools)
        for asked, version in order.tools.items():
            tool = tools[asked]
            if tool is None or tool.version != version:
                has = f"has {asked} {tool.version}" if tool is not None else f"has no {asked}"
                raise Refused(f"{has}, not {version}")
        return name, tools

    def _tools(self, environment: Environment | None) -> Tools:
        environments = None if environment is None else lambda _name: environment
        return Tools(Finder(self._root / "tools", environments).find)

    def _demand_same_packages(self, name: str, asked: str, tools: Tools) -> None:
        """Refuse to use an interpreter that may have loaded other packages than those that are there now."""
        tool = tools[asked]
        version = tool.version if tool is not None else None
        if self._pythons.setdefault(name, version) != version:
            raise Refused(f"must be started again: the packages of {asked} have changed")

    def _made(self, name: str, fields: Mapping[str, object], frozen: tuple[str, ...] | None) -> Environment:
        """The environment of a toolchain, in a directory of its own: another project may call another so."""
        try:
            toolchain = Toolchain(**{**fields, "where": Position("order", 1, 1)})  # type: ignore[arg-type]
        except TypeError as error:
            raise Refused("does not know such a toolchain") from error
        home = self._home / "toolchains" / name
        with self._lock:
            environment = self.environments.setdefault(name, Environment(toolchain, home, frozen))
        try:
            environment.ensure(log=self._root / LOGS / f"toolchain.{name}.log", note=self._note)
        except SlipwayError as error:
            raise Refused(f"cannot use toolchain {toolchain.name}: {error.what.splitlines()[-1].strip()}") from error
        return environment


def _is_code(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
