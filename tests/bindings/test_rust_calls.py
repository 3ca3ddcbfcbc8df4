"""A Rust program calls models through the kit's crate; variables, dependents and other archives work as they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.tvm

MAIN = r"""
use slipway_calls::{runtime, Bool, Error, FirstF32, SecondF32, Tensor, F16};

fn main() -> Result<(), Error> {
    let bundles: Vec<String> = std::env::args().skip(1).collect();
    let (first, second) = (FirstF32::open(&bundles[0])?, SecondF32::open(&bundles[1])?);
    let x = Tensor::new([2, 4], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    println!("first {} second {}", first.forward(&x)?.values[7], second.forward(&x)?.values[7]);
    let (scaled, more) = first.split(&x, &Tensor::new([2], vec![1, 10]))?;
    println!("split {} {}, {} {}", scaled.values[0], scaled.values[7], more.values[0], more.values[1]);
    println!("ones {}", first.ones(&[3])?.values.len());
    let numbers = Tensor::new(FirstF32::FIXED_SELF__SHAPE, vec![1; 6]);
    let half = first.fixed(&numbers, &Tensor::new([2], vec![0.5.into(), F16::from(-1.25)]))?;
    println!("half {} {}", f32::from(half.values[0]), f32::from(half.values[1]));
    assert!([true, false].iter().all(|one| bool::from(Bool::from(*one)) == *one));
    println!("{} {}", FirstF32::STATIC_TEXT_LEN, FirstF32::NOTE);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(first.forward(&x).unwrap().values[7], 16.0)));
        }
    });
    println!("refused: {}", first.forward(&Tensor::new([2, 3], vec![0.0; 6])).unwrap_err());
    println!("refused: {}", first.forward(&Tensor::new([2, 4], vec![0.0; 2])).unwrap_err());
    println!("refused: {}", first.split(&x, &Tensor::new([3], vec![1; 3])).unwrap_err());
    println!("refused: {}", FirstF32::open("").unwrap_err());
    println!("refused: {}", FirstF32::open("/nowhere").unwrap_err());
    println!("refused: {}", runtime("no.such.function", &[]).unwrap_err());
    Ok(())
}
"""

MANIFEST = """
[package]
name = "app"
version = "0.1.0"
edition = "2021"
{more}
[dependencies]
slipway-{name} = {{ path = "{kit}/rust"{features} }}

[workspace]
"""


def package(
    folder: Path,
    kit: Path,
    main: str,
    *,
    features: str = "",
    more: str = "",
    file: str = "main.rs",
    name: str = "calls",
) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text(MANIFEST.format(name=name, kit=kit, features=features, more=more))
    (folder / "src" / file).write_text(main)
    return folder


def cargo(folder: Path, *words: str | Path, fails: bool = False, **variables: object) -> str:
    environment = {name: value for name, value in os.environ.items() if "TVM" not in name}
    environment |= {name: str(value) for name, value in variables.items()}
    environment["CARGO_TARGET_DIR"] = str(folder / "target")
    done = subprocess.run(
        ["cargo", words[0], "--offline", *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr if fails else done.stdout


def test_models_are_called_with_their_own_parameters_and_wrong_arguments_are_named(called, runtime, tmp_path):
    from test_cpp_calls import SAID

    app = package(tmp_path / "app", called.path("dist/calls"), MAIN)
    bundles = [called.path(f"dist/bundle/{name}-f32") for name in ("first", "second")]
    # One variable names the runtime; tvm-ffi is found beside it as wheels have it, and both when the program starts.
    said = cargo(app, "run", "--quiet", "--", *bundles, CALLS_TVM_RUNTIME_LIB=runtime["tvm_runtime"])
    assert said == SAID.replace('say "hi"', '512 say "hi"')
    assert "warning" not in cargo(app, "build", CALLS_TVM_RUNTIME_LIB=runtime["tvm_runtime"])


def test_without_calls_no_compiler_for_cpp_is_needed(called, tmp_path):
    app = package(
        tmp_path / "app",
        called.path("dist/calls"),
        "pub fn names() -> Vec<&'static str> { slipway_calls::MODELS.iter().map(|one| one.name).collect() }",
        features=", default-features = false",
        file="lib.rs",
    )
    cargo(app, "build", CXX="/nowhere/c++")
    with_calls = package(tmp_path / "calls", called.path("dist/calls"), "pub use slipway_calls::*;", file="lib.rs")
    said = cargo(with_calls, "build", fails=True, CXX="/nowhere/c++")
    assert "install a C++ compiler for" in said
    assert "default-features = false" in said


def test_an_archive_of_another_build_is_refused(called, runtime, tmp_path):
    shutil.copytree(called.path("dist/calls"), tmp_path / "kit")
    with (tmp_path / "kit/host/libmodels.a").open("r+b") as archive:
        archive.seek(2000)
        archive.write(b"!")
    app = package(tmp_path / "app", tmp_path / "kit", 'fn main() { println!("{}", slipway_calls::MODELS.len()); }')
    said = cargo(app, "build", fails=True, CALLS_TVM_RUNTIME_LIB=str(runtime["tvm_runtime"]))
    assert "libmodels.a is of another build than this crate" in said
    assert "strip what is linked, not its archive" in said


def test_a_runtime_that_is_not_there_is_named(called, tmp_path):
    app = package(tmp_path / "app", called.path("dist/calls"), "fn main() {}")
    said = cargo(app, "build", fails=True, CALLS_TVM_RUNTIME_LIB="/nowhere/libtvm_runtime.so")
    assert "/nowhere/libtvm_runtime.so is missing: correct CALLS_TVM_RUNTIME_LIB or TVM_BUILD_DIR" in said
    assert "panicked" not in said
    calls = package(tmp_path / "calls", called.path("dist/calls"), MAIN)
    said = cargo(calls, "build", fails=True)  # nothing has what the models need
    assert "the TVM runtime is not part of this kit: set CALLS_TVM_RUNTIME_LIB to its file" in said


DEPENDENT = """
fn main() {
    for name in ["ARCHIVE", "PREFIXES", "INCLUDE", "RUNTIME"] {
        println!("cargo:warning={name}={}", std::env::var(format!("DEP_SLIPWAY_CALLS_{name}")).unwrap());
    }
}
"""


def test_build_scripts_of_dependents_are_told_where_things_are(called, runtime, tmp_path):
    kit = called.path("dist/calls")
    app = package(
        tmp_path / "app", kit, 'fn main() { println!("{}", slipway_calls::MODELS.len()); }', more='build = "build.rs"'
    )
    (app / "build.rs").write_text(DEPENDENT)
    done = subprocess.run(
        ["cargo", "build", "--offline"],
        cwd=app,
        env={**os.environ, "CALLS_TVM_RUNTIME_LIB": str(runtime["tvm_runtime"])},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    for line in (
        f"ARCHIVE={kit}/host/libmodels.a",
        "PREFIXES=first_f32_,second_f32_",
        f"INCLUDE={kit}/include",
        f"RUNTIME={runtime['tvm_runtime'].parent}:",
    ):
        assert line in done.stderr


def test_another_archive_can_take_the_place_of_the_kits(called, runtime, tmp_path):
    archive = tmp_path / "lib" / "libg2p_system_lib.a"
    archive.parent.mkdir()
    shutil.copy(called.path("dist/calls/host/libmodels.a"), archive)
    main = """
use slipway_calls::{AnyModel, Tensor, MODELS};
fn main() {
    println!("{:?}", MODELS);
    let model = AnyModel::open(MODELS[0].prefix, std::env::args().nth(1).unwrap()).unwrap();
    let ones: Tensor<f32, 1> = model.call_tensor("ones", &[(&[3]).into()]).unwrap();
    println!("{:?}", ones.values);
}
"""
    app = package(tmp_path / "app", called.path("dist/calls"), main)
    said = cargo(
        app, "run", "--quiet", "--", called.path("dist/bundle/first-f32"),
        CALLS_TVM_RUNTIME_LIB=runtime["tvm_runtime"],
        CALLS_TVM_SYSTEM_LIB=archive,
        CALLS_TVM_SYSTEM_LIB_PREFIX="first_f32_",
    )  # fmt: skip
    assert said == '[Model { name: "first_f32", prefix: "first_f32_" }]\n[1.0, 1.0, 1.0]\n'
