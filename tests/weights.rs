//! Model files: what is written is read back, and every way in which a file can be wrong is named.

mod common;

use std::collections::HashMap;

use common::{assert_close, model_file, tensors, wait};
use grnet::ErrorKind;
use grnet::detector::{Detector, prepare};
use grnet::model::familiarity::Gate;
use grnet::model::{Manifest, ModelFile, ModelMeta, Precision};
use grnet::picture::face::Finder;
use grnet::report::{Band, Reason};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

fn meta() -> ModelMeta {
    ModelMeta { input_px: 64, name: "from the fixture".to_string(), ..ModelMeta::default() }
}

fn known_logits(bytes: &[u8]) -> Vec<f32> {
    wait(Detector::on_cpu(bytes).unwrap().known_logits()).unwrap()
}

#[test]
fn f32_file_reads_back_exactly() {
    let meta = meta();
    let bytes = model_file(&meta, Precision::F32).unwrap();
    let file = ModelFile::parse(&bytes).unwrap();
    assert_eq!(file.meta, meta);
    let expected = tensors(&meta);
    assert_eq!(file.tensors().shapes().count(), expected.len());
    for (name, shape, values) in expected {
        assert_eq!(file.tensors().get(&name, &shape).unwrap(), values, "{name}");
    }
}

#[test]
fn smaller_precisions_are_smaller_and_close() {
    let meta = meta();
    let exact = model_file(&meta, Precision::F32).unwrap();
    let half = model_file(&meta, Precision::F16).unwrap();
    let int8 = model_file(&meta, Precision::Int8).unwrap();
    assert!(half.len() < exact.len() * 51 / 100, "f16 takes {} of {} bytes", half.len(), exact.len());
    assert!(int8.len() < exact.len() * 27 / 100, "int8 takes {} of {} bytes", int8.len(), exact.len());
    let expected = known_logits(&exact);
    // Measured with these weights, whose logits are about 5: f16 2e-3, int8 0.1.
    assert_close(&known_logits(&half), &expected, 0.02, "f16");
    assert_close(&known_logits(&int8), &expected, 0.5, "int8");
    assert_ne!(known_logits(&int8), expected, "int8 must have rounded something");
}

#[test]
fn what_lies_beyond_the_gate_becomes_inconclusive_and_says_why() {
    let prepared = {
        let mut finder = Finder::new().unwrap();
        let bytes = model_file(&meta(), Precision::F32).unwrap();
        let config = Detector::on_cpu(&bytes).unwrap().prepare_config();
        prepare("astronaut.jpg", include_bytes!("pictures/astronaut.jpg"), &mut finder, &config)
    };
    let judge = |gate: Option<Gate>| {
        let meta = ModelMeta { familiarity: gate, ..meta() };
        let bytes = model_file(&meta, Precision::F32).unwrap();
        wait(Detector::on_cpu(&bytes).unwrap().judge(&prepared)).unwrap()
    };
    let (width, diagonal) = (256, |i: usize| (0..=i).map(move |j| f32::from(u8::from(i == j))));
    let with_limit =
        |limit: f32| Gate { mean: vec![0.0; width], whitening: (0..width).flat_map(diagonal).collect(), limit };
    let open = judge(None);
    assert_ne!(open.band, Band::Inconclusive, "this face must be one that the gate changes");
    let wide = judge(Some(with_limit(1e6)));
    assert_eq!((wide.band, wide.p_fake, wide.reason), (open.band, open.p_fake, None));
    let narrow = judge(Some(with_limit(1e-6)));
    assert_eq!(
        (narrow.band, narrow.p_fake, narrow.reason),
        (Band::Inconclusive, open.p_fake, Some(Reason::Unfamiliar))
    );
    assert_eq!(narrow.faces[0].meaning, None);
    // A gate for another network is no gate.
    let short = Gate { mean: vec![0.0; 128], ..with_limit(1.0) };
    let meta = ModelMeta { familiarity: Some(short), ..meta() };
    let error = model_file(&meta, Precision::F32).and_then(|bytes| ModelFile::parse(&bytes).map(|_| ())).unwrap_err();
    assert!(error.full_message().contains("256 features"), "{}", error.full_message());
}

#[test]
fn self_check_passes_on_the_right_answer_and_fails_on_a_wrong_one() {
    let mut meta = meta();
    meta.known_logits = known_logits(&model_file(&meta, Precision::F16).unwrap());
    let check = |meta: &ModelMeta| {
        let bytes = model_file(meta, Precision::F16).unwrap();
        wait(Detector::on_cpu(&bytes).unwrap().self_check()).unwrap()
    };
    let right = check(&meta);
    assert!(right.ok, "{right:?}");
    meta.known_logits[1] += 0.1;
    assert!(!check(&meta).ok, "a wrong logit");
    meta.known_logits.clear();
    assert!(!check(&meta).ok, "no known answer");
}

/// Rewrites a model file with other tensors or metadata.
fn tampered(edit: impl Fn(&mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>, &mut HashMap<String, String>)) -> Vec<u8> {
    let meta = meta();
    let bytes = model_file(&meta, Precision::F16).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| (name.to_string(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    edit(&mut tensors, &mut metadata);
    let views = tensors.iter().map(|(n, d, s, b)| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap()));
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn refused(bytes: &[u8], words: &[&str]) {
    let result = ModelFile::parse(bytes).and_then(|file| file.network().map(|_| ()));
    let error = result.expect_err("the file must be refused");
    assert_eq!(error.kind(), ErrorKind::BadWeights);
    let message = error.full_message();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

#[test]
fn wrong_files_are_refused_by_name() {
    refused(b"not a model", &["safetensors"]);
    refused(&tampered(|_, metadata| metadata.clear()), &["grnet"]);
    refused(&tampered(|tensors, _| tensors.retain(|t| t.0 != "fc.bias")), &["fc.bias", "[2]", "none"]);
    refused(
        &tampered(|tensors, _| {
            let fc = tensors.iter_mut().find(|t| t.0 == "fc.weight").unwrap();
            fc.2 = vec![512, 2];
        }),
        &["fc.weight", "[2, 512]", "[512, 2]"],
    );
    refused(
        &tampered(|tensors, _| tensors.push(("stray".into(), Dtype::F16, vec![1], vec![0, 0]))),
        &["unexpected tensor stray"],
    );
    refused(
        &tampered(|tensors, _| {
            tensors.iter_mut().find(|t| t.0 == "fc.bias").unwrap().3[0..2].copy_from_slice(&[0, 0x7c])
        }),
        &["fc.bias", "finite", "inf"],
    );
    let with = |edit: fn(&mut serde_json::Value)| {
        tampered(move |_, metadata| {
            let mut document: serde_json::Value = serde_json::from_str(&metadata["grnet"]).unwrap();
            edit(&mut document);
            metadata.insert("grnet".into(), document.to_string());
        })
    };
    refused(&with(|d| d["format"] = "grnet.model/0".into()), &["grnet.model/1", "grnet.model/0"]);
    refused(&with(|d| d["input_px"] = 100.into()), &["input_px", "100"]);
    refused(&with(|d| d["mte"]["eps"] = 0.0.into()), &["eps"]);
    refused(&with(|d| d["network"]["w_spatial"] = 1.5.into()), &["w_spatial", "1.5"]);
    refused(&with(|d| d["class_names"] = serde_json::json!(["a"])), &["2 class names", "1"]);
    refused(&with(|d| d["calibration"] = serde_json::json!([])), &["calibration"]);
    refused(&with(|d| d["thresholds"]["auto_scan"] = 0.1.into()), &["auto_scan"]);
    let whole = tampered(|_, _| ());
    refused(&whole[..whole.len() - 7], &["safetensors"]);
    assert!(ModelFile::parse(&whole).unwrap().network().is_ok(), "untampered");
}

#[test]
fn manifest_tells_another_file_and_another_size() {
    let manifest = Manifest::of("m.safetensors", b"model");
    assert!(manifest.check(b"model").is_ok());
    assert!(manifest.check(b"Model").unwrap_err().to_string().contains("SHA-256"));
    assert!(manifest.check(b"models").unwrap_err().to_string().contains("expected 5 bytes, found 6"));
}

#[test]
fn the_manifest_beside_the_shipped_model_is_its_own_thresholds_included() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let model = std::fs::read(folder.join("grnet.safetensors")).expect("the shipped model");
    let kept: Manifest =
        serde_json::from_slice(&std::fs::read(folder.join("grnet.json")).expect("its manifest")).expect("a manifest");
    assert!(kept.thresholds.is_some());
    assert_eq!(kept, Manifest::of("grnet.safetensors", &model));
}
