//! ONNX files: what another runtime makes of them is what the CPU backend computes.
#![cfg(feature = "train")]

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use burn::tensor::Tensor;
use common::{ModelManifest, image_u8, pictures, worst};
use grnet::infer::architecture::{AttentionForm, Fusion, GrNetConfig, GuideMode, GuidedFilterConfig};
use grnet::model::ModelMeta;
use grnet::train::backend::Cpu;
use grnet::train::formats::onnx::{ResidualPlace, write_onnx};
use grnet::train::nn::GrNet;
use grnet::train::nn::input::{batch_unit, normalise};
use grnet::train::nn::mte::tensor::residual;
use grnet::train::nn::parameters::{fill_module, read_module};

/// Largest difference of a logit, in shares of the largest logit where that is above one.
const TOLERANCE: f32 = 1e-4;

/// Weights by the fixtures' rule, made once: there are 22 million.
fn weights() -> &'static HashMap<String, Vec<f32>> {
    static WEIGHTS: OnceLock<HashMap<String, Vec<f32>>> = OnceLock::new();
    WEIGHTS.get_or_init(|| {
        let manifest = ModelManifest::read("grnet");
        let mut weights = HashMap::new();
        read_module(&GrNetConfig::default().init::<Cpu>(&Default::default()), &mut |name, shape, _| {
            weights.insert(name.to_string(), manifest.weights(name, shape));
        });
        weights
    })
}

/// A network of these weights; one of them, if any is named, is another.
fn network(config: &GrNetConfig, changed: Option<&str>) -> GrNet<Cpu> {
    fill_module(config.init(&Default::default()), &mut |name, shape| {
        let mut values = weights()[name].clone();
        // The classifier for concatenation is twice as wide.
        values.extend_from_within(..shape.iter().product::<usize>() - values.len());
        if changed == Some(name) {
            values[0] += 0.5;
        }
        Ok(values)
    })
    .unwrap()
}

fn meta(network: GrNetConfig, mte: GuidedFilterConfig) -> ModelMeta {
    ModelMeta { input_px: 64, network, mte, ..ModelMeta::default() }
}

fn batch(count: usize) -> Tensor<Cpu, 4> {
    let shape = [count, 3, 64, 64];
    batch_unit(&pictures(&image_u8(shape, 11), shape), &Default::default())
}

fn flat<const D: usize>(tensor: Tensor<Cpu, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

/// The logits of all three heads, one after the other.
fn expected(meta: &ModelMeta, unit: Tensor<Cpu, 4>) -> Vec<f32> {
    let traces = residual(unit.clone(), &meta.mte);
    let output = network(&meta.network, None).forward(&meta.network, normalise(unit), traces);
    [output.fused, output.spatial, output.residual].into_iter().flat_map(flat).collect()
}

/// What ONNX Runtime makes of a file.
fn run(name: &str, model: &[u8], place: ResidualPlace, mte: &GuidedFilterConfig, unit: Tensor<Cpu, 4>) -> Vec<f32> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.onnx"), model).unwrap();
    let inputs = match place {
        ResidualPlace::Inside => vec![("image", unit)],
        ResidualPlace::Outside => vec![("rgb", normalise(unit.clone())), ("residual", residual(unit, mte))],
    };
    for (input, tensor) in inputs {
        let bytes: Vec<u8> = flat(tensor).into_iter().flat_map(f32::to_le_bytes).collect();
        std::fs::write(folder.join(format!("{input}.f32")), bytes).unwrap();
    }
    let python = std::env::var_os("GRNET_PYTHON").unwrap_or_else(|| "python3".into());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/run_onnx.py");
    let output = Command::new(python).arg(script).arg(&folder).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_dir_all(&folder).unwrap();
    output.stdout.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Largest difference between ONNX Runtime and the CPU backend, relative to the largest logit where that is above one.
fn difference(name: &str, meta: &ModelMeta, place: ResidualPlace, count: usize, changed: Option<&str>) -> f32 {
    let model = write_onnx(network(&meta.network, changed), meta, place).unwrap();
    let expected = expected(meta, batch(count));
    let found = run(name, &model, place, &meta.mte, batch(count));
    worst(&found, &expected).0 / expected.iter().fold(1.0, |most, logit| logit.abs().max(most))
}

#[test]
#[ignore = "needs python3 with onnxruntime"]
fn onnxruntime_equals_the_cpu_backend() {
    let plain = GrNetConfig { w_spatial: 0.3, residual_gain: 12.5, ..GrNetConfig::default() };
    let wide = GuidedFilterConfig { radius_px: 40, eps: 1e-3, ..GuidedFilterConfig::default() };
    let colour = GuidedFilterConfig { mode: GuideMode::Colour, ..GuidedFilterConfig::default() };
    let printed = GrNetConfig { attention: AttentionForm::Printed, attention_residual: false, ..plain.clone() };
    let with = |fusion| GrNetConfig { fusion, ..plain.clone() };
    let self_guided = GuidedFilterConfig::default;
    let (inside, outside) = (ResidualPlace::Inside, ResidualPlace::Outside);
    let cases = [
        ("inside", plain.clone(), self_guided(), inside, 3),
        ("outside", plain.clone(), self_guided(), outside, 1),
        ("wide_window", plain.clone(), wide, inside, 1),
        ("colour", plain.clone(), colour, inside, 2),
        ("printed", printed, self_guided(), outside, 2),
        ("sum", with(Fusion::Sum), self_guided(), outside, 1),
        ("max", with(Fusion::Max), self_guided(), outside, 1),
        ("min", with(Fusion::Min), self_guided(), outside, 1),
        ("concat", with(Fusion::Concat), self_guided(), outside, 2),
    ];
    for (name, network, mte, place, count) in cases {
        let found = difference(name, &meta(network, mte), place, count, None);
        println!("{name}: {found:e}");
        assert!(found <= TOLERANCE, "{name}: differs by {found:e}");
    }
}

#[test]
#[ignore = "needs python3 with onnxruntime"]
fn onnxruntime_comparison_notices_one_weight_and_another_filter() {
    let meta = meta(GrNetConfig::default(), GuidedFilterConfig::default());
    for weight in ["residual.layer3.1.conv2.weight", "spatial.bn1.running_mean", "fc_s.bias"] {
        let found = difference("changed", &meta, ResidualPlace::Outside, 1, Some(weight));
        assert!(found > TOLERANCE, "{weight}: differs by {found:e} only");
    }
    let other = ModelMeta { mte: GuidedFilterConfig { radius_px: 3, ..meta.mte.clone() }, ..meta.clone() };
    let model = write_onnx(network(&meta.network, None), &other, ResidualPlace::Inside).unwrap();
    let found = run("radius", &model, ResidualPlace::Inside, &other.mte, batch(1));
    assert!(worst(&found, &expected(&meta, batch(1))).0 > TOLERANCE, "another radius");
}

#[test]
fn only_what_the_graph_reads_is_stored_and_the_metadata_beside_it() {
    let network_config = GrNetConfig { fusion: Fusion::Sum, ..GrNetConfig::default() };
    let meta = meta(network_config, GuidedFilterConfig::default());
    let write = |place| write_onnx(network(&meta.network, None), &meta, place).unwrap();
    let (inside, outside) = (write(ResidualPlace::Inside), write(ResidualPlace::Outside));
    let holds = |file: &[u8], text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    for text in ["logits_fused", "logits_spatial", "logits_residual", &serde_json::to_string(&meta).unwrap()] {
        assert!(holds(&inside, text) && holds(&outside, text), "{text}");
    }
    assert!(holds(&inside, "AveragePool") && !holds(&outside, "AveragePool"));
    for unread in ["gamma_s", "running_var", "BatchNormalization"] {
        assert!(!holds(&inside, unread), "{unread}");
    }
    // Twice 11.2 million weights in four bytes; no constant is stored twice.
    assert!((89_000_000..91_000_000).contains(&outside.len()), "{} bytes", outside.len());
}
