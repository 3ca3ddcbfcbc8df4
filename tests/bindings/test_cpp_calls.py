"""A C++ program calls models through the kit, as CMake builds it for a user."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.tvm

CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(app CXX)
set(CMAKE_CXX_STANDARD 17)
find_package({package} CONFIG REQUIRED PATHS "{kit}")
add_executable(app main.cpp)
target_compile_options(app PRIVATE -Wall -Wextra -Werror)
target_link_libraries(app PRIVATE slipway::{package} {libraries})
"""

MAIN = r"""
#include <calls.hpp>
#include <cstdio>
#include <functional>
#include <thread>

static void refused(const std::function<void()> &call) {
  try {
    call(), std::puts("not refused");
  } catch (const calls::error &error) {
    std::printf("refused: %s\n", error.what());
  }
}

int main(int, char **argv) {
  calls::first_f32 first(argv[1]);
  calls::second_f32 second(argv[2]);
  const calls::tensor<float, 2> x{{2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}};
  std::printf("first %g second %g\n", first.forward(x).values[7], second.forward(x).values[7]);
  const auto [scaled, more] = first.split(x, {{2}, {1, 10}});
  std::printf("split %g %g, %d %d\n", scaled.values[0], scaled.values[7], more.values[0], more.values[1]);
  std::printf("ones %d\n", static_cast<int>(first.ones({3}).values.size()));
  const auto half = first.fixed({{2, 3}, {1, 2, 3, 4, 5, 6}}, {{2}, {0.5f, -1.25f}});
  std::printf("half %g %g\n", static_cast<float>(half.values[0]), static_cast<float>(half.values[1]));
  static_assert(calls::first_f32::static_text_len == 512 && calls::first_f32::fixed_self__shape[1] == 3, "constants");
  std::printf("%s\n", calls::first_f32::note);

  std::thread other([&] { for (int i = 0; i < 50; ++i) if (first.forward(x).values[7] != 16) std::puts("wrong"); });
  for (int i = 0; i < 50; ++i) if (first.forward(x).values[7] != 16) std::puts("wrong");
  other.join();

  refused([&] { first.forward({{2, 3}, {1, 2, 3, 4, 5, 6}}); });
  refused([&] { first.forward({{2, 4}, {1, 2}}); });
  refused([&] { first.split(x, {{3}, {1, 2, 3}}); });
  refused([&] { calls::first_f32 none(""); });
  refused([&] { calls::first_f32 none("/nowhere"); });
  refused([&] { calls::runtime("no.such.function", 1); });
  refused([&] { first.ones({-3}); });
  refused([&] { first.forward({{int64_t(1) << 62, 4}, {}}); });
  slipway_calls_model *model = slipway_calls_open(calls_second_f32_PREFIX, argv[2]);
  const int64_t shape[2] = {1, 4};
  slipway_calls_value given{}, result{};
  given.kind = slipway_calls_tensor, given.rank = 2, given.shape = shape, given.size = 16;
  for (const char *dtype : {static_cast<const char *>(nullptr), "float32"}) {
    given.dtype = dtype;
    std::printf("%d: %s\n", slipway_calls_call(model, "forward", &given, 1, &result, 1), slipway_calls_error());
  }
  slipway_calls_close(model);
  calls::first_f32 moved(std::move(first));
  refused([&] { first.ones({3}); });
  return 0;
}
"""

SAID = """\
first 16 second 24
split 2 160, 2 11
ones 3
half 1 -2.5
say "hi"
refused: forward: argument `x` has the shape [2, 3], and must have [n, 4]
refused: forward: argument `x` has 8 bytes of data, and its shape [2, 4] needs 32
refused: split: argument `mask` has the shape [3], and must have [n], where n is 2 as in `x`
refused: first-f32 has parameters: open it with the folder dist/bundle/first-f32 as the app ships it
refused: /nowhere/tensor-cache.json is missing: ship the whole folder dist/bundle/first-f32 and open the model with it
refused: the runtime of this program has no function no.such.function: link all of libtvm_runtime \
(a static one whole), of the TVM that compiled the models
"""

MORE = """\
refused: ones: argument `count` has the shape [-3], and no extent is below 0
refused: no memory holds the shape [4611686018427387904, 4]
-1: forward: argument `x` is of no dtype, and must be of float32
-1: forward: argument `x` has no data
refused: the model was never opened, or was closed or moved from: ones cannot be called
"""


def build(folder: Path, kit: Path, main: str, libraries: list[Path], *, package: str = "calls") -> Path:
    """Build a program with CMake, without any include path of TVM's."""
    folder.mkdir()
    listed = " ".join(f'"{path}"' for path in libraries)
    (folder / "CMakeLists.txt").write_text(CMAKE.format(kit=kit, libraries=listed, package=package))
    (folder / "main.cpp").write_text(main)
    for words in (["-S", folder, "-B", folder / "build"], ["--build", folder / "build"]):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build/app"


def run(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def program(called, runtime, tmp_path_factory) -> Path:
    kit = called.path("dist/calls")
    return build(tmp_path_factory.mktemp("cpp") / "app", kit, MAIN, list(runtime.values()))


def test_models_are_called_with_their_own_parameters_and_wrong_arguments_are_named(called, program):
    bundles = [called.path(f"dist/bundle/{name}-f32") for name in ("first", "second")]
    assert run(program, *bundles) == SAID + MORE


def test_an_archive_of_another_build_is_refused(called, tmp_path):
    """As of a kit of which an app has copied some of the files."""
    shutil.copytree(called.path("dist/calls"), tmp_path / "kit")
    with (tmp_path / "kit/host/libmodels.a").open("r+b") as archive:
        archive.seek(2000)
        archive.write(b"!")
    (tmp_path / "CMakeLists.txt").write_text(CMAKE.format(kit=tmp_path / "kit", libraries="", package="calls"))
    (tmp_path / "main.cpp").write_text(OPEN)
    words = ["cmake", "-S", tmp_path, "-B", tmp_path / "build"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "of another build than this kit's code" in said
    assert "strip what is linked, not its archive" in said


def damaged(called, tmp_path, spoil) -> Path:
    bundle = tmp_path / "bundle"
    shutil.copytree(called.path("dist/bundle/first-f32"), bundle)
    spoil(bundle)
    return bundle


SPOILT = {
    "shard missing": (lambda b: (b / "params_shard_0.bin").unlink(), "params_shard_0.bin is missing: ship the whole"),
    "shard cut": (
        lambda b: (b / "params_shard_0.bin").write_bytes(b"1234567"),
        "params_shard_0.bin has 7 bytes where tensor-cache.json says 16: it was cut or replaced",
    ),
    "no JSON": (lambda b: (b / "tensor-cache.json").write_text("{"), "tensor-cache.json is damaged, ship it again"),
    "a list": (lambda b: (b / "tensor-cache.json").write_text("[1]"), "tensor-cache.json is damaged, ship it again"),
    "empty": (lambda b: (b / "tensor-cache.json").write_text(""), "tensor-cache.json is damaged, ship it again"),
    "shard elsewhere": (lambda b: edit(b, "params_shard_0.bin", "../params_shard_0.bin"), "is not beside it"),
    "offset beyond": (lambda b: edit(b, '"byteOffset": 0', '"byteOffset": 13'), "scale lies outside of"),
    "negative": (lambda b: edit(b, '"byteOffset": 0', '"byteOffset": -1'), "byteOffset is negative"),
    "other dtype": (lambda b: edit(b, '"float32"', '"int32"'), "parameter scale is int32[4] in"),
    "other name": (
        lambda b: edit(b, '"scale"', '"scales"'),
        "has no parameter scale: it is the bundle of another model",
    ),
    "encoded": (lambda b: edit(b, '"format": "raw"', '"format": "f32-to-bf16"'), "is encoded as f32-to-bf16"),
}


def edit(bundle: Path, old: str, new: str) -> None:
    text = (bundle / "tensor-cache.json").read_text()
    assert old in text
    (bundle / "tensor-cache.json").write_text(text.replace(old, new))


OPEN = r"""
#include <calls.hpp>
#include <cstdio>
int main(int count, char **argv) {
  for (int i = 1; i < count; ++i)
    try {
      calls::first_f32 model(argv[i]);
      std::puts("opened");
    } catch (const calls::error &error) {
      std::puts(error.what());
    }
}
"""


@pytest.fixture(scope="session")
def opener(called, runtime, tmp_path_factory) -> Path:
    kit = called.path("dist/calls")
    return build(tmp_path_factory.mktemp("opener") / "app", kit, OPEN, list(runtime.values()))


def test_a_whole_bundle_opens(called, opener):
    assert run(opener, called.path("dist/bundle/first-f32")) == "opened\n"


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_bundle_is_refused_with_what_is_wrong(called, opener, tmp_path, how):
    spoil, said = SPOILT[how]
    assert said in run(opener, damaged(called, tmp_path, spoil))


def test_a_model_that_is_not_linked_is_said(called, runtime, tmp_path):
    kit = tmp_path / "kit"
    shutil.copytree(called.path("dist/calls"), kit)
    config = kit / "callsConfig.cmake"
    text = config.read_text()
    for part in (
        "set_target_properties(slipway::calls_archive",
        'target_link_libraries(slipway::calls INTERFACE "$<LINK',
    ):
        assert part in text
        text = text.replace(part, f"# {part}")
    config.write_text("\n".join(line for line in text.splitlines() if "LINKER:-u" not in line))
    program = build(tmp_path / "app", kit, OPEN, list(runtime.values()))
    said = run(program, called.path("dist/bundle/first-f32"))
    assert said.startswith("first-f32 is not linked into this program: link its archive whole")


def test_the_runtime_of_another_tvm_is_named(called, runtime, tmp_path):
    kit = tmp_path / "kit"
    shutil.copytree(called.path("dist/calls"), kit)
    source = kit / "src/calls.cpp"
    source.write_text(source.read_text().replace('"0.1.14', '"0.9.1'))
    program = build(tmp_path / "app", kit, OPEN, list(runtime.values()))
    said = run(program, called.path("dist/bundle/first-f32"))
    assert "first-f32 was compiled with TVM 0.27.0" in said
    assert "(tvm-ffi 0.9.1" in said
    assert "link the runtime of the TVM that compiled it" in said
