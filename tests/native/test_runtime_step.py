"""The step `runtime`: real builds of fake checkouts, here and for another processor; archives from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import fake_checkout
import fake_xcode
import pytest
from fake_checkout import checksum, mlc, tvm

from pipeline import roles
from pipeline.action import Job, Tool
from pipeline.binary.ar import read_archive
from pipeline.binary.objects import read_object
from pipeline.documents.codec import decode
from pipeline.documents.runtime import RuntimeManifest
from pipeline.errors import StepError, ToolMissing
from pipeline.matrix.cells import Backend
from pipeline.native import settings
from pipeline.native.source_tree import read_tree
from pipeline.steps import runtime

needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or sys.platform != "linux", reason="builds for Linux with CMake"
)
ARCH = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


def backend(name="host", platform="linux", arch=ARCH, device="llvm", version=None):
    triples = {"linux": f"{arch}-linux-gnu", "ios": f"{arch}-apple-ios{version}", "android": f"{arch}-linux-android"}
    triples["maccatalyst"] = f"{arch}-apple-ios{version}-macabi"
    triples["ios-simulator"] = f"{arch}-apple-ios{version}-simulator"
    triples["macos"] = f"{arch}-apple-macosx{version}"
    params = {
        "name": name,
        "device": {"kind": device},
        "triple": triples[platform],
        "arch": arch,
        "platform": platform,
        "deployment_target": version,
        "format": "elf" if version is None else "macho",
        "system_libraries": [],
        "frameworks": [],
    }
    return decode(Backend, params, "backend")


def find(name, *programs):
    path = next((found for program in programs if (found := shutil.which(program))), None)
    return name, None if path is None else Tool(name, Path(path), "1")


class Bench:
    """Runs the step in a tree of its own; `build/cache` stays from one run to the next."""

    def __init__(self, root: Path) -> None:
        self.root, self.jobs = root, 0
        (root / "build/log").mkdir(parents=True)
        self.tools = dict(
            [
                find("cmake", "cmake"),
                find("cc", "cc"),
                find("c++", "c++"),
                find("aarch64-cc", "aarch64-linux-gnu-gcc"),
                find("aarch64-c++", "aarch64-linux-gnu-g++"),
            ]
        )

    @property
    def log(self) -> str:
        return (self.root / "build/log" / f"{self.jobs}.log").read_text()

    def run(self, checkout=None, target=None, *, libraries=(), options=None, prebuilt=None, pins=None):
        self.jobs += 1
        out = self.root / f"out{self.jobs}"
        out.mkdir()
        tools = dict(self.tools)
        if checkout is not None:
            tools[roles.CHECKOUT] = Tool(roles.CHECKOUT, checkout, read_tree(checkout).version)
        params = runtime.Params(
            backend=target or backend(),
            libraries=tuple(libraries),
            options=options or {},
            prebuilt=None if prebuilt is None else tuple(pins or [None] * len(prebuilt)),
        )
        inputs = {f"prebuilt:{n}": path for n, path in enumerate(prebuilt or [])}
        log = self.root / "build/log" / f"{self.jobs}.log"
        job = Job(params, inputs, tools, out, log, None, cache=self.root / "build/cache")
        return runtime.run(job), out


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "project")


def run_program(tmp_path, out, *libraries):
    """Link a program with libraries of the runtime, whole where runtime.json says so, and run it."""
    program = tmp_path / "program.c"
    program.write_text("int main(void) { return 0; }\n")
    words = []
    for one in RuntimeManifest.read(out).libraries:
        if not libraries or one.name in libraries:
            whole = ["-Wl,--whole-archive", str(out / one.file), "-Wl,--no-whole-archive"]
            words += whole if one.whole else [str(out / one.file)]
    subprocess.run(["cc", program, *words, "-o", tmp_path / "program"], check=True)
    return subprocess.run([tmp_path / "program"], check=True, capture_output=True, text=True).stdout.splitlines()


@needs_cmake
class TestBuilt:
    def test_tvm_for_this_machine(self, bench, tmp_path):
        checkout = tvm(tmp_path / "tvm")
        facts, out = bench.run(checkout)
        assert facts["project"] == "tvm"
        assert facts["libraries"] == ["tvm_runtime", "tvm_ffi_static"]
        assert run_program(tmp_path, out) == ["loader relax.VMExecutable"]
        document = json.loads((out / "runtime.json").read_text())
        for one in document["libraries"]:
            assert one["sha256"] == hashlib.sha256((out / one["file"]).read_bytes()).hexdigest()
            assert one["whole"]
        assert document["libraries"][1]["registrations"] == ["TVMFFIEnvModRegisterSystemLibSymbol"]

    def test_a_source_that_became_older_is_compiled_again(self, bench, tmp_path):
        """What `tar` or `rsync` put there has its own time, and CMake's builders go by times."""
        checkout = tvm(tmp_path / "tvm")
        bench.run(checkout)
        source = checkout / "src/module.c"
        source.write_text(source.read_text().replace("loader %s", "reader %s"))
        os.utime(source, (1, 1))
        _, out = bench.run(checkout)
        assert run_program(tmp_path, out) == ["reader relax.VMExecutable"]

    def test_the_checkout_is_never_touched(self, bench, tmp_path):
        checkout = mlc(tmp_path / "mlc", tvm(tmp_path / "tvm"))
        before = checksum(checkout)
        facts, out = bench.run(checkout)
        assert checksum(checkout) == before
        assert facts["libraries"] == [
            "tvm_runtime", "tvm_ffi_static", "mlc_llm", "tokenizers_cpp", "sentencepiece", "tokenizers_c",
        ]  # fmt: skip
        whole = {one.name for one in RuntimeManifest.read(out).libraries if one.whole}
        assert whole == {"tvm_runtime", "tvm_ffi_static", "mlc_llm"}

    def test_two_sources_of_one_name_are_two_members(self, bench, tmp_path):
        _, out = bench.run(tvm(tmp_path / "tvm"))
        members = [member.name for member in read_archive((out / "libtvm_runtime.a").read_bytes())]
        assert members == ["module.c.o", "module.c-2.o"]

    def test_a_part_that_is_only_built_shared_becomes_an_archive(self, bench, tmp_path):
        facts, out = bench.run(tvm(tmp_path / "tvm"), backend(device="opencl"))
        assert facts["libraries"] == ["tvm_runtime", "tvm_ffi_static", "tvm_runtime_opencl"]
        assert sorted(run_program(tmp_path, out)) == ["loader opencl", "loader relax.VMExecutable"]

    def test_for_another_processor(self, bench, tmp_path):
        if bench.tools["aarch64-c++"] is None:
            pytest.skip("no compiler for aarch64")
        other = backend("linux-arm64", arch="arm64")
        _, out = bench.run(tvm(tmp_path / "tvm"), other)
        for member in read_archive((out / "libtvm_runtime.a").read_bytes()):
            assert read_object(member.data, member.name).arch == "aarch64"

    def test_what_did_not_change_is_not_compiled_again(self, bench, tmp_path):
        checkout = tvm(tmp_path / "tvm")
        _, first = bench.run(checkout)
        (checkout / "src/module.c").write_text(fake_checkout.SOURCES_TVM["src/module.c"] + "int more;\n")
        _, second = bench.run(checkout)
        assert "Building C object" in bench.log
        assert "ffi/env.c.o" not in bench.log.replace("-o CMakeFiles", "")
        assert (first / "libtvm_ffi_static.a").read_bytes() == (second / "libtvm_ffi_static.a").read_bytes()
        assert (first / "libtvm_runtime.a").read_bytes() != (second / "libtvm_runtime.a").read_bytes()

    def test_another_compiler_starts_from_nothing(self, bench, tmp_path):
        checkout = tvm(tmp_path / "tvm")
        bench.run(checkout)
        tool = bench.tools["cc"]
        bench.tools["cc"] = Tool(tool.name, tool.path, "2")
        bench.run(checkout)
        assert "ffi/env.c.o" in bench.log

    def test_equal_sources_give_equal_archives_anywhere(self, bench, tmp_path):
        _, first = bench.run(tvm(tmp_path / "tvm"))
        _, second = Bench(tmp_path / "another place").run(tvm(tmp_path / "another checkout"))
        for file in ("libtvm_runtime.a", "libtvm_ffi_static.a", "runtime.json"):
            assert (first / file).read_bytes() == (second / file).read_bytes()
        assert str(tmp_path).encode() not in (first / "libtvm_runtime.a").read_bytes()

    def test_ignored_files_and_the_environment_have_no_say(self, bench, tmp_path, monkeypatch):
        checkout = tvm(tmp_path / "tvm")
        (checkout / "config.cmake").write_text("message(FATAL_ERROR somebody-else's)\n")
        monkeypatch.setenv("CFLAGS", "-DBROKEN -include nothing.h")
        bench.run(checkout)

    def test_options_of_the_user_win(self, bench, tmp_path):
        with pytest.raises(StepError, match="cmake could not configure"):
            bench.run(tvm(tmp_path / "tvm"), options={"CMAKE_C_COMPILER": "/no/such/compiler"})

    def test_options_of_the_user_switch_devices_on(self, bench, tmp_path):
        checkout, cache = tvm(tmp_path / "tvm"), bench.root / "build/cache/cmake/host/build/CMakeCache.txt"
        bench.run(checkout)
        assert "USE_OPENCL:BOOL=OFF" in cache.read_text()
        bench.run(checkout, options={"USE_OPENCL": "ON"})
        assert "USE_OPENCL:BOOL=ON" in cache.read_text()

    def test_a_mistake_in_the_sources_is_shown(self, bench, tmp_path):
        checkout = tvm(tmp_path / "tvm")
        (checkout / "src/module.c").write_text("#error not today\n")
        with pytest.raises(StepError, match="not today"):
            bench.run(checkout)

    def test_another_project_needs_names(self, bench, tmp_path):
        checkout = tvm(tmp_path / "other")
        lists = checkout / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("project(tvm", "project(other"))
        with pytest.raises(StepError, match="neither TVM nor mlc_llm") as caught:
            bench.run(checkout)
        assert "libraries:" in caught.value.hint
        facts, _ = bench.run(checkout, libraries=["tvm_ffi_static"])
        assert facts["libraries"] == ["tvm_ffi_static"]

    def test_a_target_that_is_not_there(self, bench, tmp_path):
        with pytest.raises(StepError, match="no target tvm_rpc"):
            bench.run(tvm(tmp_path / "tvm"), libraries=["tvm_rpc"])

    def test_a_build_that_writes_into_the_checkout_is_caught(self, bench, tmp_path):
        checkout = tvm(tmp_path / "tvm")
        lists = checkout / "CMakeLists.txt"
        lists.write_text(f'{lists.read_text()}\nfile(APPEND ${{CMAKE_SOURCE_DIR}}/src/loaders.h "// more\\n")\n')
        with pytest.raises(StepError, match=r"src/loaders\.h changed while the runtime was built"):
            bench.run(checkout)


@needs_cmake
class TestPrebuilt:
    @pytest.fixture
    def archives(self, tmp_path):
        _, out = Bench(tmp_path / "elsewhere").run(tvm(tmp_path / "tvm"))
        return [out / "libtvm_runtime.a", out / "libtvm_ffi_static.a"]

    def test_they_are_taken(self, bench, archives):
        pins = [hashlib.sha256(path.read_bytes()).hexdigest() for path in archives]
        facts, out = bench.run(prebuilt=archives, pins=pins)
        assert facts["libraries"] == ["tvm_runtime", "tvm_ffi_static"]
        assert (out / "libtvm_runtime.a").read_bytes() == archives[0].read_bytes()

    def test_the_wrong_file_is_refused(self, bench, archives):
        with pytest.raises(StepError, match="is not the file that"):
            bench.run(prebuilt=archives, pins=["0" * 64, None])

    def test_of_another_system_it_is_refused(self, bench, archives):
        with pytest.raises(StepError, match="is of format elf, and should be of format macho"):
            bench.run(prebuilt=archives, target=backend("ios", "ios", "arm64", version="14.0"))

    def test_a_shared_library_is_no_archive(self, bench, tmp_path):
        other = tmp_path / "libtvm_runtime.so"
        other.write_bytes(b"\x7fELF")
        with pytest.raises(StepError, match=r"not called lib<name>\.a"):
            bench.run(prebuilt=[other])


class TestElsewhere:
    """What a machine cannot build for, it says; what it would tell CMake on a Mac is looked at."""

    @pytest.mark.parametrize("platform", ["ios", "ios-simulator", "maccatalyst", "macos"])
    def test_apple_needs_xcode(self, bench, tmp_path, platform):
        if bench.tools["cmake"] is None:
            pytest.skip("no CMake")
        with pytest.raises(ToolMissing, match="Xcode's") as caught:
            bench.run(tvm(tmp_path / "tvm"), backend("apple", platform, "arm64", "metal", "14.0"))
        assert "prebuilt" in caught.value.hint

    def test_android_needs_the_ndk(self, bench, tmp_path):
        if bench.tools["cmake"] is None:
            pytest.skip("no CMake")
        with pytest.raises(ToolMissing, match="NDK"):
            bench.run(tvm(tmp_path / "tvm"), backend("android", "android", "arm64", "opencl"))

    def test_iphone(self):
        target = backend("ios", "ios", "arm64", "metal", "15.0")
        values = settings.settings(target, {}, source=Path("src"), sdk_path="/sdk")
        expected = {
            "CMAKE_SYSTEM_NAME": "iOS",
            "CMAKE_OSX_SYSROOT": "iphoneos",
            "CMAKE_OSX_ARCHITECTURES": "arm64",
            "CMAKE_OSX_DEPLOYMENT_TARGET": "15.0",
            "BUILD_SHARED_LIBS": "OFF",
            "USE_METAL": "ON",
            "USE_LLVM": "OFF",
            "TVM_FFI_USE_LIBBACKTRACE": "OFF",
            "TVM_FFI_BACKTRACE_ON_SEGFAULT": "OFF",
        }
        assert expected.items() <= values.items()

    @pytest.mark.parametrize(
        ("platform", "device", "switch"),
        [
            ("ios", "metal", "USE_METAL"),
            ("ios-simulator", "metal", "USE_METAL"),
            ("maccatalyst", "metal", "USE_METAL"),
            ("macos", "metal", "USE_METAL"),
            ("android", "opencl", "USE_OPENCL"),
            ("android", "vulkan", "USE_VULKAN"),
            ("android", "llvm", None),
        ],
    )
    def test_devices_of_other_backends_are_switched_off(self, platform, device, switch):
        target = backend("backend", platform, "arm64", device, None if platform == "android" else "14.0")
        ndk = Tool("ndk", Path("/ndk"), "27.2")
        values = settings.settings(target, {"ndk": ndk}, source=Path("src"), sdk_path="/sdk")
        switches = ("USE_METAL", "USE_OPENCL", "USE_VULKAN", "USE_CUDA", "USE_ROCM", "USE_HEXAGON")
        assert {name: values[name] for name in switches} == {
            name: "ON" if name == switch else "OFF" for name in switches
        }

    def test_simulator(self):
        target = backend("sim", "ios-simulator", "x86_64", "metal", "14.0")
        values = settings.settings(target, {}, source=Path("src"), sdk_path="/sdk")
        assert (values["CMAKE_OSX_SYSROOT"], values["CMAKE_OSX_ARCHITECTURES"]) == ("iphonesimulator", "x86_64")

    @pytest.mark.parametrize("arch", ["arm64", "x86_64"])
    def test_catalyst(self, tmp_path, arch):
        target = backend("catalyst", "maccatalyst", arch, "metal", "18.0")
        values = settings.settings(target, {}, source=tmp_path, sdk_path="/sdk")
        assert "CMAKE_SYSTEM_NAME" not in values
        assert (values["CMAKE_OSX_ARCHITECTURES"], values["CMAKE_OSX_DEPLOYMENT_TARGET"]) == (arch, "")
        words = settings.flags(target, renamed={}, sdk_path="/sdk")["CMAKE_OBJCXX_FLAGS"]
        assert f"-target {arch}-apple-ios18.0-macabi" in words
        assert "-isystem /sdk/System/iOSSupport/usr/include" in words

    def test_catalyst_with_mlc_tells_its_rust_part_too(self, tmp_path):
        fake_checkout.write(tmp_path, {"3rdparty/tokenizers-cpp/sentencepiece/cmake/ios.toolchain.cmake": "\n"})
        target = backend("catalyst", "maccatalyst", "arm64", "metal", "18.0")
        values = settings.settings(target, {}, source=tmp_path, sdk_path="/sdk")
        assert (values["PLATFORM"], values["DEPLOYMENT_TARGET"]) == ("MAC_CATALYST_ARM64", "18.0")

    def test_android(self):
        ndk = Tool("ndk", Path("/ndk"), "27.2")
        target = backend("android", "android", "arm64", "opencl")
        values = settings.settings(target, {"ndk": ndk}, source=Path("src"), sdk_path=None)
        expected = {
            "CMAKE_TOOLCHAIN_FILE": "/ndk/build/cmake/android.toolchain.cmake",
            "ANDROID_ABI": "arm64-v8a",
            "USE_OPENCL": "ON",
        }
        assert expected.items() <= values.items()

    def test_ccache_goes_before_every_compiler(self):
        assert settings.launcher(None) == {}
        assert settings.launcher("/usr/bin/ccache")["CMAKE_OBJCXX_COMPILER_LAUNCHER"] == "/usr/bin/ccache"


def test_xcode_says_where_its_sdk_is(tmp_path):
    xcode = fake_xcode.install(tmp_path / "xcode")
    said = subprocess.run(
        [xcode.bin / "xcrun", "-sdk", "macosx", "--show-sdk-path"], check=True, capture_output=True, text=True
    ).stdout
    assert Path(said.strip()).is_dir()
