"""LiteRT files: what TFLite's own classes write is read alike, and what is cut or lies is refused."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from dataclasses import replace

import pytest
import tflite
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import task_bytes, tflite_bytes

from pipeline.binary.tflite import read_litert
from pipeline.errors import FormatError


@pytest.fixture
def read(tmp_path):
    def run(data):
        path = tmp_path / "model"
        path.write_bytes(data)
        return read_litert(path)

    return run


@pytest.fixture
def refused(read):
    def run(data):
        with pytest.raises(FormatError) as caught:
            read(data)
        return str(caught.value)

    return run


def test_what_a_model_says(read):
    data = tflite_bytes(subgraphs=2)
    found = read(data)
    independent = tflite.Model.GetRootAsModel(data, 0)
    assert found.version == independent.Version() == 3
    assert found.description.encode() == independent.Description() == b"a tiny model"
    assert found.subgraphs == independent.SubgraphsLength() == 2
    assert found.metadata == (independent.Metadata(0).Name().decode(),) == ("min_runtime_version",)
    assert found.signatures == (independent.SignatureDefs(0).SignatureKey().decode(),) == ("prefill",)
    assert found.minimum_runtime == "1.5.0"


def test_what_is_behind_a_model_is_passed_over(read):
    assert read(tflite_bytes() + b"behind" * 99) == read(tflite_bytes())


def test_what_a_bundle_holds(read):
    found = read(task_bytes())
    assert found.parts == ("TF_LITE_PREFILL_DECODE", "TOKENIZER_MODEL")
    assert found.model == "TF_LITE_PREFILL_DECODE"
    assert replace(found, parts=None, model=None) == read(tflite_bytes())


def test_cut_files_are_refused(refused):
    model = tflite_bytes(weights=b"w" * 5000)
    assert "goes beyond the end" in refused(model[: len(model) - 1000])
    for length in range(0, len(model) - 400, 61):
        assert refused(model[:length])
    bundle = task_bytes()
    for length in range(0, len(bundle), 13):
        assert refused(bundle[:length])
    assert "it is cut, or no zip" in refused(bundle[:-30])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is no LiteRT model"),
        (b"<html>not found</html>", "neither the identifier TFL3 nor a zip's"),
        (tflite_bytes(version=9), "its schema has version 9, and 3 is known"),
        (tflite_bytes(subgraphs=0), "it has no subgraph"),
        (task_bytes(b"no model"), "no file in it is a LiteRT model"),
        (task_bytes(compression=zipfile.ZIP_DEFLATED), "holds its model uncompressed"),
        (task_bytes(tflite_bytes(subgraphs=0)), "it has no subgraph"),
    ],
)
def test_what_is_no_model_is_refused(refused, data, said):
    assert said in refused(data)


def test_a_bundle_with_two_files_of_a_name_is_refused(refused):
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = task_bytes(names=("a", "a"))
    assert "it names 2 files, 1 of them different" in refused(data)


@settings(max_examples=400)
@given(data=st.data(), bundled=st.booleans())
def test_damage_gives_an_error_or_a_model_and_no_traceback(tmp_path_factory, data, bundled):
    good = task_bytes() if bundled else tflite_bytes()
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        part = data.draw(st.binary(min_size=1, max_size=8))
        damaged[at : at + len(part)] = part
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    with suppress(FormatError):
        read_litert(path)
