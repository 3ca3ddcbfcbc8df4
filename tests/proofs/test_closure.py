"""Undefined symbols are compared with the runtime that the toolchain has, and a miss explains itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fakes import REGISTER, Fake, program
from proof_subjects import BACKENDS, TVM_MODELS, backend, models

from pipeline.errors import FormatError
from pipeline.native import wheel
from pipeline.proofs.closure import check_closure, offered_symbols, runtime_symbols, wanted_symbols
from pipeline.proofs.subject import read_library
from pipeline.proofs.system_symbols import system_symbols

HOST = backend("host")


@pytest.fixture
def fake_runtime(tmp_path):
    """Two shared libraries that export what they are told."""

    def build(**exports: tuple[str, ...]) -> dict[str, str]:
        libraries = {}
        for name, symbols in exports.items():
            source = tmp_path / f"{name}.c"
            source.write_text("".join(f"int {symbol}(void) {{ return 0; }}\n" for symbol in symbols) + "int unused;\n")
            libraries[name] = str(tmp_path / f"lib{name}.so")
            subprocess.run([program("cc"), "-shared", "-o", libraries[name], source], check=True)
        return libraries

    return build


def test_everything_is_somewhere(library, fake_runtime):
    lib = library([Fake("first_model_", calls="expf")], HOST)
    check = check_closure(lib, fake_runtime(tvm_runtime=(), tvm_ffi=(REGISTER,)))
    assert (check.state, check.saw) == ("proven", "2 undefined symbols: 1 in the TVM runtime, 1 in the system")


def test_a_symbol_that_is_nowhere_is_named_with_its_model(library, fake_runtime):
    lib = library([Fake("first_model_"), Fake("other_model_", calls="my_kernel")], HOST)
    check = check_closure(lib, fake_runtime(tvm_runtime=(), tvm_ffi=(REGISTER,)))
    assert check.state == "failed"
    assert check.saw == "my_kernel is nowhere (model other-model asks)"
    assert "system_libraries" in check.hint


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("TVMBackendRegisterSystemLibSymbol", "before 2025-08-17"),
        ("TVMFFIEnvRegisterSystemLibSymbol", "2025-08-17 to 2025-08-20"),
        ("TVMFFIEnvModRegisterSystemLibSymbol", "models of TVM 0.22 or newer (since 2025-08-20) do"),
    ],
)
def test_another_generation_of_tvm_is_recognised(library, fake_runtime, asked, hint):
    lib = library([Fake("first_model_", register=asked)], HOST)
    check = check_closure(lib, fake_runtime(tvm_runtime=(), tvm_ffi=("TVMFFISomethingElse",)))
    assert check.state == "failed"
    assert asked in check.saw
    assert hint in check.saw
    assert "one version of TVM" in check.hint


@pytest.mark.parametrize(
    ("version", "state"), [(None, "failed"), ("0.25.0", "proven"), ("0.26.0", "failed"), ("0.21", "failed")]
)
def test_a_declared_runtime_has_the_names_of_its_time(library, fake_runtime, version, state):
    lib = library([Fake("first_model_", calls="TVMBackendGetFuncFromEnv")], HOST)
    check = check_closure(lib, fake_runtime(tvm_runtime=(), tvm_ffi=(REGISTER,)), version)
    assert check.state == state


def test_without_a_runtime_nothing_is_proven(library):
    check = check_closure(library([Fake("first_model_")], HOST), {})
    assert check.state == "not proven"
    assert "no libtvm_ffi and no libtvm_runtime" in check.saw


def test_what_is_missing_is_offered_to_the_links_all_the_same(library):
    """Else one missing symbol would be two failures."""
    lib = library([Fake("first_model_", calls="my_kernel")], HOST)
    assert {"my_kernel", "expf", REGISTER} <= offered_symbols(lib, {REGISTER})
    assert set(wanted_symbols(lib)) == {"my_kernel", REGISTER}


def test_a_runtime_that_is_no_library_is_an_error(tmp_path):
    (tmp_path / "libtvm_ffi.so").write_text("not really")
    with pytest.raises(FormatError, match="neither Mach-O nor ELF"):
        runtime_symbols({"tvm_ffi": str(tmp_path / "libtvm_ffi.so")})


def test_systems_differ():
    assert "exp10f" in system_symbols("linux")
    assert "exp10f" not in system_symbols("android")
    assert "memset_pattern16" in system_symbols("maccatalyst")
    assert "memset_pattern16" not in system_symbols("linux")
    assert "__cxa_atexit" in system_symbols("wasm")


def test_find_imports_nothing_and_finds_nothing_in_an_empty_interpreter():
    code = "import sys; sys.path[:0] = sys.argv[1:]\nfrom pipeline.native import wheel\n"
    code += "print(wheel.find(), 'tvm' in sys.modules)"
    where = str(next(path for path in __import__("pipeline").__path__)).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, where], check=True, capture_output=True, text=True, cwd="/"
    )
    assert done.stdout == "Packages(folders={}, versions={}) False\n"


@pytest.mark.tvm
@pytest.mark.parametrize("name", BACKENDS)
def test_real_models_are_closed_under_the_real_runtime(tvm_archives, name):
    lib = read_library(tvm_archives[name] / "libmodels.a", backend(name), models(TVM_MODELS))
    libraries = wheel.libraries(wheel.find())
    assert set(libraries) == {"tvm_runtime", "tvm_ffi"}
    check = check_closure(lib, libraries)
    assert check.state == "proven", check
    assert "TVMFFIEnvModRegisterSystemLibSymbol" in wanted_symbols(lib)
