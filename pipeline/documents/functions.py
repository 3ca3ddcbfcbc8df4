"""`functions.json`: the functions of one compiled model. Compiles write it; archives, kits and checks read it.

The same values stand in `archive.json` and `link.json`, and the bindings of a kit are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .codec import Document

SHAPE, TUPLE, OBJECT = "shape", "tuple", "object"
"""What `Value.dtype` says of anything that is not a tensor."""


@dataclass(frozen=True)
class Value:
    """An argument or a result.

    Attributes:
        name: of an argument as in the module; results are `output_0` and so on.
        dtype: of a tensor's elements (`float32`); or `shape`, `tuple`, `object`; or `int` and `float`, plain numbers.
        shape: a text is an extent that is known only at the call, the same text the same extent. None where not even
            the number of dimensions is known.
        parameter: whether the bundle brings it, not the caller.
        items: of a tuple.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None = ()
    parameter: bool = False
    items: tuple[Value, ...] | None = None


@dataclass(frozen=True)
class Function:
    """A function that can be called.

    Attributes:
        arguments: None where the compiler does not say (mlc_llm).
        returns: likewise.
        by_place: what the module itself calls the parameters, in their order, where none of its names is one that the
            source gives: the first given is then taken for the first, and so on.
    """

    name: str
    arguments: tuple[Value, ...] | None
    returns: tuple[Value, ...] | None
    by_place: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Functions(Document):
    """The whole document.

    Attributes:
        functions: sorted by name.
        tvm: version of what compiled it, which the runtime must fit; None if unknown.
        tvm_ffi: likewise, of apache-tvm-ffi.
        parameters: of the whole library, which are loaded by their names, where its compiler lists them so (mlc_llm).
        memory: function -> bytes that it allocates, where its compiler plans that (Relax); None where they are known
            only at the call.
    """

    NAME = "functions.json"

    prefix: str
    functions: tuple[Function, ...]
    tvm: str | None = None
    tvm_ffi: str | None = None
    parameters: tuple[Value, ...] | None = None
    memory: Mapping[str, int | None] | None = None
