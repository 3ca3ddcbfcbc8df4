"""Signatures of models in data: exact names where they can be had, no invention where they cannot."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from pipeline.apps.findings import models_in
from pipeline.apps.images import Image, find_signatures
from pipeline.binary.blobs import Blob
from pipeline.binary.object_info import LoadedSection
from pipeline.binary.symbols import GENERATIONS

NEW, SUMMER, OLD = GENERATIONS


def blob(*modules, prefix="bert_large_"):
    """A blob as TVM writes it: the first module imports all others."""
    words = lambda *numbers: struct.pack(f"<{len(numbers)}Q", *numbers)  # noqa: E731 - shorter than its name
    rows = [0, *[len(modules) - 1] * len(modules)]
    body = words(len(rows), *rows, len(modules) - 1, *range(1, len(modules)))
    for kind, content in modules:
        body += words(len(kind)) + kind
        if kind != b"_lib":
            body += words(len(content)) + content
    return words(len(body)) + body + f"{prefix}__tvm_ffi__library_bin".encode() + b"\0"


def signatures(data, *, literals=False):
    return find_signatures([LoadedSection("__const", data, literals)])


def image(data, listed=(), constructors=4):
    return Image(
        "App", "arm64", "macho", "executable", "ios", frozenset({"ios"}), "14.0", constructors,
        frozenset(listed), frozenset(listed), frozenset(), (), False, signatures(data),
    )  # fmt: skip


MODULES = ((b"relax.VMExecutable", b"code" * 9), (b"metal", b"kernels"), (b"_lib", b""))
HOST = b"\0bert_large___tvm_ffi__library_ctx\0__tvm_ffi_bert_large_matmul\0__tvm_ffi_bert_large_add\0"


def test_a_blobs_header_tells_its_modules_and_its_prefix():
    data = b"junk" + blob(*MODULES)
    (found,) = signatures(data).blobs
    assert found == Blob("bert_large_", NEW, len(blob(*MODULES)) - 8 - 34, ("relax.VMExecutable", "metal"))


def test_bytes_of_the_blob_before_its_name_are_not_part_of_it():
    found = models_in(image(blob(*MODULES)))
    assert list(found) == ["bert_large_"]
    assert (found["bert_large_"].blob, found["bert_large_"].host) == (True, False)


def test_a_name_without_a_readable_header_is_read_as_what_is_expected():
    data = b"\x01_libbert_large___tvm_ffi__library_bin\0"
    assert list(models_in(image(data), ["bert_large_"])) == ["bert_large_"]
    assert list(models_in(image(data))) == ["bert_large_"]
    assert list(models_in(image(b"\x01xyz" + data[2:]))) == ["xyzlibbert_large_"]


def test_the_longest_prefix_owns_a_name():
    found = models_in(image(blob(*MODULES) + HOST), ["bert_", "large_", "bert_large_"])
    assert list(found) == ["bert_large_"]
    assert (found["bert_large_"].functions, found["bert_large_"].registers) == (2, True)


def test_the_oldest_and_the_middle_generation():
    data = b"\0older_model___tvm_dev_mblob\0older_model___tvm_module_ctx\0summer_model___tvm_ffi_library_bin\0"
    found = models_in(image(data))
    assert (found["older_model_"].generation, found["older_model_"].registers) == (OLD, True)
    assert (found["summer_model_"].generation, found["summer_model_"].blob) == (SUMMER, True)


def test_what_the_runtime_mentions_is_no_model():
    data = b"\0__tvm_ffi__library_bin\0__tvm_ffi__library_ctx\0__tvm_ffi_\0__tvm_ffi__metadata_\0"
    assert not signatures(data)
    assert models_in(image(data)) == {}


def test_the_literals_of_a_program_name_loaders_but_no_models():
    data = HOST + blob(*MODULES) + b"\0ffi.Module.load_from_bytes.metal\0runtime.module.loadbinary_\0"
    found = signatures(data, literals=True)
    assert not found
    assert found.blobs == ()
    assert {"ffi.Module.load_from_bytes.metal"} < found.loaders
    assert found.families == {"ffi.Module.load_from_bytes.", "runtime.module.loadbinary_"}


def test_a_symbol_alone_is_evidence_of_no_constructor():
    (found,) = models_in(image(b"", listed=["bert_large___tvm_ffi__library_bin"])).values()
    assert (found.visible, found.blob, found.host) == (True, False, False)


@given(st.binary(max_size=400), st.integers(0, 300), st.integers(0, 255))
def test_any_bytes_are_read_without_an_error(junk, at, value):
    data = bytearray(junk + blob(*MODULES) + HOST)
    data[at % len(data)] = value
    models_in(image(bytes(data)), ["bert_large_"])


@given(st.lists(st.sampled_from(MODULES), max_size=6), st.binary(max_size=40))
def test_any_modules_are_listed(modules, before):
    modules = [MODULES[0], *modules]
    expected = tuple(kind.decode() for kind, _ in modules if kind != b"_lib")
    assert expected in [found.kinds for found in signatures(before + blob(*modules)).blobs]
