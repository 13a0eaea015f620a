//! The guided filter's three implementations against the fixtures: f64 reference, tensor operations, WGSL.
#![cfg(feature = "train")]

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{Fixture, assert_close, worst};
use grnet::infer::architecture::{GuideMode, GuidedFilterConfig};
use grnet::infer::reference;
use grnet::train::backend::Cpu;
use grnet::train::nn::mte::{MteBackend, residual};

/// f32 against f64 on the 0..1 scale.
const RESIDUAL_TOLERANCE: f32 = 5e-6;

/// `...noisy.r4.e0.01` -> picture name and settings.
fn settings(name: &str, mode: GuideMode) -> (String, GuidedFilterConfig) {
    let (head, eps) = name.rsplit_once(".e").expect("a fixture name ends in .rR.eE");
    let (head, radius) = head.rsplit_once(".r").unwrap();
    let picture = head.rsplit_once('.').unwrap().1;
    let config = GuidedFilterConfig { radius_px: radius.parse().unwrap(), eps: eps.parse().unwrap(), mode };
    (format!("img.{picture}.u8"), config)
}

fn reference_filter_matches(file: &str, prefix: &str, mode: GuideMode) {
    let fixture = Fixture::read(file);
    for name in fixture.names(prefix) {
        let (picture, config) = settings(name, mode);
        let shape = fixture.shape(&picture);
        let unit: Vec<f64> = fixture.values(&picture).iter().map(|v| f64::from(*v) / 255.0).collect();
        let filtered = reference::filter(&unit, shape[1], shape[2], &config);
        let filtered: Vec<f32> = filtered.iter().map(|v| (v * 255.0) as f32).collect();
        // Both sides are f64 rounded to f32 on 0..255: half a unit in the last place is 8e-6.
        assert_close(&filtered, fixture.values(name), 3e-5, name);
    }
}

#[test]
fn reference_equals_the_fixtures_per_channel() {
    reference_filter_matches("guided_self_clip", "self.clip.", GuideMode::PerChannel);
}

#[test]
fn reference_equals_the_fixtures_with_colour_guide() {
    reference_filter_matches("guided_color", "color.clip.", GuideMode::Colour);
}

fn tensor_residual<B: MteBackend>(values: &[f32], shape: &[usize], config: &GuidedFilterConfig) -> Vec<f32> {
    let unit: Vec<f32> = values.iter().map(|v| v / 255.0).collect();
    let data = TensorData::new(unit, [1, shape[0], shape[1], shape[2]]);
    residual(Tensor::<B, 4>::from_data(data, &Default::default()), config).into_data().into_vec().unwrap()
}

fn residual_matches<B: MteBackend>() {
    let fixture = Fixture::read("mte_absres_unit");
    for (prefix, mode) in [("absres.self.clip.", GuideMode::PerChannel), ("absres.color.clip.", GuideMode::Colour)] {
        for name in fixture.names(prefix) {
            let (picture, config) = settings(name, mode);
            let found = tensor_residual::<B>(fixture.values(&picture), fixture.shape(&picture), &config);
            assert_close(&found, fixture.values(name), RESIDUAL_TOLERANCE, name);
        }
    }
}

#[test]
fn tensor_operations_equal_the_fixtures() {
    residual_matches::<Cpu>();
}

/// Sizes that are no multiples of anything, a window larger than the picture, a batch: fast twin against the reference.
fn residual_matches_reference<B: MteBackend>() {
    let shapes = [[1, 3, 1, 1], [2, 3, 33, 70], [1, 3, 5, 97], [3, 3, 64, 64], [1, 3, 130, 17]];
    for (shape, radius_px) in shapes.into_iter().zip([2, 1, 9, 4, 60]) {
        for mode in [GuideMode::PerChannel, GuideMode::Colour] {
            let config = GuidedFilterConfig { radius_px, eps: 1e-3, mode };
            let bytes = common::image_u8(shape, 77);
            let unit: Vec<f32> = bytes.iter().map(|v| f32::from(*v) / 255.0).collect();
            let area = 3 * shape[2] * shape[3];
            let expected: Vec<f32> = unit
                .chunks(area)
                .map(|one| one.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>())
                .flat_map(|one| reference::residual(&one, shape[2], shape[3], &config))
                .map(|v| v as f32)
                .collect();
            let tensor = Tensor::<B, 4>::from_data(TensorData::new(unit, shape), &Default::default());
            let found: Vec<f32> = residual(tensor, &config).into_data().into_vec().unwrap();
            assert_close(&found, &expected, RESIDUAL_TOLERANCE, &format!("{shape:?} r{radius_px} {mode:?}"));
        }
    }
}

#[test]
fn tensor_operations_equal_the_reference_at_odd_sizes() {
    residual_matches_reference::<Cpu>();
}

/// The comparison must notice another eps, another radius, another guide and one changed pixel.
fn changes_are_noticed<B: MteBackend>() {
    let fixture = Fixture::read("mte_absres_unit");
    let name = fixture.names("absres.self.clip.noisy")[0];
    let (picture, config) = settings(name, GuideMode::PerChannel);
    let (values, shape) = (fixture.values(&picture).to_vec(), fixture.shape(&picture));
    let difference = |values: &[f32], config: &GuidedFilterConfig| {
        worst(&tensor_residual::<B>(values, shape, config), fixture.values(name)).0
    };
    assert!(difference(&values, &config) <= RESIDUAL_TOLERANCE, "unchanged");
    let mut wrong = config.clone();
    wrong.eps *= 1.5;
    assert!(difference(&values, &wrong) > RESIDUAL_TOLERANCE, "another eps");
    let mut wrong = config.clone();
    wrong.radius_px += 1;
    assert!(difference(&values, &wrong) > RESIDUAL_TOLERANCE, "another radius");
    let mut wrong = config.clone();
    wrong.mode = GuideMode::Colour;
    assert!(difference(&values, &wrong) > RESIDUAL_TOLERANCE, "another guide");
    let mut changed = values.clone();
    changed[100] += 9.0;
    assert!(difference(&changed, &config) > RESIDUAL_TOLERANCE, "a changed pixel");
}

#[test]
fn comparison_fails_on_wrong_settings() {
    changes_are_noticed::<Cpu>();
}

#[test]
fn constant_picture_has_no_residual() {
    let config = GuidedFilterConfig::default();
    let found = tensor_residual::<Cpu>(&[137.0; 3 * 12 * 9], &[3, 12, 9], &config);
    assert_close(&found, &[0.0; 3 * 12 * 9], 1e-6, "constant");
}

#[test]
fn flipping_commutes_with_the_residual() {
    let (h, w) = (14, 22);
    let values: Vec<f32> = common::image_u8([1, 3, h, w], 5).iter().map(|v| f32::from(*v)).collect();
    let flip = |v: &[f32]| -> Vec<f32> { v.chunks(w).flat_map(|row| row.iter().rev().copied()).collect() };
    let config = GuidedFilterConfig { radius_px: 3, eps: 1e-3, mode: GuideMode::PerChannel };
    let flipped_after = flip(&tensor_residual::<Cpu>(&values, &[3, h, w], &config));
    let flipped_before = tensor_residual::<Cpu>(&flip(&values), &[3, h, w], &config);
    assert_close(&flipped_before, &flipped_after, 1e-6, "flip");
}

#[cfg(feature = "train-gpu")]
mod gpu {
    use super::*;
    use grnet::train::backend::Gpu;

    #[test]
    #[ignore = "needs a GPU adapter"]
    fn gpu_kernel_equals_the_fixtures() {
        residual_matches::<Gpu>();
    }

    #[test]
    #[ignore = "needs a GPU adapter"]
    fn gpu_kernel_equals_the_reference_at_odd_sizes() {
        residual_matches_reference::<Gpu>();
    }

    #[test]
    #[ignore = "needs a GPU adapter"]
    fn gpu_comparison_fails_on_wrong_settings() {
        changes_are_noticed::<Gpu>();
    }
}

#[cfg(all(feature = "train-gpu", feature = "wgpu"))]
mod shader {
    use grnet::train::nn::mte::kernel::{Params, SOURCE};

    #[test]
    fn shader_is_valid_and_its_params_match_the_rust_struct() {
        let module = wgpu::naga::front::wgsl::parse_str(SOURCE).expect("the shader parses");
        let mut validator = wgpu::naga::valid::Validator::new(
            wgpu::naga::valid::ValidationFlags::all(),
            wgpu::naga::valid::Capabilities::empty(),
        );
        validator.validate(&module).expect("the shader is valid without optional features");
        let members = module.types.iter().find_map(|(_, ty)| match &ty.inner {
            wgpu::naga::TypeInner::Struct { members, .. } if ty.name.as_deref() == Some("Params") => Some(members),
            _ => None,
        });
        let names: Vec<&str> = members.expect("struct Params").iter().map(|m| m.name.as_deref().unwrap()).collect();
        assert_eq!(names, Params::FIELDS);
        let entries: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, ["moments", "box_rows", "box_columns", "coefficients", "apply"]);
        assert!(module.entry_points.iter().all(|entry| entry.workgroup_size == [64, 1, 1]));
    }
}
