"""The tensor cache: what is written is what is read, by us and by TVM, and damage is noticed."""

from __future__ import annotations

import hashlib
import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.compilers import tensor_cache
from pipeline.errors import FormatError
from pipeline.files import hash_path

DTYPES = [np.dtype(name) for name in ("float16", "float32", "int8", "uint8", "int32", "uint32", "int64", "bool")]
DTYPES += [np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(">f4")]

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)


@st.composite
def arrays(draw):
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(shapes)
    size = int(np.prod(shape)) * dtype.itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    if dtype.kind == "b":
        data = bytes(byte & 1 for byte in data)
    return np.frombuffer(data, dtype).reshape(shape)


tensors = st.dictionaries(st.text(min_size=1, max_size=8), arrays(), max_size=6)


@settings(max_examples=80)
@given(given_tensors=tensors, shard_bytes=st.integers(1, 200))
def test_reads_what_was_written_in_the_same_order(tmp_path_factory, given_tensors, shard_bytes):
    folder = tmp_path_factory.mktemp("cache")
    counted = tensor_cache.write(given_tensors.items(), folder, shard_bytes=shard_bytes)
    found = tensor_cache.read(folder)
    assert list(found) == list(given_tensors)
    for name, array in given_tensors.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        assert found[name].shape == array.shape
        assert found[name].dtype == little.dtype
        assert found[name].tobytes() == little.tobytes()
    assert counted.bytes == sum(array.nbytes for array in given_tensors.values())
    assert len(list(folder.glob("params_shard_*.bin"))) == len(counted.digests) - 1
    assert counted.digests == {one.name: hash_path(one) for one in folder.iterdir()}


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=20), shard_bytes=st.integers(1, 60))
def test_no_shard_is_larger_than_allowed_unless_one_tensor_is(tmp_path_factory, sizes, shard_bytes):
    folder = tmp_path_factory.mktemp("cache")
    tensor_cache.write(((str(i), np.zeros(n, "uint8")) for i, n in enumerate(sizes)), folder, shard_bytes=shard_bytes)
    for shard in json.loads((folder / "tensor-cache.json").read_text())["records"]:
        data = (folder / shard["dataPath"]).read_bytes()
        assert shard["nbytes"] == len(data)
        assert shard["md5sum"] == hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert shard["sha256"] == hashlib.sha256(data).hexdigest()
        filled = [record for record in shard["records"] if record["nbytes"]]
        assert len(data) <= shard_bytes or len(filled) == 1


def test_equal_tensors_give_equal_files(tmp_path):
    array = np.arange(1000, dtype="float32").reshape(20, 50)
    for name, given_array in {"a": array, "b": np.asfortranarray(array), "c": array.astype(">f4")}.items():
        (tmp_path / name).mkdir()
        tensor_cache.write([("x", given_array)], tmp_path / name, shard_bytes=512)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"]
    assert files[0] == files[1] == files[2]


class FakeTensor:
    """Speaks no DLPack for its dtype, as TVM's bfloat16 tensors do not."""

    def __dlpack__(self, **_options):
        raise RuntimeError("Unsupported dtype in DLTensor.")

    def __dlpack_device__(self):
        return (1, 0)

    def numpy(self):
        return np.ones(3, ml_dtypes.bfloat16)


def test_a_tensor_without_dlpack_is_asked_for_numpy(tmp_path):
    tensor_cache.write([("x", FakeTensor())], tmp_path)
    assert tensor_cache.read(tmp_path)["x"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array(["text"]), "'x' is of dtype <U4"),
        (np.array([None]), "'x' is of dtype object"),
        (np.zeros(2, ml_dtypes.int4), "'x' is of dtype int4"),
        (np.zeros(2, "complex64"), "'x' is of dtype complex64"),
        ([1, 2], "'x' is a list"),
    ],
)
def test_what_the_format_cannot_hold_is_named(tmp_path, value, words):
    with pytest.raises(FormatError) as caught:
        tensor_cache.write([("x", value)], tmp_path)
    assert words in caught.value.what
    assert caught.value.hint


def test_two_parameters_of_one_name(tmp_path):
    with pytest.raises(FormatError, match="two parameters are named 'x'"):
        tensor_cache.write([("x", np.zeros(1))] * 2, tmp_path)


@pytest.fixture
def cache(tmp_path):
    tensor_cache.write([("x", np.arange(8, dtype="float32")), ("y", np.arange(3, dtype="int8"))], tmp_path)
    return tmp_path


def damage(folder, change):
    index = json.loads((folder / "tensor-cache.json").read_text())
    change(index)
    (folder / "tensor-cache.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index["records"][0].update(dataPath="../params_shard_0.bin"),
        lambda index: index["records"][0].update(nbytes=36),
        lambda index: index["records"][0]["records"][0].update(byteOffset=-4),
        lambda index: index["records"][0]["records"][1].update(byteOffset=33),
        lambda index: index["records"][0]["records"][0].update(shape=[9]),
        lambda index: index["records"][0]["records"][0].update(dtype="object"),
        lambda index: index["records"][0]["records"][0].update(format="f32-to-bf16"),
        lambda index: index["records"][0].pop("records"),
        lambda index: index.pop("records"),
    ],
)
def test_a_damaged_index_is_refused(cache, change):
    tensor_cache.read(cache)
    damage(cache, change)
    with pytest.raises(FormatError, match="not a tensor cache"):
        tensor_cache.read(cache)


def test_a_truncated_or_missing_shard_is_refused(cache):
    shard = cache / "params_shard_0.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(FormatError, match="34 bytes, the index says 35"):
        tensor_cache.read(cache)
    shard.unlink()
    with pytest.raises(FormatError, match=r"params_shard_0\.bin"):
        tensor_cache.read(cache)


@pytest.mark.tvm
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # TVM leaves its files to the garbage collector
def test_tvm_reads_what_was_written_and_we_read_what_tvm_wrote(tmp_path, capsys):
    import tvm
    from tvm.contrib import tvmjs

    made = np.random.Generator(np.random.PCG64(1))
    given_tensors = {
        "a": made.standard_normal((40, 50)).astype("float32"),
        "b": made.standard_normal((7, 9)).astype("float16"),
        "words": made.integers(0, 2**32, (16, 4), "uint32"),
        "c": made.standard_normal((5,)).astype(ml_dtypes.bfloat16),
    }
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    tensor_cache.write(given_tensors.items(), ours, shard_bytes=5000)
    loaded, metadata = tvmjs.load_tensor_cache(str(ours), tvm.cpu())
    assert list(loaded) == list(given_tensors)
    assert metadata["ParamSize"] == 4
    for name, array in given_tensors.items():
        assert loaded[name].numpy().tobytes() == array.tobytes()
        assert tuple(loaded[name].shape) == array.shape

    tvmjs.dump_tensor_cache(given_tensors, str(theirs), encode_format="raw", show_progress=False)
    capsys.readouterr()
    found = tensor_cache.read(theirs)
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in given_tensors.items()
    }
