"""A checkpoint in MLC's form, checked against its own index and config: the steps `weights` and `bundle` call it.

An app reads `mlc-chat-config.json`, the tokenizer files that it lists, `tensor-cache.json`, and the shards that this
lists; it finds out on the device what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents import untrusted
from pipeline.documents.parameters import Parameter, Parameters
from pipeline.errors import StepError
from pipeline.files import CHUNK_BYTES, is_safe_relative

CHAT_CONFIG = "mlc-chat-config.json"
INDEX = "tensor-cache.json"
OLD_INDEX = "ndarray-cache.json"
"""The name of the index in checkpoints of 2023 to 2025; today's apps do not look for it."""

_LFS = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024

_AGAIN = "get the weights again, or convert them again"


def refuse_pointers(files: Mapping[str, Path]) -> None:
    """Refuse a pointer that Git LFS left in place of a file.

    Raises:
        StepError: one of the files is such a pointer.
    """
    for name, path in files.items():
        if path.stat().st_size <= _LARGEST_POINTER and path.read_bytes().startswith(_LFS):
            raise StepError(
                f"{name} is not the file but a pointer of Git LFS to it",
                where=path,
                hint="run git lfs install and git lfs pull in the checkout it is from, or download the file itself",
            )


def tokenizer_files(config: Path) -> tuple[str, ...]:
    """The files of a tokenizer that an app loads, as its `mlc-chat-config.json` lists them.

    Raises:
        StepError: the config is not what mlc_llm writes.
    """
    listed = _object(config).get("tokenizer_files", [])
    if not isinstance(listed, list) or not all(isinstance(one, str) and is_safe_relative(one) for one in listed):
        raise StepError("its tokenizer_files are not a list of files", where=config, hint=_AGAIN)
    return tuple(listed)


def check(subject: str, files: Mapping[str, Path], *, shipped: bool, ours: frozenset[str] = frozenset()) -> None:
    """Refuse a checkpoint that an app could not load.

    Args:
        subject: the model variant, for messages.
        files: everything that is bundled, by name.
        shipped: whether an app gets its parameters from here; else they may be left out.
        ours: names of files that were written here, and whose content needs no look.

    Raises:
        StepError: a file that the config or the index lists is missing, or not what the index says.
    """
    missing = [name for name in tokenizer_files(files[CHAT_CONFIG]) if name not in files]
    if missing:
        raise StepError(
            f"{CHAT_CONFIG} of {subject} lists {', '.join(missing)} among its tokenizer_files, and the weights have no "
            "such file: apps could not load the model",
            hint="add it to the weights (and to `files` of `weights`, where that is set), or correct the config",
        )
    if INDEX not in files:
        _without_index(subject, files, shipped=shipped)
        return
    for shard in _shards(files[INDEX]):
        path = files.get(shard.path)
        if path is not None:
            _check_shard(shard, path, read=shard.path not in ours)
        elif shipped:
            raise StepError(
                f"{INDEX} of {subject} lists {shard.path}, which the weights do not have",
                hint=f"{_AGAIN}; or name it in `files` of `weights`, where that is set",
            )


def parameters(index: Path) -> Parameters:
    """Name, shape and dtype of each tensor that an index lists.

    Raises:
        StepError: it is none.
    """
    found = []
    for shard in _shards(index):
        for one in shard.records:
            name, dtype, shape = (one.get(key) if isinstance(one, dict) else None for key in ("name", "dtype", "shape"))
            if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list):
                raise StepError("the index has an entry that is not a tensor", where=index, hint=_AGAIN)
            found.append(Parameter(name, tuple(n for n in shape if type(n) is int), dtype))
    return Parameters(tuple(found))


def _without_index(subject: str, files: Mapping[str, Path], *, shipped: bool) -> None:
    shards = sorted(name for name in files if name.startswith("params_shard_"))
    if OLD_INDEX in files:
        raise StepError(
            f"the weights of {subject} have {OLD_INDEX} and no {INDEX}, the name that apps look for today",
            where=files[OLD_INDEX],
            hint=f"copy it to {INDEX} beside it: the form is the same",
        )
    if shipped or shards:
        raise StepError(
            f"the weights of {subject} are to be shipped, and have no {INDEX}: apps could not load them",
            hint=f"name weights in MLC's form with their parameters ({INDEX} and params_shard_*.bin)",
        )


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard that an index lists: its name, its size, its MD5 where that is said, and the tensors in it."""

    path: str
    size: int
    md5: str | None
    records: Sequence[object]


def _shards(index: Path) -> list[_Shard]:
    """The shards that an index lists."""
    records = _object(index).get("records")
    if not isinstance(records, list) or not records:
        raise StepError("the index lists no shards", where=index, hint=_AGAIN)
    return [_shard(one, index) for one in records]


def _shard(record: object, index: Path) -> _Shard:
    fields = record if isinstance(record, dict) else {}
    path, size, md5, inside = (fields.get(key) for key in ("dataPath", "nbytes", "md5sum", "records"))
    if not isinstance(path, str) or not is_safe_relative(path) or type(size) is not int:
        raise StepError("the index has an entry that is not a shard", where=index, hint=_AGAIN)
    if not isinstance(md5, str) and "md5sum" in fields:
        raise StepError("the index has an entry that is not a shard", where=index, hint=_AGAIN)
    return _Shard(path, size, md5, inside if isinstance(inside, list) else [])


def _check_shard(shard: _Shard, path: Path, *, read: bool) -> None:
    size = path.stat().st_size
    if size != shard.size:
        raise StepError(f"{shard.path} has {size} bytes, and {INDEX} says {shard.size}", where=path, hint=_AGAIN)
    if read and shard.md5 is not None and _md5(path) != shard.md5.lower():
        raise StepError(f"{shard.path} is not the file that {INDEX} lists: its MD5 is another", where=path, hint=_AGAIN)


def _md5(path: Path) -> str:
    state = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while block := file.read(CHUNK_BYTES):
            state.update(block)
    return state.hexdigest()


def _object(path: Path) -> dict[str, object]:
    value = untrusted.parse(untrusted.read(path, error=StepError), str(path), StepError)
    if not isinstance(value, dict):
        raise StepError("is not a JSON object", where=path, hint=_AGAIN)
    return value
