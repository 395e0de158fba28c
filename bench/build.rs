//! Tells the program which compiler has built it: what it measures depends on that.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("a compiler");
    let version = String::from_utf8(version.stdout).expect("a version in plain text");
    println!("cargo:rustc-env=BENCH_RUSTC={}", version.trim());
}
