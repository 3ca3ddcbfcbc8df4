//! The program looks for a shared runtime where the kit's crate found it. A variable names those folders to the build
//! scripts of the crates that depend on it.

use std::env;

fn main() {
    let runtime = env::vars_os().find(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("DEP_SLIPWAY_") && name.ends_with("_RUNTIME")
    });
    for folder in env::split_paths(&runtime.expect("the kit's crate says where its runtime is").1) {
        for word in ["-Xlinker", "-rpath", "-Xlinker", &folder.to_string_lossy()] {
            println!("cargo:rustc-link-arg={word}");
        }
    }
}
