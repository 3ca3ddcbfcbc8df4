"""A checkpoint in MLC's form, checked against its own index and config: the steps `weights` and `bundle` call it.

An app reads `mlc-chat-config.json`, the tokenizer files that it lists, `tensor-cache.json`, and the shards that this
lists; it finds out on the device what is missing. What is wanted of each is what MLC's `AppState.swift` and
`tokenizers.cc` and TVM's `tensor_cache_support.cc` read.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.documents import untrusted
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.documents.parameters import INDEX, Parameter, Parameters
from pipeline.errors import StepError
from pipeline.files import CHUNK_BYTES, is_safe_relative

OLD_INDEX = "ndarray-cache.json"
"""The name of the index in checkpoints of 2023 to 2025; today's apps do not look for it."""

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": ("Git LFS", "git lfs install and git lfs pull"),
    b"version https://hawser.github.com/spec/": ("Git LFS", "git lfs install and git lfs pull"),
    b"# xet version": ("git-xet", "git xet install and git xet checkout"),
    b"/annex/objects/": ("git-annex", "git annex get"),
}
"""What a file begins with that stands for another -> who left it, and what brings the file."""
_LARGEST_POINTER = 1024

_TOKENIZERS = (
    {"tokenizer.json"},
    {"tokenizer.model"},
    {"tokenizer_model"},
    {"vocab.json", "merges.txt", "added_tokens.json"},
)
"""Files of which MLC's runtime makes a tokenizer."""

_AGAIN = "get the weights again, or convert them again"


def refuse_pointers(files: Mapping[str, Path]) -> None:
    """Refuse a pointer that Git LFS or its like left in place of a file.

    Raises:
        StepError: one of the files is such a pointer.
    """
    for name, path in files.items():
        head = path.read_bytes() if path.stat().st_size <= _LARGEST_POINTER else b""
        for start, (owner, words) in _POINTERS.items():
            if head.startswith(start):
                raise StepError(
                    f"{name} is not the file but a pointer of {owner} to it",
                    where=path,
                    hint=f"run {words} in the checkout it is from, or download the file itself",
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
    _check_tokenizer(subject, files, shipped=shipped and not ours)
    if INDEX not in files:
        _without_index(subject, files, shipped=shipped)
        return
    shards = _shards(files[INDEX])
    if INDEX not in ours:
        _check_index(shards, files[INDEX])
    for shard in shards:
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
    tensors = (tensor for shard in _shards(index) for tensor in shard.tensors)
    return Parameters(tuple(Parameter(one.name, one.shape, one.dtype) for one in tensors))


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


def _check_tokenizer(subject: str, files: Mapping[str, Path], *, shipped: bool) -> None:
    """What is listed can be read; and of what is shipped, a tokenizer can be made."""
    if shipped and "tokenizer_files" not in _object(files[CHAT_CONFIG]):
        raise StepError(
            f"{CHAT_CONFIG} of {subject} has no tokenizer_files, without which apps take no model",
            where=files[CHAT_CONFIG],
            hint='list them: "tokenizer_files": ["tokenizer.json", …]; mlc_llm gen_config does',
        )
    if shipped and not any(needed <= files.keys() for needed in _TOKENIZERS):
        raise StepError(
            f"the weights of {subject} have no tokenizer that apps could load",
            hint="add tokenizer.json to the weights (and to `files` of `weights`, where that is set)",
        )
    for name in {*tokenizer_files(files[CHAT_CONFIG]), *(files.keys() & {"tokenizer.json"})}:
        data = files[name].read_bytes()
        if not data or (name.endswith(".json") and not _is_object(data)):
            what = "is no JSON object" if data else "is empty"
            raise StepError(f"{name} of {subject} {what}: apps could not load it", where=files[name], hint=_AGAIN)


def _is_object(data: bytes) -> bool:
    """Whether it is a JSON object; of a stranger's tokenizer, which may have a million entries, no more is asked."""
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor that an index lists; `start` and `size` are its bytes in the shard, None where they are not said."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int | None
    size: int | None


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard that an index lists: its name, its size, its MD5 where that is said, and the tensors in it."""

    path: str
    size: int
    md5: str | None
    form: object
    tensors: tuple[_Tensor, ...]


def _check_index(shards: Sequence[_Shard], index: Path) -> None:
    """A runtime reads what the index means. How many bytes dtype and shape come to is for a tensor's format to say."""
    for shard in shards:
        if shard.form != "raw-shard":
            what = f"{shard.path} is a {shard.form!r}, and runtimes load nothing but a raw-shard"
            raise StepError(what, where=index, hint=_AGAIN)
        for one in shard.tensors:
            if one.start is None or one.size is None:
                raise StepError(f"the index does not say where {one.name} lies", where=index, hint=_AGAIN)
            if not 0 <= one.start <= one.start + one.size <= shard.size:
                place = f"bytes {one.start} to {one.start + one.size} of {shard.path}, which has {shard.size}"
                raise StepError(f"{one.name} is {place}", where=index, hint=_AGAIN)
    for names in ([shard.path for shard in shards], [one.name for shard in shards for one in shard.tensors]):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            what = f"the index lists {twice[0]} twice, and a runtime would take the last"
            raise StepError(what, where=index, hint=_AGAIN)


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
    if (not isinstance(md5, str) and "md5sum" in fields) or not isinstance(inside, list):
        raise StepError("the index has an entry that is not a shard", where=index, hint=_AGAIN)
    return _Shard(path, size, md5, fields.get("format", "raw-shard"), tuple(_tensor(one, index) for one in inside))


def _tensor(record: object, index: Path) -> _Tensor:
    fields = record if isinstance(record, dict) else {}
    name, dtype, shape, start, size = (fields.get(key) for key in ("name", "dtype", "shape", "byteOffset", "nbytes"))
    if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list):
        raise StepError("the index has an entry that is not a tensor", where=index, hint=_AGAIN)
    place = (start, size) if type(start) is int and type(size) is int else (None, None)
    return _Tensor(name, dtype, tuple(n for n in shape if type(n) is int), *place)


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
