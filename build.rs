//! Copies SeetaFace's model file from the source of the `rustface` dependency to where `src/picture/face.rs` includes it: the
//! repository holds no copy. Cargo tells no build script where a dependency lies, hence the search.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const PACKAGE: &str = "rustface-0.1.7";
const MODEL: &str = "model/seeta_fd_frontal_v1.0.bin";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let mut looked_at = Vec::new();
    let Some(model) = registry(&mut looked_at).or_else(|| metadata(&mut looked_at)) else {
        panic!("expected {MODEL} in the source of {PACKAGE}, found it at none of: {}", looked_at.join(", "));
    };
    println!("cargo:rerun-if-changed={}", model.display());
    let target = Path::new(&variable("OUT_DIR")).join("seeta_fd_frontal_v1.0.bin");
    if let Err(error) = fs::copy(&model, &target) {
        panic!("expected to copy {} to {}, found: {error}", model.display(), target.display());
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("expected cargo to set {name}"))
}

/// Where cargo unpacks what it downloads: `registry/src/<registry>/rustface-0.1.7`.
fn registry(looked_at: &mut Vec<String>) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    let sources = home.join("registry/src");
    looked_at.push(format!("{}/*/{PACKAGE}", sources.display()));
    let registries = fs::read_dir(sources).ok()?;
    registries.filter_map(|entry| Some(entry.ok()?.path().join(PACKAGE).join(MODEL))).find(|path| path.is_file())
}

/// What cargo itself says, for vendored, patched and path dependencies.
fn metadata(looked_at: &mut Vec<String>) -> Option<PathBuf> {
    let mut command = Command::new(variable("CARGO"));
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &variable("TARGET")]);
    let output = command.current_dir(variable("CARGO_MANIFEST_DIR")).output().ok()?;
    if !output.status.success() {
        looked_at.push(format!("cargo metadata ({})", String::from_utf8_lossy(&output.stderr).trim()));
        return None;
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let package = answer["packages"].as_array()?.iter().find(|package| package["name"] == "rustface")?;
    let model = Path::new(package["manifest_path"].as_str()?).parent()?.join(MODEL);
    looked_at.push(model.display().to_string());
    model.is_file().then_some(model)
}
