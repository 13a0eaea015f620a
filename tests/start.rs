//! Weights to start from: PyTorch's files are read like PyTorch reads them, and nothing in them is run.
#![cfg(feature = "train")]

use std::path::Path;

use grnet::ErrorKind;
use grnet::model::{ModelMeta, Precision, Tensors};
use grnet::train::backend::Cpu;
use grnet::train::formats::torch::read_state_dict;
use grnet::train::learn::start::Start;
use grnet::train::nn::parameters::write_model;

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

/// Both forms hold what make_pth.py says.
fn check_state(tensors: &Tensors) {
    let get = |name: &str, shape: &[usize]| tensors.get(name, shape).unwrap_or_else(|error| panic!("{error}"));
    let permuted: Vec<f32> = (0..24).map(|i| (i % 6 * 4 + i / 6) as f32 / 8.0).collect();
    assert_eq!(get("float", &[4, 2, 3]), permuted);
    assert_eq!(get("half", &[2]), [1.5, -65504.0]);
    assert_eq!(get("bfloat", &[2, 1]), [3.140625, -2.0]);
    assert_eq!(get("double", &[1]), [0.1]);
    assert_eq!(get("parameter", &[1]), [7.0]);
    assert_eq!(get("scalar", &[]), [2.5]);
    assert!(get("empty", &[0, 3]).is_empty());
    assert_eq!(get("base", &[6]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(get("every_second", &[3]), [1.0, 3.0, 5.0]);
    assert!(tensors.get("counter", &[]).is_err(), "a counter is no weight");
}

#[test]
fn both_forms_of_torch_save_are_read() {
    check_state(&read_state_dict(&golden("state.pth")).unwrap());
    check_state(&read_state_dict(&golden("state_old.pth")).unwrap());
}

fn refused(bytes: &[u8], words: &[&str]) {
    let error = Start::parse(bytes).expect_err("the file must be refused");
    assert_eq!(error.kind(), ErrorKind::BadWeights);
    let message = error.full_message();
    words.iter().for_each(|word| assert!(message.contains(word), "{message:?} does not say {word:?}"));
}

#[test]
fn a_pickle_that_calls_is_refused_and_runs_nothing() {
    for file in ["evil.pth", "evil_old.pth"] {
        refused(&golden(file), &["posix.system", "state dict"]);
    }
    assert!(!Path::new("a-pickle-was-run").exists());
}

#[test]
fn other_files_are_refused_by_what_they_hold() {
    refused(&golden("checkpoint.pth"), &["epoch", "an int", "model.state_dict()"]);
    refused(&golden("repeated.pth"), &["conv1.weight", "[1000000]"]);
    refused(&golden("integers.pth"), &["torch.IntStorage"]);
    refused(&golden("compressed.pth"), &["stored files", "compressed"]);
    refused(b"PK\x03\x04 and nothing more", &["zip archive"]);
    refused(b"no weights at all", &["grnet model", "safetensors", "torch.save"]);
    // Nested so deep that whoever followed it would run out of stack.
    let old = golden("state_old.pth");
    let nested = [&old[..21], b"\x80\x02)", &[0x85; 1_000_000], b"."].concat();
    refused(&nested, &["objects"]);
    let newer = [&old[..21], b"\x80\x04."].concat();
    refused(&newer, &["protocol 2", "found 4"]);
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for file in ["state.pth", "state_old.pth"] {
        let whole = golden(file);
        for length in 0..whole.len() {
            assert!(Start::parse(&whole[..length]).is_err(), "{file} at {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn a_file_with_one_changed_byte_gives_a_result_or_an_error() {
    for file in ["state.pth", "state_old.pth"] {
        let whole = golden(file);
        let mut refused = 0;
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x55;
            refused += usize::from(Start::parse(&changed).is_err());
        }
        assert!(refused > 500, "{file}: {refused} of {} refused", whole.len());
    }
}

#[test]
fn the_content_decides_what_a_start_is() {
    let meta = ModelMeta { input_px: 64, ..ModelMeta::default() };
    let model = write_model(&meta.network.init::<Cpu>(&Default::default()), &meta, Precision::Int8).unwrap();
    assert!(matches!(Start::parse(&model).unwrap(), Start::Model(file) if file.meta == meta));
    assert!(matches!(Start::parse(&golden("state.pth")).unwrap(), Start::Trunk(_)));
    let plain = safetensors::serialize(
        [("conv1.weight", safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap())],
        None,
    );
    assert!(matches!(Start::parse(&plain.unwrap()).unwrap(), Start::Trunk(_)));
}
