//! The WGSL against its description, and the GPU engine against its specification, the fixtures and the shipped model.
#![cfg(feature = "wgpu")]

mod common;

use common::models::{crops, fixture_run, shipped, shipped_file};
use common::{Fixture, ModelManifest, assert_close, range_tolerance, wait, worst};
use grnet::infer::architecture::{AttentionForm, Fusion, GrNetConfig, GuideMode, GuidedFilterConfig};
use grnet::infer::gpu::shaders::{Binding, SHADERS, Shader};
use grnet::infer::gpu::{Device, Engine};
use grnet::infer::reference::{self, Map};
use grnet::infer::self_check::known_units;
use grnet::infer::{Network, Outputs, Units};
use grnet::{ErrorKind, infer};
use wgpu::naga;

/// Logits in f32 against f64; measured 2e-5 on the shipped model when this was set.
const LOGIT_TOLERANCE: f32 = 5e-4;
/// Residuals, 0..1.
const RESIDUAL_TOLERANCE: f32 = 2e-6;

fn parsed(shader: &Shader) -> naga::Module {
    naga::front::wgsl::parse_str(shader.source).unwrap_or_else(|error| panic!("{}: {error}", shader.name))
}

#[test]
fn shaders_are_valid_without_optional_features_but_half_numbers_where_stated() {
    for shader in SHADERS {
        let valid = |capabilities| {
            let flags = naga::valid::ValidationFlags::all();
            let found = naga::valid::Validator::new(flags, capabilities).validate(&parsed(shader));
            found.map_err(|error| format!("{}: {error:?}", shader.name))
        };
        assert_eq!(valid(naga::valid::Capabilities::empty()).is_err(), shader.f16, "{}", shader.name);
        valid(naga::valid::Capabilities::SHADER_FLOAT16).unwrap();
    }
}

/// Names of the fields of `Params`, each four bytes and without gaps.
fn fields(module: &naga::Module) -> Vec<&str> {
    let of_params = module.types.iter().find_map(|(_, ty)| match &ty.inner {
        naga::TypeInner::Struct { members, .. } if ty.name.as_deref() == Some("Params") => Some(members),
        _ => None,
    });
    let members = of_params.expect("struct Params");
    assert!(members.iter().enumerate().all(|(index, member)| member.offset as usize == 4 * index), "gaps in Params");
    members.iter().map(|member| member.name.as_deref().unwrap()).collect()
}

fn bindings(module: &naga::Module) -> Vec<Binding> {
    let mut found: Vec<(u32, Binding)> = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else { continue };
        assert_eq!(binding.group, 0);
        let kind = match variable.space {
            naga::AddressSpace::Uniform => Binding::Params,
            naga::AddressSpace::Storage { access } if access == naga::StorageAccess::LOAD => Binding::Read,
            naga::AddressSpace::Storage { .. } => Binding::Write,
            other => panic!("binding {} in {other:?}", binding.binding),
        };
        found.push((binding.binding, kind));
    }
    found.sort_by_key(|(at, _)| *at);
    assert!(found.iter().enumerate().all(|(index, (at, _))| *at as usize == index), "gaps in the bindings");
    found.into_iter().map(|(_, kind)| kind).collect()
}

/// Sizes that are overridable constants are taken at their defaults.
fn workgroup_size(module: &naga::Module, entry: &naga::EntryPoint) -> [u32; 3] {
    let Some(overrides) = entry.workgroup_size_overrides else { return entry.workgroup_size };
    let default = |expression: naga::Handle<naga::Expression>| match module.global_expressions[expression] {
        naga::Expression::Override(handle) => match module.global_expressions[module.overrides[handle].init.unwrap()] {
            naga::Expression::Literal(naga::Literal::U32(value)) => value,
            ref other => panic!("default {other:?}"),
        },
        naga::Expression::Literal(naga::Literal::U32(value)) => value,
        ref other => panic!("workgroup size {other:?}"),
    };
    [0, 1, 2].map(|at| overrides[at].map_or(entry.workgroup_size[at], default))
}

#[test]
fn shaders_are_what_the_engine_takes_them_for() {
    for shader in SHADERS {
        let module = parsed(shader);
        assert_eq!(fields(&module), shader.params, "{}", shader.name);
        assert_eq!(bindings(&module), shader.bindings, "{}", shader.name);
        let entries: Vec<(&str, [u32; 3])> =
            module.entry_points.iter().map(|entry| (entry.name.as_str(), workgroup_size(&module, entry))).collect();
        assert_eq!(entries, shader.entry_points, "{}", shader.name);
    }
}

#[test]
fn shaders_stay_within_the_default_limits() {
    let limits = wgpu::Limits::default();
    for shader in SHADERS {
        let buffers = shader.bindings.iter().filter(|kind| **kind != Binding::Params).count();
        assert!(buffers as u32 <= limits.max_storage_buffers_per_shader_stage, "{}", shader.name);
        for (entry, [x, y, z]) in shader.entry_points {
            assert!(x * y * z <= limits.max_compute_invocations_per_workgroup, "{}, {entry}", shader.name);
        }
    }
}

/// A software adapter will do.
fn device() -> Device {
    wait(Device::open(true)).unwrap()
}

fn engine(network: &Network) -> Engine {
    wait(Engine::new(network, device())).unwrap()
}

fn p_fake(logits: &[f32]) -> f32 {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let shares: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
    1.0 - shares[0] / shares.iter().sum::<f32>()
}

fn same(found: &[Outputs], expected: &[Outputs], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let check = |found: &[f32], expected: &[f32], part: &str| {
            assert_close(found, expected, LOGIT_TOLERANCE, &format!("{what}, crop {index}, {part}"));
        };
        check(&found.fused, &expected.fused, "fused");
        check(&found.spatial, &expected.spatial, "spatial");
        check(&found.residual, &expected.residual, "residual");
        check(&found.places, &expected.places, "places");
        check(&found.early, &expected.early, "early");
        assert_eq!([found.places_height, found.places_width], [expected.places_height, expected.places_width]);
        assert_close(
            &[p_fake(&found.fused)],
            &[p_fake(&expected.fused)],
            1e-4,
            &format!("{what}, crop {index}, p_fake"),
        );
    }
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_engine_gives_the_logits_that_the_shipped_model_promises() {
    let file = shipped_file();
    let (side, promised) = (file.meta.input_px, &file.meta.known_logits);
    let engine = engine(&file.network().unwrap());
    for round in 0..2 {
        let output = &wait(engine.run(&known_units(side))).unwrap()[0];
        // The promise was written by another framework in f32.
        assert_close(&output.fused, promised, 2e-4, &format!("logits of the known picture, round {round}"));
    }
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_engine_equals_the_reference_on_the_shipped_model() {
    let network = shipped();
    let engine = engine(&network);
    for (n, height, width) in [(1, 64, 64), (1, 1, 1), (2, 33, 70), (3, 32, 32), (4, 31, 17), (5, 40, 36)] {
        let crops = crops(n, height, width, 7);
        let expected = reference::outputs(&network, &crops);
        let found = wait(engine.run(&crops)).unwrap();
        same(&found, &expected, &format!("{n} x {height} x {width}"));
        // Every crop is judged by itself.
        let last = Units { n: 1, height, width, values: crops.crop(n - 1).to_vec() };
        same(&wait(engine.run(&last)).unwrap(), &expected[n - 1..], &format!("the last of {n} x {height} x {width}"));
    }
}

/// Weights in half numbers and their twin: the same sums, bit for bit. Weights that are no levels stay f32 on every device.
#[test]
#[ignore = "needs a GPU with half numbers"]
fn gpu_half_numbers_change_nothing() {
    let with = device();
    assert!(with.has_f16(), "{} has no half numbers", with.name());
    let crops = crops(2, 64, 48, 7);
    let both = |network: &Network| {
        [with.clone(), with.clone().without_f16()].map(|device| {
            let engine = wait(Engine::new(network, device)).unwrap();
            (engine.weight_bytes(), wait(engine.run(&crops)).unwrap())
        })
    };
    let mut network = shipped();
    let [(half, found), (full, expected)] = both(&network);
    assert_eq!(found, expected);
    assert!(half * 100 < full * 51, "{half} bytes of weights in half numbers, {full} without");
    // One that no half number holds.
    let conv = &mut network.residual.blocks[3].second;
    let mut weight = conv.weight.plain().into_owned();
    weight.iter_mut().for_each(|weight| *weight *= 1.0 + f32::EPSILON);
    conv.weight = weight.into();
    let [(_, found), (_, expected)] = both(&network);
    assert_eq!(found, expected);
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_comparison_fails_on_changed_kernels_and_a_changed_pixel() {
    let network = shipped();
    let crops = crops(1, 64, 64, 7);
    let expected = wait(engine(&network).run(&crops)).unwrap();
    let differs = |network: &Network, crops: &Units, what: &str| {
        let found = wait(engine(network).run(crops)).unwrap();
        assert!(worst(&found[0].fused, &expected[0].fused).0 > LOGIT_TOLERANCE, "{what} was not noticed");
    };
    let mut changed = network.clone();
    // All that the first channel reads: a single kernel may read a channel that is always zero.
    let conv = &mut changed.residual.blocks[3].second;
    let mut weight = conv.weight.plain().into_owned();
    weight[..9 * conv.channels_in].iter_mut().for_each(|weight| *weight += 0.05);
    conv.weight = weight.into();
    differs(&changed, &crops, "changed kernels");
    let mut changed = network.clone();
    changed.mte.radius_px += 1;
    differs(&changed, &crops, "another radius");
    let mut changed = crops.clone();
    changed.values[1234] += 0.2;
    differs(&network, &changed, "a changed pixel");
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_engine_equals_the_fixtures() {
    let (fixture, manifest) = (Fixture::read("grnet"), ModelManifest::read("grnet"));
    for run in manifest.runs() {
        let tag = run["tag"].as_str().unwrap();
        let (network, units) = fixture_run(run, &manifest);
        let outputs = wait(engine(&network).run(&units)).unwrap();
        let check = |found: Vec<f32>, name: &str| {
            let expected = fixture.values(&format!("{tag}.{name}"));
            assert_close(&found, expected, range_tolerance(expected), &format!("{tag}.{name}"));
        };
        check(outputs.iter().flat_map(|output| output.fused.clone()).collect(), "logits.danet_code");
        check(outputs.iter().flat_map(|output| output.spatial.clone()).collect(), "logits_spatial");
        check(outputs.iter().flat_map(|output| output.residual.clone()).collect(), "logits_residual");
    }
}

/// Every form of the network after the trunks, three classes, on the same maps.
#[test]
#[ignore = "needs a GPU"]
fn gpu_engine_equals_the_reference_for_every_fusion_and_attention() {
    let manifest = ModelManifest::read("grnet");
    let (network, _) = fixture_run(&manifest.runs()[0], &manifest);
    let crops = crops(2, 64, 96, 3);
    let gain = network.config.residual_gain;
    let maps: Vec<[[Map; 2]; 2]> = (0..crops.n)
        .map(|index| {
            let unit: Vec<f64> = crops.crop(index).iter().map(|value| f64::from(*value)).collect();
            let values = reference::residual(&unit, crops.height, crops.width, &network.mte);
            let traces = Map { channels: 3, height: crops.height, width: crops.width, values };
            let rgb = reference::normalise(crops.crop(index), crops.height, crops.width);
            let traces = traces.map(|value| value * gain);
            [reference::trunk(&network.spatial, &rgb), reference::trunk(&network.residual, &traces)]
        })
        .collect();
    let afm = |attention, attention_residual| GrNetConfig { attention, attention_residual, ..GrNetConfig::default() };
    let plain = |fusion| GrNetConfig { fusion, ..GrNetConfig::default() };
    let configs = [
        afm(AttentionForm::Danet, true),
        afm(AttentionForm::Danet, false),
        afm(AttentionForm::Printed, true),
        afm(AttentionForm::Printed, false),
        plain(Fusion::Sum),
        plain(Fusion::Max),
        plain(Fusion::Min),
        plain(Fusion::Concat),
    ];
    for config in configs {
        let config = GrNetConfig { classes: 3, w_spatial: 0.3, ..config };
        let head = |name: &str, inputs: usize| infer::Linear {
            weight: common::fill(3 * inputs, name, 1, 0.0, 0.1),
            bias: common::fill(3, name, 2, 0.0, 0.1),
        };
        let network = Network {
            fc: head("fc", config.fused_features()),
            fc_s: head("fc_s", 512),
            fc_r: head("fc_r", 512),
            gamma_s: 0.7,
            gamma_r: -0.4,
            config,
            ..network.clone()
        };
        let expected: Vec<Outputs> = maps
            .iter()
            .map(|[[early_s, s], [early_r, r]]| reference::heads(&network, &[early_s.clone(), early_r.clone()], s, r))
            .collect();
        let found = wait(engine(&network).run(&crops)).unwrap();
        same(&found, &expected, &format!("{:?}", network.config));
        let spread = worst(&expected[0].places[..3], &expected[0].places[3..6]).0;
        assert!(spread > 10.0 * LOGIT_TOLERANCE, "places that all say the same prove nothing: {spread}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_residual_equals_the_reference_at_odd_sizes_and_any_radius() {
    let network = shipped();
    let device = device();
    for mode in [GuideMode::PerChannel, GuideMode::Colour] {
        for (radius_px, eps) in [(1, 1e-2), (2, 1e-4), (7, 1e-3), (16, 0.1), (1024, 1e-3)] {
            let mte = GuidedFilterConfig { radius_px, eps, mode };
            let network = Network { mte: mte.clone(), ..network.clone() };
            let engine = wait(Engine::new(&network, device.clone())).unwrap();
            for (n, height, width) in [(1, 1, 1), (2, 5, 9), (1, 67, 65), (1, 1, 130), (3, 40, 3)] {
                let pictures = crops(n, height, width, 5);
                let expected: Vec<f32> = (0..n)
                    .flat_map(|index| {
                        let unit: Vec<f64> = pictures.crop(index).iter().map(|value| f64::from(*value)).collect();
                        reference::residual(&unit, height, width, &mte)
                    })
                    .map(|value| value as f32)
                    .collect();
                let found = wait(engine.residual(&pictures)).unwrap();
                // f32 loses digits where little regularises the division.
                let tolerance = RESIDUAL_TOLERANCE * (1e-2 / eps as f32).max(1.0);
                assert_close(&found, &expected, tolerance, &format!("{mte:?}, {n} x {height} x {width}"));
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_software_adapter_is_refused_unless_asked_for() {
    let Err(error) = wait(Device::open(false)) else {
        println!("skipped: this machine has a real GPU");
        return;
    };
    assert_eq!(error.kind(), ErrorKind::NoGpu);
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_that_goes_away_is_reported_as_lost() {
    let network = shipped();
    let device = device();
    let engine = wait(Engine::new(&network, device.clone())).unwrap();
    let crops = crops(1, 32, 32, 1);
    wait(engine.run(&crops)).unwrap();
    device.destroy();
    for _ in 0..2 {
        assert_eq!(wait(engine.run(&crops)).unwrap_err().kind(), ErrorKind::GpuLost);
        assert_eq!(wait(engine.residual(&crops)).unwrap_err().kind(), ErrorKind::GpuLost);
    }
    assert_eq!(wait(Engine::new(&network, device)).unwrap_err().kind(), ErrorKind::GpuLost);
}
