//! Compiles the eBPF programs with clang; the object is embedded in the binary.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Preferred first: the version that the project's setup installs.
const CLANGS: [&str; 2] = ["clang-19", "clang"];
const STRIPS: [&str; 2] = ["llvm-strip-19", "llvm-strip"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=datapath");

    let sources = required("CARGO_MANIFEST_DIR")?.join("datapath");
    let object = required("OUT_DIR")?.join("causeway.bpf.o");
    compile(&sources, &object)?;
    strip(&object);
    Ok(())
}

fn compile(sources: &Path, object: &Path) -> Result<(), Box<dyn Error>> {
    let Some(clang) = CLANGS.into_iter().find(|it| runs(it)) else {
        return Err("clang is missing, and the eBPF programs need it: run ./setup".into());
    };
    let architecture = env::var_os("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let headers = Path::new("/usr/include").join(multiarch(&architecture.to_string_lossy()));

    let status = Command::new(clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g"])
        .args(["-Wall", "-Wextra", "-Werror"])
        .arg("-I")
        .arg(headers)
        .arg("-c")
        .arg(sources.join("causeway.c"))
        .arg("-o")
        .arg(object)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{clang} could not compile datapath/causeway.c: its reasons are above").into())
    }
}

/// Drops debug sections but keeps BTF; without the tool the object is only larger.
fn strip(object: &Path) {
    if let Some(strip) = STRIPS.into_iter().find(|it| runs(it)) {
        let _larger_object_if_this_fails = Command::new(strip).arg("-g").arg(object).status();
    }
}

/// Where Debian keeps the kernel's architecture-dependent headers.
fn multiarch(architecture: &str) -> String {
    format!("{architecture}-linux-gnu")
}

fn runs(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|it| it.status.success())
}

fn required(variable: &str) -> Result<PathBuf, Box<dyn Error>> {
    let value = env::var_os(variable).ok_or_else(|| format!("cargo did not set {variable}"))?;
    Ok(value.into())
}
