//! What the parity tests share: fixtures, the deterministic fill rule of their README, a comparator, small helpers.
//! Fixtures are read from `$GRNET_FIXTURES`, by default `tests/fixtures`; sizes, seeds and settings come from the files.
#![allow(dead_code, reason = "each test binary uses its part")]

#[cfg(target_os = "linux")]
pub mod disk;
pub mod models;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;

use grnet::infer::Network;
use grnet::model::{ModelMeta, Precision, file};
use grnet::picture::Rgb8;
use safetensors::{Dtype, SafeTensors};

/// A fixture file: tensors widened to f32, by name.
pub struct Fixture(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

pub fn fixture_path(file: &str) -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::env::var_os("GRNET_FIXTURES").map_or_else(default, PathBuf::from).join(file)
}

impl Fixture {
    pub fn read(name: &str) -> Fixture {
        let path = fixture_path(&format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("fixture {}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("fixtures are safetensors");
        let widen = |dtype: Dtype, data: &[u8]| match dtype {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::U8 => data.iter().map(|b| f32::from(*b)).collect(),
            // Class labels.
            Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
            other => panic!("fixture dtype {other:?}"),
        };
        let tensors = file
            .iter()
            .map(|(name, view)| (name.to_string(), (view.shape().to_vec(), widen(view.dtype(), view.data()))));
        Fixture(tensors.collect())
    }

    pub fn values(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("fixture tensor {name} is missing")).1
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.0.get(name).unwrap_or_else(|| panic!("fixture tensor {name} is missing")).0
    }

    /// Names with this prefix, at least one.
    pub fn names<'a>(&'a self, prefix: &'a str) -> Vec<&'a str> {
        let names: Vec<&str> = self.0.keys().map(String::as_str).filter(|name| name.starts_with(prefix)).collect();
        assert!(!names.is_empty(), "no fixture tensor starts with {prefix}");
        names
    }
}

/// A model fixture's JSON manifest.
pub struct ModelManifest {
    pub json: serde_json::Value,
    params: BTreeMap<String, (f32, f32)>,
    base_seed: u32,
}

impl ModelManifest {
    pub fn read(name: &str) -> ModelManifest {
        let path = fixture_path(&format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let params = json["params"].as_array().unwrap().iter().map(|row| {
            let number = |key: &str| row[key].as_f64().unwrap() as f32;
            (row["name"].as_str().unwrap().to_string(), (number("center"), number("scale")))
        });
        let base_seed = json["base_seed"].as_u64().unwrap() as u32;
        ModelManifest { params: params.collect(), base_seed, json }
    }

    /// The weights that the rule gives a parameter.
    pub fn weights(&self, name: &str, shape: &[usize]) -> Vec<f32> {
        let (center, scale) = self.params.get(name).unwrap_or_else(|| panic!("no parameter {name} in the manifest"));
        fill(shape.iter().product(), name, self.base_seed, *center, *scale)
    }

    pub fn runs(&self) -> &[serde_json::Value] {
        self.json["runs"].as_array().unwrap()
    }
}

/// The tensors of a network of `meta`: names, shapes, and the weights that the fixtures' rule gives them.
pub fn tensors(meta: &ModelMeta) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let manifest = ModelManifest::read("grnet");
    let mut tensors = Vec::new();
    Network::new(&meta.network, &meta.mte, &mut |name, shape| {
        let values = manifest.weights(name, shape);
        tensors.push((name.to_string(), shape.to_vec(), values.clone()));
        Ok(values.into())
    })
    .expect("the rule gives every tensor");
    tensors
}

/// A model file of such a network.
pub fn model_file(meta: &ModelMeta, precision: Precision) -> grnet::Result<Vec<u8>> {
    file::write(meta, precision, tensors(meta))
}

/// The pictures of a run, 0..=255, `[n, c, h, w]` flat.
pub fn run_pictures(run: &serde_json::Value) -> (Vec<u8>, [usize; 4]) {
    let input = &run["input"];
    assert_eq!(input["generator"], "image_u8");
    let number = |key: &str| input[key].as_u64().unwrap() as usize;
    let shape = [number("n"), number("c"), number("h"), number("w")];
    (image_u8(shape, number("seed") as u32), shape)
}

/// CHW bytes of a batch -> pictures.
pub fn pictures(data: &[u8], [n, c, h, w]: [usize; 4]) -> Vec<Rgb8> {
    assert_eq!(c, 3);
    let one = |b: usize| {
        let at = |p: usize, ch: usize| data[(b * 3 + ch) * h * w + p];
        let data = (0..h * w).flat_map(|p| [at(p, 0), at(p, 1), at(p, 2)]).collect();
        Rgb8 { height: h, width: w, data }
    };
    (0..n).map(one).collect()
}

fn fnv1a32(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |h: u32, byte| (h ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn hash(i: u32, seed: u32) -> u32 {
    let mut x = i.wrapping_mul(0x9E37_79B1).wrapping_add(seed);
    x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
    x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// The fixtures' rule for weights.
pub fn fill(count: usize, name: &str, base_seed: u32, center: f32, scale: f32) -> Vec<f32> {
    let seed = fnv1a32(name) ^ base_seed;
    let unit = |i: u32| (hash(i, seed) >> 8) as f32 * (1.0 / 16_777_216.0);
    (0..count as u32).map(|i| center + scale * (2.0 * unit(i) - 1.0)).collect()
}

/// The fixtures' rule for pictures.
pub fn image_u8([n, c, h, w]: [usize; 4], seed: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(n * c * h * w);
    for b in 0..n {
        for ch in 0..c {
            for y in 0..h {
                for x in 0..w {
                    let t = (x * (2 + ch) + y * (3 - ch) + 97 * b) % 512;
                    let triangle = if t < 256 { t } else { 511 - t };
                    let block = 64 * (((x >> 4) ^ (y >> 4)) & 1);
                    let noise = hash((((b * c + ch) * h + y) * w + x) as u32, seed) & 63;
                    out.push(((triangle >> 1) + block + noise as usize) as u8);
                }
            }
        }
    }
    out
}

/// Largest absolute difference and where it is.
pub fn worst(found: &[f32], expected: &[f32]) -> (f32, usize) {
    assert_eq!(found.len(), expected.len(), "lengths differ");
    assert!(!found.is_empty(), "nothing to compare");
    assert_ne!(found.as_ptr(), expected.as_ptr(), "a buffer was compared with itself");
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let ordered = differences.map(|d| if d.is_nan() { f32::INFINITY } else { d });
    ordered.enumerate().fold((0.0, 0), |best, (index, d)| if d > best.0 { (d, index) } else { best })
}

/// Fails unless every value is within `tolerance` of its reference.
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    let (difference, index) = worst(found, expected);
    assert!(
        difference <= tolerance,
        "{what}: value {index} is {} where {} was expected (difference {difference:e}, tolerance {tolerance:e})",
        found[index],
        expected[index]
    );
}

/// Absolute tolerance for a whole model: 1e-4 of the range of its reference output (README of the fixtures).
pub fn range_tolerance(expected: &[f32]) -> f32 {
    let (low, high) = expected.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    1e-4 * (high - low).max(high.abs()).max(low.abs()).max(1e-3)
}

/// Waits for a future on this thread.
pub fn wait<F: Future>(future: F) -> F::Output {
    pollster::block_on(future)
}
