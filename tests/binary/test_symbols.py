"""Models found by their symbols, in every generation and both spellings."""

from __future__ import annotations

import pytest
from binary_builders import tvm_model

from pipeline.binary.object_info import ObjectInfo, Symbol
from pipeline.binary.objects import read_object
from pipeline.binary.symbols import (
    GENERATIONS,
    REGISTRATIONS,
    c_name,
    find_models,
    symbol_name,
)
from pipeline.errors import FormatError


def elf(name: str, defined: list[str], undefined: tuple[str, ...] = ()) -> ObjectInfo:
    return ObjectInfo(
        name, "elf", "aarch64", "object", defined=tuple(map(Symbol, defined)), undefined=tuple(map(Symbol, undefined))
    )


def infos(prefix: str, format_: str) -> list[ObjectInfo]:
    return [read_object(member.data, prefix + member.name) for member in tvm_model(prefix, format_)]


@pytest.mark.parametrize("format_", ["macho", "elf", "wasm", "coff"])
def test_models_of_today_are_found_in_every_format(format_):
    first, second = find_models([*infos("model_b_", format_), *infos("model_a_", format_)])
    underscore = "_" if format_ == "macho" else ""
    assert (first.prefix, second.prefix) == ("model_a_", "model_b_")
    assert first.library_bin == f"{underscore}model_a___tvm_ffi__library_bin"
    assert (first.blob_object, first.host_object) == ("model_a_model_a_devc.o", "model_a_lib0.o")
    assert first.functions == ("matmul",)
    assert first.generation is GENERATIONS[0]
    assert first.registration == "TVMFFIEnvModRegisterSystemLibSymbol"


@pytest.mark.parametrize(
    ("suffix", "registration", "generation"),
    [
        ("__tvm_dev_mblob", "TVMBackendRegisterSystemLibSymbol", "0.18"),
        ("__tvm_ffi_library_bin", "TVMBackendRegisterSystemLibSymbol", "2025-06"),
        ("__tvm_ffi_library_bin", "TVMFFIEnvRegisterSystemLibSymbol", "2025-06"),
        ("__tvm_ffi_library_bin", "TVMFFIEnvModRegisterSystemLibSymbol", "2025-06"),
        ("__tvm_ffi__library_bin", "TVMFFIEnvModRegisterSystemLibSymbol", "2025-09"),
    ],
)
def test_every_generation_is_told_by_its_names(suffix, registration, generation):
    (model,) = find_models([elf("devc.o", [f"bert_{suffix}"], (registration, "memcpy"))])
    assert (model.prefix, model.library_bin) == ("bert_", f"bert_{suffix}")
    assert (model.generation.name, model.registration) == (generation, registration)
    assert registration in model.generation.registrations
    assert registration in REGISTRATIONS


def test_functions_of_old_generations_bear_nothing_but_the_prefix():
    (model,) = find_models(
        [elf("devc.o", ["bert___tvm_dev_mblob"]), elf("lib0.o", ["bert___tvm_module_ctx", "bert_matmul", "other"])]
    )
    assert (model.host_object, model.functions) == ("lib0.o", ("matmul",))


def test_bare_names_are_no_functions_of_todays_models():
    (model,) = find_models([elf("x.o", ["bert___tvm_ffi__library_bin", "bert_helper", "__tvm_ffi_bert_matmul"])])
    assert model.functions == ("matmul",)


def test_a_prefix_that_starts_another_takes_none_of_its_functions():
    names = ["bert___tvm_ffi__library_bin", "bert_large___tvm_ffi__library_bin"]
    functions = ["__tvm_ffi_bert_forward", "__tvm_ffi_bert_large_forward", "__tvm_ffi_main"]
    small, large = find_models([elf("image.so", names + functions)])
    assert (small.functions, large.functions) == (("forward",), ("forward",))


def test_the_context_of_an_object_outweighs_the_longest_prefix():
    small, large = find_models(
        [
            elf("devc.o", ["bert___tvm_ffi__library_bin", "bert_large___tvm_ffi__library_bin"]),
            elf("lib0.o", ["bert___tvm_ffi__library_ctx", "__tvm_ffi_bert_large_forward"]),
        ]
    )
    assert (small.functions, small.host_object) == (("large_forward",), "lib0.o")
    assert (large.functions, large.host_object) == ((), None)


def test_a_model_without_a_prefix_has_no_library_symbols_among_its_functions():
    names = ["__tvm_ffi__library_bin", "__tvm_ffi__library_ctx", "__tvm_ffi_matmul"]
    (model,) = find_models([elf("x.o", names)])
    assert (model.prefix, model.functions) == ("", ("matmul",))


def test_a_blob_without_its_host_object_is_told():
    (model,) = find_models([infos("model_a_", "macho")[1]])
    assert (model.host_object, model.functions) == (None, ())


def test_one_prefix_in_two_objects_is_refused():
    with pytest.raises(FormatError, match=r"one\.o and two\.o both hold a model with the prefix 'bert_'"):
        find_models([elf("one.o", ["bert___tvm_ffi__library_bin"]), elf("two.o", ["bert___tvm_ffi__library_bin"])])


def test_objects_without_a_model():
    assert find_models([]) == []
    assert find_models([elf("x.o", ["main", "__tvm_ffi_main"])]) == []


def test_only_macho_puts_an_underscore_before_c_names():
    assert (c_name("_main", "macho"), c_name("_main", "elf"), c_name("_main", "wasm")) == ("main", "_main", "_main")
    assert (symbol_name("main", "macho"), symbol_name("main", "elf")) == ("_main", "main")
    assert c_name("___tvm", "macho") == "__tvm"
