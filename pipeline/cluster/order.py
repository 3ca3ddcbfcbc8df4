"""What goes to another machine and what comes back, as JSON text: `sender` and `performer` write and read it.

Either may come from a stranger, so reading checks all of it: size, depth, types, paths and digests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline.documents import untrusted
from pipeline.documents.codec import decode, encode
from pipeline.errors import FormatError
from pipeline.files import is_sha256
from pipeline.files.names import is_safe_relative
from pipeline.store.action_result import FILE, PROGRAM, Output
from pipeline.worker.wire import Failure

FORMAT = 1
LARGEST_BYTES = 8 << 20
"""Of a text. An order of a model with a thousand shards has about 200 KiB."""

LOG_BYTES = 1 << 16
"""Of the end of a log that comes back with a failure."""


T = TypeVar("T")


@dataclass(frozen=True)
class Environment:
    """A toolchain that is not the Python that runs us: what targets.yaml says of it, and what slipway.lock pins."""

    toolchain: Mapping[str, object]
    frozen: tuple[str, ...] | None


@dataclass(frozen=True)
class Order:
    """An action for another machine.

    Attributes:
        step: see `pipeline.action.Action`, as for `subject`, `outputs` and `memory`.
        run: the step's function, `module:name`.
        params: its parameters with all their fields; in whole.
        fields: the key document.
        files: role -> path in `tree`.
        tree: relative path -> file, of everything behind `files`.
        upstream: role -> relative path -> output, of what is read of upstream actions.
        asked: names of the tools that the step needs.
        tools: name -> version of these, and of those that its toolchain needs.
        toolchain: the name of the toolchain that works for the step.
        environment: of that toolchain; None where it is the Python that runs the worker.
        machine: kind of machine, as `here` says it.
    """

    step: str
    subject: str
    outputs: tuple[str, ...]
    memory: int
    run: str
    params: object
    fields: Mapping[str, object]
    files: Mapping[str, str]
    tree: Mapping[str, Output]
    upstream: Mapping[str, Mapping[str, Output]]
    asked: tuple[str, ...]
    tools: Mapping[str, str]
    toolchain: str
    environment: Environment | None
    machine: str
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The action's."""
        return f"{self.step}:{self.subject}"

    def inputs(self) -> dict[str, Output]:
        """Digest -> file, of everything the order needs."""
        every = (file for files in (self.tree, *self.upstream.values()) for file in files.values())
        return {file.sha256: file for file in every}


@dataclass(frozen=True)
class Receipt:
    """What became of an order: a key that the store knows now, or why not.

    Attributes:
        key: of the result, which is in the remote store with all its blobs.
        refused: why this machine cannot do it exactly, or could not; another may.
        log: the end of what its tools printed.
    """

    host: str
    key: str | None = None
    refused: str | None = None
    failure: Failure | None = None
    log: str = ""


def write(document: Order | Receipt) -> str:
    """The text of a document.

    Raises:
        FormatError: it is too large.
    """
    text = json.dumps(encode(document), sort_keys=True, separators=(",", ":"))
    if len(text) > LARGEST_BYTES:
        raise FormatError(f"{type(document).__name__.lower()} of {len(text) >> 20} MiB")
    return text


def read_order(text: str) -> Order:
    """An order from its text.

    Raises:
        FormatError: it is none.
    """
    order = _read(Order, text)
    files = [item for some in (order.tree, *order.upstream.values()) for item in some.items()]
    for path, output in files:
        if not is_safe_relative(path) or not _is_file(output):
            raise FormatError(f"{path!r} is no input", where="order")
    described = order.toolchain if order.environment is None else order.environment.toolchain.get("name")
    for name in (f"{order.step}.{order.subject}", order.toolchain):  # both become names of files
        if not is_safe_relative(name) or described != order.toolchain:
            raise FormatError(f"{name!r} is no name", where="order")
    if order.format != FORMAT or not set(order.files.values()) <= _places(order.tree):
        raise FormatError("is not one of this version", where="order")
    return order


def read_receipt(text: object) -> Receipt:
    """A receipt from what came back.

    Raises:
        FormatError: it is none.
    """
    return _read(Receipt, text)


def _read(kind: type[T], text: object) -> T:
    where = kind.__name__.lower()
    if not isinstance(text, str) or len(text) > LARGEST_BYTES:
        raise FormatError("is no text, or too long", where=where)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise FormatError("is not Unicode", where=where) from error
    return decode(kind, untrusted.parse(data, where), where)


def _is_file(output: Output) -> bool:
    return is_sha256(output.sha256) and output.size >= 0 and output.mode in {FILE, PROGRAM}


def _places(tree: Mapping[str, Output]) -> set[str]:
    """The files of a tree and the directories they are in."""
    return {path[:end] for path in tree for end in (*(i for i, c in enumerate(path) if c == "/"), len(path))}
