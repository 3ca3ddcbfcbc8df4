"""WebAssembly: objects built byte by byte, assembled ones, and what wasm-ld makes of them."""

from __future__ import annotations

import pytest
from binary_builders import Sym, leb, sized, tvm_model, wasm_custom, wasm_object, wasm_section

from pipeline.binary.ar import Member, write_archive
from pipeline.binary.object_info import Symbol, WasmImport
from pipeline.binary.wasm import read_wasm
from pipeline.errors import FormatError

HEAD = b"\0asm\1\0\0\0"


def test_symbols_are_sorted_into_defined_and_undefined():
    info = read_wasm(
        wasm_object(
            [
                Sym("local", local=True),
                Sym("b"),
                Sym("a", weak=True),
                Sym("missing", defined=False),
                Sym("optional", defined=False, weak=True),
            ],
            constructors=2,
        ),
        "x.o",
    )
    assert (info.name, info.format, info.arch, info.kind, info.constructors) == ("x.o", "wasm", "wasm32", "object", 2)
    assert info.defined == (Symbol("b"), Symbol("a", weak=True))
    assert info.undefined == (Symbol("missing"), Symbol("optional", weak=True))
    assert WasmImport("env", "__linear_memory", "memory") in info.imports


def test_64_bit_memory_makes_another_processor():
    assert read_wasm(wasm_object(wide=True), "x.o").arch == "wasm64"


def test_every_kind_of_symbol_and_import(assemble):
    source = """
.functype imported () -> ()
.import_module imported, host
.import_name imported, other_name
.globaltype __stack_pointer, i32
.globaltype own, i32
.tabletype functions, funcref
.tagtype problem i32
.globl own, functions, caller, value
own:
functions:
.globl problem
problem:
caller:
.functype caller () -> ()
call imported
global.get __stack_pointer
drop
i32.const absent
drop
end_function
.section .data.value,"",@
value:
.int32 5
.size value, 4
"""
    info = read_wasm(assemble(source, "wasm32-unknown-unknown"), "x.o")
    assert {symbol.name for symbol in info.defined} == {"own", "functions", "problem", "caller", "value"}
    assert {symbol.name for symbol in info.undefined} == {"imported", "__stack_pointer", "absent"}
    assert WasmImport("host", "other_name", "function") in info.imports
    assert WasmImport("env", "__stack_pointer", "global") in info.imports


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        ("function", b"\0\x05"),
        ("table", b"\1\x70\1\1\x80\1"),
        ("table", b"\1\x63\x70\0\1"),
        ("memory", b"\2\x03\1\x80\x80\4"),
        ("memory", b"\2\x08\1\0"),
        ("global", b"\3\x7f\1"),
        ("tag", b"\4\0\1"),
    ],
)
def test_every_kind_of_import_is_skipped_to_its_end(kind, description):
    imports = leb(2) + (sized(b"env") + sized(b"first") + description) + (sized(b"env") + sized(b"last") + b"\0\0")
    info = read_wasm(HEAD + wasm_section(2, imports), "x.wasm")
    assert info.imports == (WasmImport("env", "first", kind), WasmImport("env", "last", "function"))


MODELS = [
    Member(f"{p}{m.name}" if m.name == "lib0.o" else m.name, m.data) for p in ("a_", "b_") for m in tvm_model(p, "wasm")
]


@pytest.fixture
def link_wasm(tool, tmp_path):
    def run(*options: str, models: tuple[Member, ...] = tuple(MODELS)) -> bytes:
        (tmp_path / "models.a").write_bytes(write_archive(models, "gnu"))
        whole = ["--whole-archive", "models.a", "--no-whole-archive"]
        tool("wasm-ld", "--no-entry", "--allow-undefined", *options, *whole, "-o", "x.wasm", cwd=tmp_path)
        return (tmp_path / "x.wasm").read_bytes()

    return run


def test_a_linked_module_tells_imports_exports_and_constructors(link_wasm):
    info = read_wasm(link_wasm("--export=__wasm_call_ctors", "--export=__tvm_ffi_a_matmul"), "x.wasm")
    assert (info.kind, info.constructors) == ("executable", 4)
    assert {"memory", "__tvm_ffi_a_matmul"} <= {symbol.name for symbol in info.defined}


def test_constructors_are_counted_through_debug_names_too(link_wasm):
    info = read_wasm(link_wasm("--export=__tvm_ffi_a_matmul"), "x.wasm")
    assert (info.constructors, Symbol("__wasm_call_ctors") in info.defined) == (4, False)
    assert read_wasm(link_wasm("--export=__tvm_ffi_a_matmul", "--strip-all"), "x.wasm").constructors is None


def test_a_relinked_object_is_still_an_object(link_wasm):
    info = read_wasm(link_wasm("--relocatable"), "x.o")
    assert (info.kind, info.constructors) == ("object", 4)


def test_a_dynamic_module_is_a_library():
    assert read_wasm(HEAD + wasm_custom("dylink.0", b""), "x").kind == "dylib"


def start_up(body: bytes) -> bytes:
    """A module that exports one function of this body as its start-up function."""
    exports = leb(1) + sized(b"__wasm_call_ctors") + b"\0\0"
    return HEAD + wasm_section(7, exports) + wasm_section(10, leb(1) + sized(body))


@pytest.mark.parametrize(
    ("body", "constructors"),
    [(b"\0\x10\1\x10\x80\1\x0b", 2), (b"\0\x0b", 0), (b"\0\x41\0\x1a\x0b", None), (b"\1\1\x7f\x0b", None)],
    ids=["two-calls", "nothing", "inlined", "locals"],
)
def test_only_a_plain_list_of_calls_is_counted(body, constructors):
    assert read_wasm(start_up(body), "x.wasm").constructors == constructors


def linking(content: bytes) -> bytes:
    return HEAD + wasm_custom("linking", content)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "magic"),
        (b"\x7fELF\0\0\0\0", "not WebAssembly"),
        (b"\0asm\x0d\0\1\0", "no WebAssembly module of version 1"),
        (HEAD + b"\1", "a section"),
        (HEAD + b"\1\x05ab", "goes beyond the end"),
        (HEAD + b"\1\xff\xff\xff\xff\xff\xff", "LEB128"),
        (HEAD + wasm_section(2, leb(1 << 30)), "the imports: 1073741824 entries"),
        (HEAD + wasm_section(2, leb(1) + sized(b"a") + sized(b"b") + b"\x09"), "a.b is of unknown kind 9"),
        (linking(leb(1)), "version 1, not 2"),
        (linking(leb(2) + b"\x08" + sized(leb(1) + b"\x09\0")), "symbol of unknown kind 9"),
        (linking(leb(2) + b"\x08" + sized(leb(1) + b"\0\x10\5")), "function import 5 of 0"),
        (linking(leb(2) + b"\x08" + sized(leb(1))), "1 entries in 0 bytes"),
    ],
)
def test_malformed_files_are_refused_by_name(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_wasm(data, "libx.a(m.o)")
    assert str(caught.value).startswith("libx.a(m.o): ")
    assert caught.value.hint
