//! The networks and crops that the engine's tests share: the shipped model, the network of the fixture.

use grnet::infer::architecture::{GrNetConfig, GuideMode, GuidedFilterConfig};
use grnet::infer::{Network, Units};
use grnet::model::ModelFile;

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
    let network = Network::new(&config, &mte, &mut |name, shape| Ok(manifest.weights(name, shape).into())).unwrap();
    let (bytes, shape) = run_pictures(run);
    (network, units(&bytes, shape))
}

/// Crops by the fixtures' rule for pictures.
pub fn crops(n: usize, height: usize, width: usize, seed: u32) -> Units {
    let shape = [n, 3, height, width];
    units(&image_u8(shape, seed), shape)
}

fn units(bytes: &[u8], [n, _, height, width]: [usize; 4]) -> Units {
    Units { n, height, width, values: bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect() }
}

/// The shipped model's network.
pub fn shipped() -> Network {
    shipped_file().network().unwrap()
}

/// The shipped model.
pub fn shipped_file() -> ModelFile {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/weights/grnet.safetensors");
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    ModelFile::parse(&bytes).unwrap()
}
