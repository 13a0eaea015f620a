//! The networks and crops that the engine's tests share: the shipped model, the network of the fixture.

use grnet::infer::architecture::{GrNetConfig, GuideMode, GuidedFilterConfig};
use grnet::infer::{Network, Units};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::{ModelManifest, image_u8, run_pictures};

/// The network and the pictures of one of the fixture's runs.
pub fn fixture_run(run: &serde_json::Value, manifest: &ModelManifest) -> (Network, Units) {
    assert_eq!(run["mte"]["mode"], "self");
    let mte = GuidedFilterConfig {
        radius_px: run["mte"]["radius_px"].as_u64().unwrap() as usize,
        eps: run["mte"]["eps"].as_f64().unwrap(),
        mode: GuideMode::PerChannel,
    };
    let config = GrNetConfig { w_spatial: run["w_spatial"].as_f64().unwrap(), ..GrNetConfig::default() };
    let network = Network::new(&config, &mte, &mut |name, shape| Ok(manifest.weights(name, shape))).unwrap();
    let (bytes, [n, _, height, width]) = run_pictures(run);
    (network, Units { n, height, width, values: bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect() })
}

/// Crops by the fixtures' rule for pictures.
pub fn crops(n: usize, height: usize, width: usize, seed: u32) -> Units {
    let bytes = image_u8([n, 3, height, width], seed);
    Units { n, height, width, values: bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect() }
}

/// The shipped model, int8 widened as its format says, its side in pixels, and the logits that its metadata promises.
pub fn shipped() -> (Network, usize, Vec<f32>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/grnet.safetensors");
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["grnet"]).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| {
        let view = file.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<f32>>()
    };
    let config = serde_json::from_value(meta["network"].clone()).unwrap();
    let mte = serde_json::from_value(meta["mte"].clone()).unwrap();
    let network = Network::new(&config, &mte, &mut |name, shape| {
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
        assert_eq!(view.shape(), shape, "{name}");
        if view.dtype() == Dtype::F32 {
            return Ok(floats(name));
        }
        assert_eq!(view.dtype(), Dtype::I8, "{name}");
        let scales = floats(&format!("{name}.scale"));
        let row = view.data().len() / scales.len();
        Ok(view.data().iter().enumerate().map(|(k, level)| f32::from(*level as i8) * scales[k / row]).collect())
    });
    let logits = meta["known_logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    (network.unwrap(), meta["input_px"].as_u64().unwrap() as usize, logits)
}

/// The picture to which a model file promises its logits: noise from a digest on a ramp (as `detector::known_picture`).
pub fn known_picture(side: usize) -> Units {
    let mut bytes = Vec::new();
    for counter in 0u32.. {
        if bytes.len() >= side * side * 3 {
            break;
        }
        bytes.extend(Sha256::digest(counter.to_le_bytes()));
    }
    let at = |c: usize, p: usize| {
        let ramp = 160 * (p / side + p % side) / (2 * side);
        f32::from((ramp + usize::from(bytes[3 * p + c] >> 2)) as u8) / 255.0
    };
    let values = (0..3).flat_map(|c| (0..side * side).map(move |p| (c, p))).map(|(c, p)| at(c, p)).collect();
    Units { n: 1, height: side, width: side, values }
}
