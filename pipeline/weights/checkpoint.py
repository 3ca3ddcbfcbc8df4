"""A checkpoint in MLC's form, checked against its own index and config: the steps `weights` and `bundle` call it.

An app reads `mlc-chat-config.json`, the tokenizer files that it lists, `tensor-cache.json`, and the shards that this
lists; it finds out on the device what is missing. What is wanted of each is what MLC's `AppState.swift` and
`tokenizers.cc` and TVM's `tensor_cache_support.cc` read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.documents import untrusted
from pipeline.documents.chat_config import NAME as CHAT_CONFIG
from pipeline.documents.codec import decode
from pipeline.documents.parameters import INDEX, Parameter, Parameters, ShardRecord, TensorCache
from pipeline.errors import FormatError, StepError
from pipeline.files import hash_path
from pipeline.files.names import is_safe_relative

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
    """Refuse a checkpoint, of which `files` has all that is bundled, that an app could not load.

    Unless an app gets its parameters from here (`shipped`), they may be left out. The content of files that were
    written here (`ours`) needs no look.

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
        path = files.get(shard.dataPath)
        if path is not None:
            _check_shard(shard, path, read=shard.dataPath not in ours)
        elif shipped:
            raise StepError(
                f"{INDEX} of {subject} lists {shard.dataPath}, which the weights do not have",
                hint=f"{_AGAIN}; or name it in `files` of `weights`, where that is set",
            )


def parameters(index: Path) -> Parameters:
    """Name, shape and dtype of each tensor that an index lists.

    Raises:
        StepError: it is none.
    """
    tensors = (tensor for shard in _shards(index) for tensor in shard.records)
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


def _check_index(shards: Sequence[ShardRecord], index: Path) -> None:
    """A runtime reads what the index means. How many bytes dtype and shape come to is for a tensor's format to say."""
    for shard in shards:
        if shard.format != "raw-shard":
            what = f"{shard.dataPath} is a {shard.format!r}, and runtimes load nothing but a raw-shard"
            raise StepError(what, where=index, hint=_AGAIN)
        for one in shard.records:
            end = one.byteOffset + one.nbytes
            if not 0 <= one.byteOffset <= end <= shard.nbytes:
                place = f"bytes {one.byteOffset} to {end} of {shard.dataPath}, which has {shard.nbytes}"
                raise StepError(f"{one.name} is {place}", where=index, hint=_AGAIN)
    for names in ([shard.dataPath for shard in shards], [one.name for shard in shards for one in shard.records]):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            what = f"the index lists {twice[0]} twice, and a runtime would take the last"
            raise StepError(what, where=index, hint=_AGAIN)


def _shards(index: Path) -> tuple[ShardRecord, ...]:
    """The shards that an index lists."""
    try:
        shards = decode(TensorCache, _object(index), "the index").records
    except FormatError as error:
        what = f"the index has an entry that is not a shard of tensors: {error.headline}"
        raise StepError(what, where=index, hint=_AGAIN) from error
    if not shards:
        raise StepError("the index lists no shards", where=index, hint=_AGAIN)
    for shard in shards:
        if not is_safe_relative(shard.dataPath):
            what = f"the index has an entry that is not a shard: {shard.dataPath!r}"
            raise StepError(what, where=index, hint=_AGAIN)
    return shards


def _check_shard(shard: ShardRecord, path: Path, *, read: bool) -> None:
    name, size = shard.dataPath, path.stat().st_size
    if size != shard.nbytes:
        raise StepError(f"{name} has {size} bytes, and {INDEX} says {shard.nbytes}", where=path, hint=_AGAIN)
    if read and shard.md5sum is not None and hash_path(path, "md5") != shard.md5sum.lower():
        raise StepError(f"{name} is not the file that {INDEX} lists: its MD5 is another", where=path, hint=_AGAIN)


def _object(path: Path) -> dict[str, object]:
    value = untrusted.load(path, StepError)
    if not isinstance(value, dict):
        raise StepError("is not a JSON object", where=path, hint=_AGAIN)
    return value
