"""A fake of the web runtime in a checkout of mlc_llm: what TVM's wasm objects ask for, and nothing behind it."""

from __future__ import annotations

from pathlib import Path

WASM_RUNTIME = """
extern "C" {
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) { return symbol == 0; }
int TVMFFIEnvModLookupFromImports(void *ctx, const char *name, void **out) { return 1; }
int TVMFFIFunctionCall(void *function, void *arguments, int count, void *result) { return 1; }
int TVMFFIHandleInitOnce(void **handle, int (*create)(void **)) { return 1; }
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int count) {}
__attribute__((export_name("_metadata"))) int metadata(void) { return 0; }
}
"""
SOURCES = {
    "3rdparty/tvm/web/emcc/wasm_runtime.cc": WASM_RUNTIME,
    "3rdparty/tvm/web/emcc/tvmjs_support.cc": "int tvmjs_support;\n",
    "3rdparty/tvm/web/emcc/webgpu_runtime.cc": "int webgpu_runtime;\n",
    "web/emcc/mlc_wasm_runtime.cc": "int mlc_wasm_runtime;\n",
    "CMakeLists.txt": "project(mlc_llm)\n",
}


def write(folder: Path) -> Path:
    """Write the files that a build of the web runtime reads."""
    for name, text in SOURCES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
