//! Any bytes as a photo, all the way to the report: with a network of made-up weights and a small input.
#![no_main]

use std::sync::OnceLock;

use grnet::detector::{Detector, PrepareConfig, prepare};
use grnet::infer::Network;
use grnet::model::{ModelMeta, Precision, file};
use grnet::picture::Limits;
use grnet::picture::face::Finder;
use grnet::report::{Band, evidence};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_pixels: 1 << 18, max_bytes: 24 << 20, full_pixels: 1 << 15 };

fn detector() -> &'static Detector {
    static DETECTOR: OnceLock<Detector> = OnceLock::new();
    DETECTOR.get_or_init(|| {
        let meta = ModelMeta { input_px: 64, ..ModelMeta::default() };
        let mut tensors = Vec::new();
        Network::new(&meta.network, &meta.mte, &mut |name, shape| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count as u32).map(|at| 0.001 + (at % 13) as f32 * 0.002).collect();
            tensors.push((name.to_string(), shape.to_vec(), values.clone()));
            Ok(values.into())
        })
        .expect("every tensor is given");
        let model = file::write(&meta, Precision::F16, tensors).expect("a model file");
        Detector::on_cpu(&model).expect("a model")
    })
}

// Making the network takes longer than any file may.
fuzz_target!(init: { detector(); }, |bytes: &[u8]| {
    let detector = detector();
    let mut finder = Finder::new().expect("the built-in weights");
    // Most files show no face; the whole picture as one reaches the network.
    for whole in [true, false] {
        let config = PrepareConfig { whole, stability: whole, limits: LIMITS, ..detector.prepare_config() };
        let prepared = prepare("a", bytes, &mut finder, &config);
        let report = pollster::block_on(detector.judge(&prepared)).expect("the CPU answers");
        assert_eq!(report.p_fake.is_none(), report.band == Band::NotAssessed, "{:?}", report.band);
        for face in &report.faces {
            assert!(face.p_fake.is_none_or(|p_fake| (0.0..=1.0).contains(&p_fake)), "{:?}", face.p_fake);
        }
        let json = evidence::json(&report).expect("a report is JSON");
        assert_eq!(evidence::parse(&json).expect("and is read again"), report);
    }
});
