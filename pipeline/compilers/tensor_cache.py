"""Writes and reads parameters in MLC's tensor cache: shards of raw bytes, and JSON that says where each tensor is.

The format is that of TVM's `tvm.contrib.tvmjs.dump_tensor_cache(encode_format="raw")`, which the runtimes on phones and
in browsers load. Written here with numpy alone, one tensor in memory at a time; equal tensors give equal bytes. TVM's
writer puts a large tensor's record before those of the smaller ones that came first; here the order of the records is
the order of the parameters, always.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.documents.codec import encode, load
from pipeline.documents.parameters import INDEX, ShardRecord, TensorCache, TensorRecord, WrittenCache
from pipeline.errors import FormatError
from pipeline.files import sha256_bytes

from .recipe import Array

SHARD_BYTES = 32 << 20
"""A shard is closed before it would grow beyond this; a larger tensor has one to itself. Browsers cache per shard."""

DTYPES = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"}
)
"""Dtypes whose name and bytes mean the same to numpy (with `ml_dtypes`) and to TVM."""


def write(
    tensors: Iterable[tuple[str, Array]],
    directory: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    said: Callable[[str, npt.NDArray[Any]], None] | None = None,
) -> WrittenCache:
    """Write named tensors into a directory, in the order they come: `params_shard_N.bin` and `tensor-cache.json`.

    They are numpy arrays (dtypes of `ml_dtypes` included) or CPU tensors that speak DLPack. A shard has no more than
    `shard_bytes`, unless one tensor alone does. `said` is told name and array of each.

    Raises:
        FormatError: two tensors have the same name, or one is of a dtype the format does not know.
    """
    shards: list[_Shard] = []
    names: set[str] = set()
    for name, tensor in tensors:
        array = _as_array(name, tensor)
        if name in names:
            raise FormatError(f"two parameters are named {name!r}", hint="give each parameter a name of its own")
        names.add(name)
        if said is not None:
            said(name, array)
        if not shards or (shards[-1].size and shards[-1].size + array.nbytes > shard_bytes):
            shards.append(_Shard(directory / f"params_shard_{len(shards)}.bin"))
        shards[-1].append(name, array)
    total = sum(shard.size for shard in shards)
    metadata = {"ParamSize": len(names), "ParamBytes": total}
    document = TensorCache(tuple(shard.record() for shard in shards), metadata)
    index = (json.dumps(encode(document), indent=1) + "\n").encode()
    (directory / INDEX).write_bytes(index)
    digests = {shard.path.name: shard.sha256.hexdigest() for shard in shards} | {INDEX: sha256_bytes(index)}
    return WrittenCache(len(names), total, digests)


def read(directory: Path) -> dict[str, npt.NDArray[Any]]:
    """Map a tensor cache into memory: name -> read-only array, in the order of the records.

    Raises:
        FormatError: the index or a shard is missing, malformed, or of another size than the index says.
    """
    index, hint = directory / INDEX, "build the parameters again"
    try:
        shards = load(TensorCache, index).records
        return {name: array for shard in shards for name, array in _read_shard(directory, shard)}
    except FormatError as error:
        raise FormatError(f"not a tensor cache: {error.what}", where=error.where, hint=hint) from error
    except (OSError, ValueError) as error:
        raise FormatError(f"not a tensor cache: {type(error).__name__}: {error}", where=index, hint=hint) from error


class _Shard:
    """One file being written, with the records of what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_bytes(b"")
        self.size = 0
        self.records: list[TensorRecord] = []
        # MD5 is the format's own check against damage, SHA-256 ours, for whoever downloads a shard.
        self.digest = hashlib.md5(usedforsecurity=False)
        self.sha256 = hashlib.sha256()

    def append(self, name: str, array: npt.NDArray[Any]) -> None:
        data = array.reshape(-1).view(np.uint8).data
        with self.path.open("ab") as file:
            file.write(data)
        self.digest.update(data)
        self.sha256.update(data)
        self.records.append(
            TensorRecord(name, array.shape, array.dtype.name, format="raw", nbytes=array.nbytes, byteOffset=self.size)
        )
        self.size += array.nbytes

    def record(self) -> ShardRecord:
        digests = self.digest.hexdigest(), self.sha256.hexdigest()
        return ShardRecord(self.path.name, "raw-shard", self.size, tuple(self.records), *digests)


def _as_array(name: str, tensor: Array) -> npt.NDArray[Any]:
    """Return the tensor as a C-contiguous little-endian numpy array."""
    array = tensor if isinstance(tensor, np.ndarray) else _from_tensor(name, tensor)
    if array.dtype.name not in DTYPES:
        hint = f"convert it to one of {', '.join(sorted(DTYPES))}"
        raise FormatError(f"parameter {name!r} is of dtype {array.dtype}, which a tensor cache cannot hold", hint=hint)
    # ascontiguousarray alone would make a scalar one-dimensional.
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _from_tensor(name: str, tensor: Array) -> npt.NDArray[Any]:
    """Ask for the tensor's memory by DLPack, and where numpy's DLPack does not know the dtype, by `numpy()`."""
    try:
        return np.from_dlpack(tensor)
    except (TypeError, AttributeError, ValueError, RuntimeError) as first:  # BufferError is none of them: it is final
        try:
            return np.asarray(tensor.numpy())
        except (TypeError, AttributeError, RuntimeError):
            problem: Exception = first
    except BufferError as error:
        problem = error
    hint = "give a numpy array, or a tensor on the CPU that needs no gradient (tensor.detach().cpu())"
    raise FormatError(f"parameter {name!r} is a {type(tensor).__name__}: {problem}", hint=hint)


def _read_shard(directory: Path, shard: ShardRecord) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    name = shard.dataPath
    if name != Path(name).name:
        raise ValueError(f"the shard {name!r} is not beside the index")
    size = (directory / name).stat().st_size
    if size != shard.nbytes:
        raise ValueError(f"{name} has {size} bytes, the index says {shard.nbytes}")
    data = np.memmap(directory / name, np.uint8, "r") if size else np.empty(0, np.uint8)
    for one in shard.records:
        if one.format != "raw" or one.dtype not in DTYPES:
            raise ValueError(f"{one.name} is encoded as {one.format} {one.dtype}")
        start, length, dtype = one.byteOffset, one.nbytes, as_dtype(one.dtype)
        if not 0 <= start <= start + length <= size or length != math.prod(one.shape) * dtype.itemsize:
            raise ValueError(f"{one.name} does not fit into {name}")
        yield one.name, data[start : start + length].view(dtype).reshape(one.shape)


def as_dtype(name: str) -> np.dtype[Any]:
    """Numpy's dtype of that name, from `ml_dtypes` where it is one of those."""
    extended = name.startswith(("bfloat", "float8"))
    # Only these need the package, and numpy finds them by no name of its own.
    return np.dtype(getattr(importlib.import_module("ml_dtypes"), name) if extended else name)
