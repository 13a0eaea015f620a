//! The engine against its specification, the specification against the fixtures and against the shipped model.

mod common;

use common::models::{fixture_run, shipped, shipped_file};
use common::{Fixture, ModelManifest, assert_close, range_tolerance, worst};
use grnet::infer::architecture::{AttentionForm, Fusion, GrNetConfig, GuideMode, GuidedFilterConfig};
use grnet::infer::cpu::{Engine, Kernels};
use grnet::infer::reference::{self, Map};
use grnet::infer::self_check::known_units;
use grnet::infer::{Network, Outputs, Units};

#[test]
fn reference_equals_the_fixtures() {
    let (fixture, manifest) = (Fixture::read("grnet"), ModelManifest::read("grnet"));
    for run in manifest.runs() {
        let tag = run["tag"].as_str().unwrap();
        let (network, units) = fixture_run(run, &manifest);
        let variants = [
            ("danet_code", GrNetConfig::default()),
            ("printed", GrNetConfig { attention: AttentionForm::Printed, ..GrNetConfig::default() }),
            ("sum", GrNetConfig { fusion: Fusion::Sum, ..GrNetConfig::default() }),
            ("max", GrNetConfig { fusion: Fusion::Max, ..GrNetConfig::default() }),
            ("min", GrNetConfig { fusion: Fusion::Min, ..GrNetConfig::default() }),
        ];
        let maps: Vec<[[Map; 2]; 2]> = (0..units.n)
            .map(|index| {
                let (height, width) = (units.height, units.width);
                let unit: Vec<f64> = units.crop(index).iter().map(|value| f64::from(*value)).collect();
                let values = reference::residual(&unit, height, width, &network.mte);
                let rgb = reference::normalise(units.crop(index), height, width);
                let traces = Map { channels: 3, height, width, values };
                [reference::trunk(&network.spatial, &rgb), reference::trunk(&network.residual, &traces)]
            })
            .collect();
        for (name, config) in variants {
            let config = GrNetConfig { w_spatial: network.config.w_spatial, ..config };
            let network = Network { config, ..network.clone() };
            let outputs: Vec<_> = maps
                .iter()
                .map(|[[early_s, s], [early_r, r]]| {
                    reference::heads(&network, &[early_s.clone(), early_r.clone()], s, r)
                })
                .collect();
            let check = |found: Vec<f32>, name: &str| {
                let expected = fixture.values(&format!("{tag}.{name}"));
                assert_close(&found, expected, range_tolerance(expected), &format!("{tag}.{name}"));
            };
            check(outputs.iter().flat_map(|output| output.fused.clone()).collect(), &format!("logits.{name}"));
            check(outputs.iter().flat_map(|output| output.spatial.clone()).collect(), "logits_spatial");
            check(outputs.iter().flat_map(|output| output.residual.clone()).collect(), "logits_residual");
        }
    }
}

#[test]
fn reference_gives_the_logits_that_the_shipped_model_promises() {
    let file = shipped_file();
    let (side, promised) = (file.meta.input_px, &file.meta.known_logits);
    let network = file.network().unwrap();
    let output = &reference::outputs(&network, &known_units(side))[0];
    // The promise was written by another framework in f32.
    assert_close(&output.fused, promised, 2e-4, "logits of the known picture");
    assert_eq!((output.places_height, output.places_width), (side / 32, side / 32));
    let places = output.places.len() / promised.len();
    let mean: Vec<f32> = (0..promised.len())
        .map(|c| output.places.iter().skip(c).step_by(promised.len()).sum::<f32>() / places as f32)
        .collect();
    assert_close(&mean, &output.fused, 1e-5, "places average to the classifier");
}

#[test]
fn reference_attention_and_fusions_equal_the_fixture() {
    let fixture = Fixture::read("afm_fusion");
    let maps = |name: &str| -> Vec<Map> {
        let shape = fixture.shape(name);
        let of = |values: &[f32]| Map::from_f32(shape[1], shape[2], shape[3], values);
        fixture.values(name).chunks(shape[1] * shape[2] * shape[3]).map(of).collect()
    };
    let check = |found: Vec<f64>, name: &str| {
        let found: Vec<f32> = found.iter().map(|value| *value as f32).collect();
        assert_close(&found, fixture.values(name), 1e-5, name);
    };
    for (form, tag) in [(AttentionForm::Danet, "danet_code"), (AttentionForm::Printed, "printed")] {
        for (stream, input) in [("s", "fs"), ("r", "fr")] {
            let maps = maps(input);
            let attention = maps.iter().flat_map(|map| reference::attention(map, form)).collect();
            check(attention, &format!("att.{tag}.{stream}"));
            let attended = maps.iter().flat_map(|map| reference::attend(map, form, None).values).collect();
            check(attended, &format!("y.{tag}.{stream}"));
        }
        for case in ["a", "b"] {
            let w = fixture.values(&format!("weights.{case}"));
            for (kind, gamma) in [("noresidual", None), ("gamma0.5", Some(0.5))] {
                let (spatial, residual) = (maps("fs"), maps("fr"));
                let sums = spatial.iter().zip(&residual).flat_map(|(s, r)| {
                    let (s, r) = (reference::attend(s, form, gamma), reference::attend(r, form, gamma));
                    s.zip(&r, |s, r| f64::from(w[0]) * s + f64::from(w[1]) * r).values
                });
                check(sums.collect(), &format!("afm.{kind}.{tag}.{case}"));
            }
        }
    }
}

/// `...noisy.r4.e0.01` -> picture name and settings.
fn filter_settings(name: &str, mode: GuideMode) -> (String, GuidedFilterConfig) {
    let (head, eps) = name.rsplit_once(".e").expect("a fixture name ends in .rR.eE");
    let (head, radius) = head.rsplit_once(".r").unwrap();
    let picture = head.rsplit_once('.').unwrap().1;
    let config = GuidedFilterConfig { radius_px: radius.parse().unwrap(), eps: eps.parse().unwrap(), mode };
    (format!("img.{picture}.u8"), config)
}

#[test]
fn reference_filter_equals_the_fixtures_in_both_modes() {
    let cases =
        [("guided_self_clip", "self.clip.", GuideMode::PerChannel), ("guided_color", "color.clip.", GuideMode::Colour)];
    for (file, prefix, mode) in cases {
        let fixture = Fixture::read(file);
        for name in fixture.names(prefix) {
            let (picture, config) = filter_settings(name, mode);
            let shape = fixture.shape(&picture);
            let unit: Vec<f64> = fixture.values(&picture).iter().map(|v| f64::from(*v) / 255.0).collect();
            let filtered = reference::filter(&unit, shape[1], shape[2], &config);
            let filtered: Vec<f32> = filtered.iter().map(|v| (v * 255.0) as f32).collect();
            // Both sides are f64 rounded to f32 on 0..255: half a unit in the last place is 8e-6.
            assert_close(&filtered, fixture.values(name), 3e-5, name);
        }
    }
}

fn noisy(n: usize, height: usize, width: usize) -> Units {
    let bytes = common::image_u8([n, 3, height, width], 4711);
    Units { n, height, width, values: bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect() }
}

/// The largest difference of each part of the outputs, in 1e-5 of the part's range (but at least of 1).
fn worst_share(found: &[Outputs], expected: &[Outputs]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let parts = |output: &Outputs| {
        let Outputs { fused, spatial, residual, places, early, .. } = output.clone();
        [fused, spatial, residual, places, early]
    };
    let pairs = found.iter().zip(expected).flat_map(|(a, b)| {
        assert_eq!((a.places_height, a.places_width), (b.places_height, b.places_width));
        parts(a).into_iter().zip(parts(b))
    });
    let share = |(a, b): (Vec<f32>, Vec<f32>)| {
        let range = b.iter().fold(1f32, |range, value| range.max(value.abs()));
        worst(&a, &b).0 / (1e-5 * range)
    };
    pairs.map(share).fold(0.0, f32::max)
}

#[test]
fn every_kernel_says_what_the_specification_says() {
    let network = shipped();
    for (n, height, width) in [(1, 160, 160), (3, 96, 33), (2, 31, 65), (13, 32, 32)] {
        let units = noisy(n, height, width);
        let expected = reference::outputs(&network, &units);
        for kernels in Kernels::all() {
            let found = Engine::with_kernels(network.clone(), kernels).run(&units);
            let share = worst_share(&found, &expected);
            // Measured: 0.22 with vectors, 0.1 without; F(4x4) is what rounds most.
            assert!(share <= 1.0, "{} {n} x {height} x {width}: {share} of the tolerance", kernels.name());
        }
    }
}
