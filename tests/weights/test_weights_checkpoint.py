"""A checkpoint in MLC's form is what its own config and index say, or is not shipped."""

from __future__ import annotations

import hashlib
import json

import pytest

from pipeline.errors import StepError
from pipeline.weights import checkpoint

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)
SHARD = b"\1" * 32


@pytest.fixture
def folder(tmp_path):
    tensor = {"name": "w", "shape": [2, 4], "dtype": "float32", "format": "f32-to-bf16", "nbytes": 16, "byteOffset": 16}
    shard = {
        "dataPath": "params_shard_0.bin",
        "format": "raw-shard",
        "nbytes": 32,
        "md5sum": hashlib.md5(SHARD, usedforsecurity=False).hexdigest(),
        "records": [tensor],
    }
    (tmp_path / "mlc-chat-config.json").write_text(json.dumps({"tokenizer_files": ["tokenizer.json"]}))
    (tmp_path / "tensor-cache.json").write_text(json.dumps({"metadata": {"ParamBytes": 32.0}, "records": [shard]}))
    (tmp_path / "params_shard_0.bin").write_bytes(SHARD)
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def check(folder, *, shipped=True, **more):
    checkpoint.check("small", {path.name: path for path in folder.iterdir()}, shipped=shipped, **more)


def refusal(folder, **more) -> str:
    with pytest.raises(StepError) as caught:
        check(folder, **more)
    assert caught.value.hint
    return str(caught.value)


def index(folder, **changes):
    text = json.loads((folder / "tensor-cache.json").read_text())
    text["records"][0].update(changes)
    (folder / "tensor-cache.json").write_text(json.dumps(text))


def test_a_whole_checkpoint_passes(folder):
    check(folder)


def test_a_listed_tokenizer_file_is_missed(folder):
    (folder / "tokenizer.json").unlink()
    assert "lists tokenizer.json among its tokenizer_files" in refusal(folder)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_shard_of_another_size(folder, size):
    (folder / "params_shard_0.bin").write_bytes(b"\1" * size)
    assert f"params_shard_0.bin has {size} bytes, and tensor-cache.json says 32" in refusal(folder, shipped=False)


def test_a_shard_with_another_content(folder):
    (folder / "params_shard_0.bin").write_bytes(b"\2" * 32)
    assert "its MD5 is another" in refusal(folder)
    check(folder, ours=frozenset({"params_shard_0.bin"}))


def test_a_shard_that_is_not_there(folder):
    (folder / "params_shard_0.bin").unlink()
    assert "lists params_shard_0.bin, which the weights do not have" in refusal(folder)
    check(folder, shipped=False)  # apps get it from the hub


def test_no_index(folder):
    (folder / "tensor-cache.json").unlink()
    assert "have no tensor-cache.json" in refusal(folder)
    assert "have no tensor-cache.json" in refusal(folder, shipped=False)


def test_no_parameters_at_all(folder):
    (folder / "tensor-cache.json").unlink()
    (folder / "params_shard_0.bin").unlink()
    assert "are to be shipped, and have no tensor-cache.json" in refusal(folder)
    check(folder, shipped=False)


def test_only_the_old_name_of_the_index(folder):
    (folder / "tensor-cache.json").rename(folder / "ndarray-cache.json")
    assert "hint: copy it to tensor-cache.json beside it" in refusal(folder)
    (folder / "tensor-cache.json").write_bytes((folder / "ndarray-cache.json").read_bytes())
    check(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"dataPath": "../../x"},
        {"dataPath": "/etc/passwd"},
        {"dataPath": 1},
        {"nbytes": "32"},
        {"nbytes": True},
        {"md5sum": 1},
        {"records": None},
    ],
    ids=str,
)
def test_an_index_that_makes_no_sense(folder, changes):
    index(folder, **changes)
    assert "an entry that is not a shard" in refusal(folder)


def test_an_index_of_another_format(folder):
    index(folder, format="npz")
    assert "runtimes load nothing but a raw-shard" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"byteOffset": 17}, "w is bytes 17 to 33 of params_shard_0.bin, which has 32"),
        ({"byteOffset": -1}, "w is bytes -1 to 15"),
        ({"nbytes": -1}, "w is bytes 16 to 15"),
        ({"byteOffset": "0"}, "records[0].byteOffset: expected a whole number"),
        ({"nbytes": None}, "records[0].nbytes: expected a whole number"),
        ({"shape": 4}, "records[0].shape: expected an array"),
    ],
    ids=str,
)
def test_a_tensor_that_is_not_in_its_shard(folder, changes, what):
    tensor = json.loads((folder / "tensor-cache.json").read_text())["records"][0]["records"][0]
    index(folder, records=[tensor | changes])
    assert what in refusal(folder)


def test_a_tensor_and_a_shard_that_are_there_twice(folder):
    text = json.loads((folder / "tensor-cache.json").read_text())
    (shard,) = text["records"]
    index(folder, records=shard["records"] * 2)
    assert "lists w twice" in refusal(folder)
    text["records"] = [shard, shard]
    (folder / "tensor-cache.json").write_text(json.dumps(text))
    assert "lists params_shard_0.bin twice" in refusal(folder)


@pytest.mark.parametrize("text", ["", '{"version": "1.0", "model": {', "<!DOCTYPE html>", "[]", "[" * 100_000])
def test_a_tokenizer_that_is_none(folder, text):
    (folder / "tokenizer.json").write_text(text)
    assert "tokenizer.json of small is" in refusal(folder)
    (folder / "mlc-chat-config.json").write_text('{"tokenizer_files": []}')  # runtimes look for it by its name
    assert "tokenizer.json of small is" in refusal(folder)


def test_no_tokenizer_and_no_list_of_one(folder):
    (folder / "mlc-chat-config.json").write_text('{"tokenizer_files": []}')
    check(folder)
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert "no tokenizer that apps could load" in refusal(folder)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "added_tokens.json").write_text("{}")
    check(folder)
    (folder / "mlc-chat-config.json").write_text("{}")
    assert "has no tokenizer_files" in refusal(folder)
    check(folder, shipped=False)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"records": []}', '{"records": 1}', "[" * 100_000, '{"records": [1]}']
)
def test_an_index_that_is_none(folder, text):
    (folder / "tensor-cache.json").write_text(text)
    refusal(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"tokenizer_files": 1}', '{"tokenizer_files": ["../x"]}', '{"a": "\\ud800"}']
)
def test_a_config_that_is_none(folder, text):
    (folder / "mlc-chat-config.json").write_text(text)
    refusal(folder)


def test_an_index_without_digests_is_held_to_its_sizes(folder):
    text = json.loads((folder / "tensor-cache.json").read_text())
    del text["records"][0]["md5sum"]
    (folder / "tensor-cache.json").write_text(json.dumps(text))
    check(folder)


def test_a_pointer_of_git_lfs_is_not_a_file(folder):
    (folder / "params_shard_0.bin").write_bytes(POINTER)
    with pytest.raises(StepError, match="a pointer of Git LFS to it"):
        checkpoint.refuse_pointers({path.name: path for path in folder.iterdir()})
    (folder / "params_shard_0.bin").write_bytes(b"/annex/objects/SHA256E-s32--0123.bin\n")
    with pytest.raises(StepError, match="a pointer of git-annex"):
        checkpoint.refuse_pointers({path.name: path for path in folder.iterdir()})
    (folder / "params_shard_0.bin").write_bytes(SHARD)
    checkpoint.refuse_pointers({path.name: path for path in folder.iterdir()})
