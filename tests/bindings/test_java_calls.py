"""The Java classes of an Android kit, run on this machine's JVM over a library that is linked as the app's would be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_cpp_calls import SAID

from pipeline.documents.archive import Archive
from pipeline.kits.kit import read_kit
from pipeline.kits.render import Templates
from pipeline.steps.linkkit import context

pytestmark = pytest.mark.tvm

MAIN = r"""
import slipway.calls.Models;
import slipway.calls.Models.*;

class Main {
    static void refused(Runnable call) {
        try { call.run(); System.out.println("not refused"); }
        catch (ModelException error) { System.out.println("refused: " + error.getMessage()); }
    }

    public static void main(String[] bundles) {
        System.loadLibrary("app");
        FirstF32 first = new FirstF32(bundles[0]);
        SecondF32 second = new SecondF32(bundles[1]);
        Tensor<float[]> x = new Tensor<>(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 2, 4);
        System.out.printf("first %.0f second %.0f\n", first.forward(x).values[7], second.forward(x).values[7]);
        FirstF32.SplitResults split = first.split(x, new Tensor<>(new int[] {1, 10}, 2));
        System.out.printf("split %.0f %.0f, ", split.output0.values[0], split.output0.values[7]);
        System.out.printf("%d %d\n", split.output1.values[0], split.output1.values[1]);
        System.out.println("ones " + first.ones(new long[] {3}).values.length);
        Tensor<short[]> half = first.fixed(
            new Tensor<>(new long[6], 2, 3), new Tensor<>(new short[] {0x3800, (short) 0xBD00}, 2));
        System.out.printf("half %x %x\n", half.values[0], half.values[1]);
        System.out.println(FirstF32.STATIC_TEXT_LEN + " " + FirstF32.NOTE);
        refused(() -> first.forward(new Tensor<>(new float[6], 2, 3)));
        refused(() -> first.forward(new Tensor<>(new float[2], 2, 4)));
        refused(() -> first.split(x, new Tensor<>(new int[3], 3)));
        refused(() -> new FirstF32(""));
        refused(() -> new FirstF32("/nowhere"));
        refused(() -> Models.runtime("no.such.function", 1));
        refused(() -> first.forward(new Tensor<>(null, 2, 4)));
        refused(() -> first.forward(new Tensor<>(new float[0], 1L << 62, 4)));
        first.close();
        refused(() -> first.forward(x));
    }
}
"""


@pytest.fixture(scope="module")
def program(called, runtime, tmp_path_factory) -> list[str | Path]:
    """The words that run the program: its classes, and the library with models and glue."""
    if shutil.which("javac") is None:
        pytest.skip("there is no JDK")
    folder = tmp_path_factory.mktemp("java")
    archive = called.path("build/archive/host")
    backend = Archive.read(archive).backend
    values = context(read_kit("calls", "models", "native", [backend], {"archive:host": archive}))
    for template, place in (("Models.java", "slipway/calls/Models.java"), ("jni.cpp", "calls_jni.cpp")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(Templates().render(template, values))
    (folder / "Main.java").write_text(MAIN)
    build("javac", "-Xlint:all", "-Werror", "Main.java", "slipway/calls/Models.java", cwd=folder)
    java = Path(shutil.which("javac") or "").resolve().parent.parent / "include"
    kit = called.path("dist/calls")
    build(
        "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{java}", f"-I{java}/linux",
        f"-I{kit}/include", kit / "src/calls.cpp", "calls_jni.cpp", "-Wl,--whole-archive", kit / "host/libmodels.a",
        "-Wl,--no-whole-archive", *runtime.values(), *(f"-Wl,-rpath,{path.parent}" for path in runtime.values()),
        "-o", "libapp.so", cwd=folder,
    )  # fmt: skip
    # What the VM itself says (of TVM's signal handler, at any moment) would come into the midst of the program's lines.
    options = ["-XX:+DisplayVMOutputToStderr", "-Xcheck:jni", f"-Djava.library.path={folder}"]
    return ["java", *options, "-cp", folder, "Main"]


def build(*words: str | Path, cwd: Path) -> None:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_models_are_called_with_their_own_parameters_and_wrong_arguments_are_named(called, program):
    bundles = [called.path(f"dist/bundle/{name}-f32") for name in ("first", "second")]
    done = subprocess.run([*program, *bundles], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING in native method" not in done.stderr  # what -Xcheck:jni would say of the glue
    wanted = SAID.replace("half 1 -2.5", "half 3c00 c100").replace('say "hi"', '512 say "hi"').splitlines()
    assert done.stdout.splitlines() == [
        *wanted,
        "refused: a tensor has no values",
        "refused: no memory holds the shape [4611686018427387904, 4]",
        "refused: this model is closed",
    ]
