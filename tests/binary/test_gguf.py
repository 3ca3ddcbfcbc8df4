"""GGUF: what llama.cpp's own library writes is read alike, and what is cut or lies is refused."""

from __future__ import annotations

import struct
from contextlib import suppress

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import gguf_file

from pipeline.binary.gguf import FILE_TYPES, TENSOR_TYPES, read_gguf
from pipeline.errors import FormatError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return gguf_file(tmp_path_factory.mktemp("gguf") / "good.gguf").read_bytes()


@pytest.fixture
def refused(tmp_path):
    def read(data):
        path = tmp_path / "bad.gguf"
        path.write_bytes(data)
        with pytest.raises(FormatError) as caught:
            read_gguf(path)
        return str(caught.value)

    return read


def test_what_the_header_says(tmp_path):
    path = gguf_file(tmp_path / "m.gguf")
    found = read_gguf(path)
    independent = gguf.GGUFReader(str(path))
    assert found.parameters == sum(int(tensor.n_elements) for tensor in independent.tensors) == 4 * 64 + 7
    assert found.architecture == independent.get_field("general.architecture").contents() == "gemma3n"
    assert found.context_length == independent.get_field("gemma3n.context_length").contents() == 32768
    assert (found.version, found.name, found.quantization) == (3, "tiny", "Q8_0")
    assert read_gguf(gguf_file(tmp_path / "n.gguf", quantized=False)).quantization == "F32"


def test_sizes_of_types_are_those_of_the_library():
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert dict(TENSOR_TYPES) == {number: theirs[number] for number in TENSOR_TYPES}
    names = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    assert dict(FILE_TYPES) == {number: names[number] for number in FILE_TYPES}


def test_what_is_behind_the_last_tensor_is_passed_over(good, tmp_path):
    """As by llama.cpp, which asks no more than that each tensor ends in the file."""
    path = tmp_path / "more.gguf"
    path.write_bytes(good + b"behind" * 99)
    assert len(gguf.GGUFReader(str(path)).tensors) == 2
    found = read_gguf(path)
    path.write_bytes(good)
    assert read_gguf(path) == found


def test_every_cut_is_refused(good, refused):
    assert "is cut: the tensor 'weight' ends at byte" in refused(good[: -1 - gguf.GGUF_DEFAULT_ALIGNMENT])
    for length in range(0, len(good) - gguf.GGUF_DEFAULT_ALIGNMENT, 97):
        assert refused(good[:length])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"GGUF", b"GGML", "it is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 3), b"GGUF" + struct.pack(">I", 3), "made for big-endian machines"),
        (b"GGUF" + struct.pack("<I", 3), b"GGUF" + struct.pack("<I", 1), "its version is 1, not 2 or 3"),
        (struct.pack("<IQQ", 2, 64, 4), struct.pack("<IQQ", 2, 64, 1 << 40), "is cut: the tensor 'weight'"),
        (struct.pack("<IQQ", 3, 2, 7), struct.pack("<IQQ", 3, 1 << 60, 7), "which no model has"),
        (struct.pack("<IQQ", 3, 2, 7), struct.pack("<IQQ", 3, 0, 7), "it has no tensors"),
        (b"general.architecture", b"general.architectura", "does not say what architecture"),
        (struct.pack("<IQ", 8, 3), struct.pack("<IQ", 8, 1 << 50), "which no model has"),
        (struct.pack("<Q", 300), struct.pack("<Q", 1 << 62), "it is cut in its header"),
    ],
)
def test_lies_are_refused(good, refused, old, new, said):
    assert old in good
    assert said in refused(good.replace(old, new, 1))


def test_a_tensor_that_overlaps_another_is_refused(good, refused):
    at = good.rindex(struct.pack("<IQ", 8, 32))  # type and offset of the last tensor
    assert "is said to be at 0, and belongs at 32" in refused(good[:at] + struct.pack("<IQ", 8, 0) + good[at + 12 :])


def test_a_part_of_a_model_is_refused(tmp_path, refused):
    path = gguf_file(tmp_path / "part.gguf", extra={"split.count": 3})
    assert "it is one of 3 parts" in refused(path.read_bytes())


@pytest.mark.parametrize("kind", ["adapter", "imatrix"])
def test_what_is_no_model_is_refused(tmp_path, refused, kind):
    path = gguf_file(tmp_path / "lora.gguf", extra={"general.type": kind})
    assert f"it is no model, but of type {kind}" in refused(path.read_bytes())


@pytest.mark.parametrize(
    ("name", "said"),
    [(b"", "the name of a tensor is empty"), (b"w" * 64, "more than 63 bytes"), (b"\xff" * 64, "more than 63 bytes")],
)
def test_names_that_no_runtime_takes_are_refused(good, refused, name, said):
    old = struct.pack("<Q", 6) + b"weight"
    assert old in good
    assert said in refused(good.replace(old, struct.pack("<Q", len(name)) + name))


def test_an_alignment_that_is_none_is_refused(tmp_path, refused, good):
    data = gguf_file(tmp_path / "a.gguf", extra={"general.alignmenT": 3}).read_bytes()
    assert "no power of two" in refused(data.replace(b"general.alignmenT", b"general.alignment"))


@settings(max_examples=400)
@given(data=st.data())
def test_damage_gives_an_error_or_a_model_and_no_traceback(good, tmp_path_factory, data):
    damaged = bytearray(good[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else good)
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            at = data.draw(st.integers(0, min(len(damaged) - 1, 1200)))
            part = data.draw(st.binary(min_size=1, max_size=8))
            damaged[at : at + len(part)] = part
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(damaged)
    with suppress(FormatError):
        read_gguf(path)
