"""A fake of the web runtime of TVM, and for a model: a few lines of C++ each, really compiled by emscripten."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import fake_checkout
import pytest

from pipeline.binary.ar import Member, write_archive
from pipeline.documents.archive import Archive, ArchivedModel
from pipeline.documents.codec import decode, dumps
from pipeline.files import sha256_bytes
from pipeline.matrix.cells import Backend

WASM_RUNTIME = """
#include "table.h"
static const char *names[64]; static void *symbols[64]; static int count;
extern "C" {
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) {
  names[count] = name; symbols[count++] = symbol; return 0;
}
static int same(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return *a == *b; }
__attribute__((export_name("registered"))) int registered(void) { return count; }
__attribute__((export_name("name_of"))) const char *name_of(int index) { return names[index]; }
__attribute__((export_name("call"))) int call(int index) {
  return reinterpret_cast<int (*)(void *, void *, int, void *)>(symbols[index])(0, 0, 0, 0);
}
__attribute__((export_name("where"))) const char *where(void) { return __FILE__; }
}
template <class F> const char *pretty(F) { return __PRETTY_FUNCTION__; } // has the place of the lambda in it
extern "C" __attribute__((export_name("who"))) const char *who(void) { return pretty([] { return 1; }); }
"""
TVMJS_SUPPORT = """
#include "table.h"
extern "C" {
int TVMFFIWasmSafeCall(void *self, const void *args, int count, void *result);
__attribute__((export_name("ask_the_page"))) int ask_the_page(void) { return TVMFFIWasmSafeCall(0, 0, TABLE, 0); }
}
"""
SOURCES = {
    "web/emcc/wasm_runtime.cc": WASM_RUNTIME,
    "web/emcc/tvmjs_support.cc": TVMJS_SUPPORT,
    "web/emcc/webgpu_runtime.cc": "#include <table.h>\nint webgpu_runtime = TABLE;\n",
    "include/table.h": "#pragma once\n#define TABLE 64\n",
    "web/emcc/table.h": '#include "../../include/table.h"\n',
}

HOST = """
extern "C" {
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol);
%(more)s
__attribute__((weak)) void *%(prefix)s__tvm_ffi__library_ctx;
int __tvm_ffi_%(prefix)sforward(void *, void *, int, void *) { return %(call)s; }
}
__attribute__((constructor)) static void startup() {
  TVMFFIEnvModRegisterSystemLibSymbol("__tvm_ffi_%(prefix)sforward", (void *)__tvm_ffi_%(prefix)sforward);
}
"""
BLOB = """
extern "C" {
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol);
extern const char %(prefix)s__tvm_ffi__library_bin[];
const char %(prefix)s__tvm_ffi__library_bin[8] = {42};
}
__attribute__((constructor)) static void startup() {
  TVMFFIEnvModRegisterSystemLibSymbol("%(prefix)s__tvm_ffi__library_bin", (void *)%(prefix)s__tvm_ffi__library_bin);
}
"""

BACKEND = {
    "name": "web",
    "device": {"kind": "webgpu"},
    "triple": "wasm32-unknown-unknown-wasm",
    "arch": "wasm32",
    "platform": "wasm",
    "deployment_target": None,
    "format": "wasm",
    "system_libraries": [],
    "frameworks": [],
}

PAGE = """
// A page of a few lines: instantiates a module and says what is registered in it.
const fs = require("fs");
const missing = (name) => () => { throw new Error("asked for " + name); };
const provide = (imports) => {
  const given = {};
  for (const {module, name} of imports) (given[module] ??= {})[name] = missing(name);
  given.env = {...given.env, TVMFFIWasmSafeCall: (self, args, count) => count};
  return given;
};
(async () => {
  const module = await WebAssembly.compile(fs.readFileSync(process.argv[2]));
  const instance = await WebAssembly.instantiate(module, provide(WebAssembly.Module.imports(module)));
  const {_initialize, registered, name_of, call, ask_the_page, where, memory} = instance.exports;
  const text = (at) => {
    const bytes = new Uint8Array(memory.buffer, at);
    return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
  };
  _initialize();
  const found = {};
  for (let i = 0; i < registered(); i++) {
    const name = text(name_of(i));
    found[name] = name.startsWith("__tvm_ffi_") && !name.includes("library") ? call(i) : null;
  }
  console.log(JSON.stringify({found, page: ask_the_page(), where: text(where())}));
})();
"""


def emcc() -> str:
    found = shutil.which("emcc")
    if found is None:
        pytest.skip("no emscripten")
    return found


def checkout(folder: Path) -> Path:
    return fake_checkout.commit(fake_checkout.write(folder, SOURCES))


def archive(folder: Path, prefix: str, *, call: str = "42", more: str = "") -> Path:
    """What the step `archive` leaves of one model."""
    folder.mkdir(parents=True)
    members = []
    for name, text in (("lib0", HOST), ("devc", BLOB)):
        source, made = folder / f"{name}.cc", folder / f"{name}.o"
        source.write_text(text % {"prefix": prefix, "call": call, "more": more})
        subprocess.run([emcc(), "-O1", "-c", source, "-o", made], check=True, timeout=300)
        members.append(Member(f"{prefix}{name}.o", made.read_bytes()))
    return write(folder, prefix, members)


def write(folder: Path, prefix: str, members: list[Member]) -> Path:
    """The archive of one model and its description."""
    data = write_archive(members, "gnu")
    (folder / "libmodels.a").write_bytes(data)
    model = ArchivedModel(
        model="tiny",
        variant="f32",
        subject="tiny-f32",
        prefix=prefix,
        options={},
        members=tuple(member.name for member in members),
        library_bin=f"{prefix}__tvm_ffi__library_bin",
        generation="2025-09",
        registration="TVMFFIEnvModRegisterSystemLibSymbol",
        functions=(),
    )
    backend = decode(Backend, BACKEND, "backend")
    described = Archive("libmodels.a", backend, sha256_bytes(data), len(data), (model,), undefined=())
    (folder / "archive.json").write_text(dumps(described))
    return folder


def visit(module: Path) -> dict:
    """Load a module in Node, as a page would."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js")
    script = module.with_suffix(".page.cjs")
    script.write_text(PAGE)
    done = subprocess.run([node, script, module], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
