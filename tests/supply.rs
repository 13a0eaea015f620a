//! What the program is made of: where `unsafe` may stand.

use std::path::Path;

/// The only files with `unsafe` code: the kernels. clippy (`undocumented_unsafe_blocks`) demands a reason at each block.
const KERNELS: [&str; 9] = [
    "src/infer/cpu/gemm.rs",
    "src/infer/cpu/pack.rs",
    "src/infer/cpu/simd.rs",
    "src/infer/cpu/simd/avx2.rs",
    "src/infer/cpu/simd/avx512.rs",
    "src/infer/cpu/simd/neon.rs",
    "src/infer/cpu/simd/scalar.rs",
    "src/infer/cpu/simd/wasm128.rs",
    "src/picture/face/network/vectors.rs",
];

/// Rust files below a folder, as paths from the root of the project.
fn rust_files(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).expect("a folder of the project") {
        let entry = entry.expect("a readable entry");
        let path = format!("{folder}/{}", entry.file_name().to_str().expect("our names are UTF-8"));
        if entry.file_type().expect("a known type").is_dir() {
            found.extend(rust_files(&path));
        } else if path.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

/// Whether the code, without its comments, opens something unsafe or allows it.
fn is_unsafe(source: &str) -> bool {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.into_iter().any(|line| {
        ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "(unsafe_code"]
            .iter()
            .any(|word| line.contains(word))
    })
}

#[test]
fn unsafe_code_stands_in_the_named_kernels_alone() {
    assert!(is_unsafe("let a = unsafe { b() };") && is_unsafe("#![allow(unsafe_code, reason = \"\")]"));
    assert!(!is_unsafe("// unsafe { b() }"));
    let files = rust_files("src");
    assert!(files.len() > KERNELS.len());
    let mut found: Vec<String> = files
        .into_iter()
        .filter(|path| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            is_unsafe(&std::fs::read_to_string(path).expect("a source file"))
        })
        .collect();
    found.sort();
    assert_eq!(found, KERNELS);
}

/// The crates that a build of these options links, by name.
fn linked(options: &[&str]) -> Vec<String> {
    let common = ["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let output = std::process::Command::new(env!("CARGO"))
        .args(common)
        .args(options)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names of crates are ASCII");
    text.lines().filter_map(|line| line.split(' ').next().map(String::from)).collect()
}

#[test]
fn neither_program_nor_browser_build_links_a_training_framework_or_anything_that_opens_connections() {
    const FOREIGN: [&str; 12] = [
        "curl",
        "hyper",
        "mio",
        "native-tls",
        "openssl",
        "quinn",
        "reqwest",
        "rustls",
        "socket2",
        "tokio",
        "tungstenite",
        "ureq",
    ];
    let foreign =
        |name: &String| FOREIGN.contains(&name.as_str()) || name.starts_with("burn") || name.starts_with("cubecl");
    let browser = ["--target", "wasm32-unknown-unknown", "--no-default-features", "--features", "wgpu"];
    for options in [&[][..], &["--features", "wgpu"], &browser] {
        let crates = linked(options);
        assert!(crates.len() > 50, "{crates:?}");
        assert_eq!(
            crates.iter().filter(|name| foreign(name)).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "{options:?}"
        );
    }
    assert!(linked(&["--features", "train"]).iter().any(foreign), "the search finds what is there");
}
