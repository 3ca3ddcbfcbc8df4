"""The kit for Rust: Cargo really builds programs with it."""

from __future__ import annotations

import subprocess

from fake_kits import HOST, LINUX_ARM, PREFIXES, REGISTERED, WINDOWS, WINDOWS_ARM
from fake_models import find_tool, run_tool

COPY = "libslipway_models_models.a"
RUST_MAIN = """
use std::ffi::{c_char, c_int, c_void, CStr};

#[no_mangle]
pub extern "C" fn TVMFFIEnvModRegisterSystemLibSymbol(name: *const c_char, _: *mut c_void) -> c_int {
    eprintln!("{}", unsafe { CStr::from_ptr(name) }.to_str().unwrap());
    0
}

fn main() {
    for model in middle::models() {
        println!("{}={}", model.name, model.prefix);
    }
}
"""


def test_a_rust_program_two_crates_away_has_every_model(make_kit, tmp_path):
    kit = make_kit("native", [HOST, LINUX_ARM])
    for name, needs in (
        ("middle", f'slipway-models = {{ path = "{kit}/rust" }}'),
        ("app", 'middle = { path = "../middle" }'),
    ):
        (tmp_path / name / "src").mkdir(parents=True)
        (tmp_path / name / "Cargo.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n{needs}\n[workspace]\n'
        )
    (tmp_path / "middle/src/lib.rs").write_text(
        "pub fn models() -> &'static [slipway_models::Model] { slipway_models::MODELS }\n"
    )
    (tmp_path / "middle/build.rs").write_text(
        'fn main() { println!("cargo:warning={}", std::env::var("DEP_SLIPWAY_MODELS_PREFIXES").unwrap()); }\n'
    )
    (tmp_path / "app/src/main.rs").write_text(RUST_MAIN)
    said = run_tool("cargo", "build", "--offline", "--release", "--manifest-path", tmp_path / "app/Cargo.toml")
    assert ",".join(PREFIXES) in said
    done = subprocess.run([tmp_path / "app/target/release/app"], capture_output=True, text=True, check=True, timeout=60)
    assert sorted(done.stderr.split()) == REGISTERED
    assert done.stdout.split() == ["tiny_bert-f32=tiny_bert_f32_", "tiny_llama-q4f16_1=tiny_llama_q4f16_1_"]


def test_for_windows_the_archive_is_named_as_it_is(make_kit, tmp_path):
    """Where rustc would look for `….lib`. Elsewhere, too, it is a copy whose name no other kit has.

    The build script alone is run: its lines are what rustc is told.
    """
    kit = make_kit("native", [HOST, WINDOWS, WINDOWS_ARM])
    run_tool("rustc", "--edition=2021", kit / "rust/build.rs", "-o", tmp_path / "build")
    said, copies = {}, {}
    for target in ("x86_64-pc-windows-msvc", "aarch64-pc-windows-msvc", "x86_64-unknown-linux-gnu"):
        env = {"TARGET": target, "CARGO_MANIFEST_DIR": str(kit / "rust"), "OUT_DIR": str(tmp_path)}
        done = subprocess.run([tmp_path / "build"], env=env, capture_output=True, text=True, check=True, timeout=60)
        copies[target] = (tmp_path / COPY).read_bytes()
        said[target] = [line for line in done.stdout.splitlines() if line.startswith("cargo:rustc-link-")]
    whole = "cargo:rustc-link-lib=static:+whole-archive,-bundle"
    for name, target in (("windows", "x86_64-pc-windows-msvc"), ("windows-arm64", "aarch64-pc-windows-msvc")):
        assert said[target] == [f"cargo:rustc-link-search=native={tmp_path}", f"{whole},+verbatim={COPY}"]
        assert copies[target] == (kit / name / "libmodels.a").read_bytes()
    assert f"{whole}=slipway_models_models" in said["x86_64-unknown-linux-gnu"]


def test_a_rust_target_that_is_not_in_the_kit_is_named(make_kit):
    kit = make_kit("native", [LINUX_ARM])
    done = subprocess.run(
        [find_tool("cargo"), "build", "--offline", "--manifest-path", kit / "rust/Cargo.toml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode != 0
    assert "these models are not built for x86_64-unknown-linux-gnu, only for: aarch64 on linux" in done.stderr
