"""Fake checkouts of TVM and mlc_llm: CMake projects of a few lines with the targets of the real ones, really built.

The runtime registers a loader in a constructor that nothing refers to, and has the C functions that models call.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

CMAKE_TVM = """
cmake_minimum_required(VERSION 3.18)
project(tvm C CXX)
option(BUILD_STATIC_RUNTIME "" OFF)
option(USE_OPENCL "" OFF)
if(EXISTS ${CMAKE_SOURCE_DIR}/config.cmake)
  include(${CMAKE_SOURCE_DIR}/config.cmake)
endif()
add_library(tvm_ffi_static STATIC ffi/env.c)
add_library(tvm_runtime_objs OBJECT src/module.c src/vm/module.c)
if(BUILD_STATIC_RUNTIME)
  add_library(tvm_runtime STATIC $<TARGET_OBJECTS:tvm_runtime_objs>)
else()
  add_library(tvm_runtime SHARED $<TARGET_OBJECTS:tvm_runtime_objs>)
endif()
if(USE_OPENCL)
  add_library(tvm_runtime_opencl_objs OBJECT src/opencl.c)
  add_library(tvm_runtime_opencl SHARED $<TARGET_OBJECTS:tvm_runtime_opencl_objs>)
  target_link_libraries(tvm_runtime_opencl PUBLIC tvm_runtime_opencl_objs tvm_runtime)
endif()
"""

SOURCES_TVM = {
    "CMakeLists.txt": CMAKE_TVM,
    "ffi/env.c": """
#include <stdio.h>
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) { puts(name); return symbol == 0; }
// What compiled models call besides; nothing here runs a model.
int TVMFFIFunctionCall(void) { return -1; }
int TVMFFIHandleInitOnce(void) { return -1; }
int TVMFFIEnvModLookupFromImports(void) { return -1; }
void TVMFFIErrorSetRaisedFromCStrParts(void) {}
void *TVMBackendAllocWorkspace(void) { return 0; }
int TVMBackendFreeWorkspace(void) { return -1; }
int TVMBackendParallelLaunch(void) { return -1; }
""",
    "src/loaders.h": "void register_loader(const char *name);\n",
    "src/module.c": """
#include <stdio.h>
#include "loaders.h"
void register_loader(const char *name) { printf("loader %s\\n", name); }
const char *where(void) { return __FILE__; }
""",
    "src/vm/module.c": """
#include "../loaders.h"
__attribute__((constructor)) static void startup(void) { register_loader("relax.VMExecutable"); }
""",
    "src/opencl.c": """
#include "loaders.h"
__attribute__((constructor)) static void startup(void) { register_loader("opencl"); }
""",
    ".gitignore": "/config.cmake\n/build/\n",
}

SOURCES_MLC = {
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.18)
project(mlc_llm C CXX)
set(BUILD_STATIC_RUNTIME ON)
add_subdirectory(3rdparty/tvm tvm EXCLUDE_FROM_ALL)
add_library(mlc_llm_objs OBJECT cpp/engine.c)
add_library(mlc_llm_static STATIC $<TARGET_OBJECTS:mlc_llm_objs>)
set_target_properties(mlc_llm_static PROPERTIES OUTPUT_NAME mlc_llm)
add_library(tokenizers_cpp STATIC cpp/tokenizers.c)
add_library(sentencepiece-static STATIC cpp/sentencepiece.c)
set_target_properties(sentencepiece-static PROPERTIES OUTPUT_NAME sentencepiece)
# The real one is made by cargo.
add_library(rust_objs OBJECT cpp/tokenizers_c.c)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/tokenizers/libtokenizers_c.a
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/tokenizers
  COMMAND ${CMAKE_AR} rcs ${CMAKE_BINARY_DIR}/tokenizers/libtokenizers_c.a $<TARGET_OBJECTS:rust_objs>
  COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_SOURCE_DIR}/rust/Cargo.lock
  COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_SOURCE_DIR}/rust/left-behind
  DEPENDS rust_objs COMMAND_EXPAND_LISTS)
add_custom_target(tokenizers_c DEPENDS ${CMAKE_BINARY_DIR}/tokenizers/libtokenizers_c.a)
add_dependencies(mlc_llm_static tokenizers_cpp sentencepiece-static tokenizers_c tvm_runtime)
""",
    "cpp/engine.c": "__attribute__((constructor)) static void startup(void) {}\nint mlc_engine(void) { return 1; }\n",
    "cpp/tokenizers.c": "int tokenizers(void) { return 2; }\n",
    "cpp/sentencepiece.c": "int sentencepiece(void) { return 3; }\n",
    "cpp/tokenizers_c.c": "int tokenizers_c(void) { return 4; }\n",
    "rust/Cargo.lock": "version = 3\n",
}


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Fake", "-c", "user.email=fake@example.com", "-c", "protocol.file.allow=always"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def write(folder: Path, sources: dict[str, str]) -> Path:
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def commit(folder: Path) -> Path:
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "state")
    return folder


def tvm(folder: Path) -> Path:
    return commit(write(folder, SOURCES_TVM))


def mlc(folder: Path, upstream: Path) -> Path:
    """A checkout of mlc_llm with TVM as a submodule."""
    write(folder, SOURCES_MLC)
    commit(folder)
    git(folder, "submodule", "--quiet", "add", str(upstream), "3rdparty/tvm")
    git(folder, "commit", "-qm", "submodule")
    return folder


def checksum(folder: Path) -> str:
    """Of everything in a folder: names, modes, contents, times; what git keeps for itself too."""
    rows = []
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        rows.append((str(path.relative_to(folder)), state.st_mode, state.st_mtime_ns, content))
    return hashlib.sha256(repr(rows).encode()).hexdigest()
