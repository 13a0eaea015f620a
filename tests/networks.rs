//! ResNet-18, AFM and the whole GRnet against the fixtures, with weights made by their deterministic rule.
#![cfg(feature = "train")]

mod common;

use burn::tensor::{Tensor, TensorData};
use common::{Fixture, ModelManifest, assert_close, range_tolerance, run_pictures, worst};
use grnet::infer::architecture::{AttentionForm, Fusion, GrNetConfig, GuideMode, GuidedFilterConfig};
use grnet::train::backend::Cpu;
use grnet::train::nn::afm::{attend, attention, fuse_plain, stream_weights};
use grnet::train::nn::input::{batch_unit, normalise};
use grnet::train::nn::mte::{MteBackend, residual};
use grnet::train::nn::parameters::{fill_module, read_module};
use grnet::train::nn::resnet::{ResNet18, global_average};
use grnet::train::nn::{GrNet, StreamMaps};

fn vec<B: MteBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

fn tensor<B: MteBackend, const D: usize>(fixture: &Fixture, name: &str) -> Tensor<B, D> {
    let data = TensorData::new(fixture.values(name).to_vec(), fixture.shape(name).to_vec());
    Tensor::from_data(data, &Default::default())
}

fn unit_pictures<B: MteBackend>(run: &serde_json::Value) -> Tensor<B, 4> {
    let (bytes, shape) = run_pictures(run);
    batch_unit(&common::pictures(&bytes, shape), &Default::default())
}

fn resnet<B: MteBackend>(manifest: &ModelManifest) -> ResNet18<B> {
    fill_module(ResNet18::new(&Default::default()), &mut |name, shape| {
        Ok(manifest.weights(&format!("net.{name}"), shape))
    })
    .unwrap()
}

fn resnet_matches<B: MteBackend>(max_px: u64) {
    let (fixture, manifest) = (Fixture::read("resnet18"), ModelManifest::read("resnet18"));
    let plain = resnet::<B>(&manifest);
    let folded = plain.clone().folded();
    let runs = manifest.runs().iter().filter(|run| run["input"]["h"].as_u64().unwrap() <= max_px);
    for run in runs {
        let tag = run["tag"].as_str().unwrap();
        let rgb = normalise(unit_pictures::<B>(run));
        let expected = fixture.values(&format!("{tag}.out"));
        for (net, what) in [(&plain, "plain"), (&folded, "folded")] {
            let found = vec(global_average(net.forward(rgb.clone())));
            assert_close(&found, expected, range_tolerance(expected), &format!("resnet18 {tag} {what}"));
        }
    }
}

#[test]
fn resnet18_equals_the_fixture() {
    resnet_matches::<Cpu>(u64::MAX);
}

#[test]
fn resnet18_has_torchvisions_parameters() {
    let manifest = ModelManifest::read("resnet18");
    let mut trained = 0;
    read_module(&resnet::<Cpu>(&manifest), &mut |name, shape, _| {
        if !name.contains("running_") {
            trained += shape.iter().product::<usize>() as u64;
        }
    });
    assert_eq!(trained, manifest.json["trainable"].as_u64().unwrap());
}

#[test]
fn resnet18_in_two_parts_is_the_whole() {
    let manifest = ModelManifest::read("resnet18");
    let net = resnet::<Cpu>(&manifest);
    let rgb = normalise(unit_pictures::<Cpu>(&manifest.runs()[0]));
    let whole = vec(net.forward(rgb.clone()));
    for stage in 0..=5 {
        let parts = vec(net.forward_from(stage, net.forward_until(stage, rgb.clone())));
        assert_close(&parts, &whole, 1e-6, &format!("split before stage {stage}"));
    }
}

fn grnet<B: MteBackend>(manifest: &ModelManifest, config: &GrNetConfig) -> GrNet<B> {
    fill_module(config.init(&Default::default()), &mut |name, shape| Ok(manifest.weights(name, shape))).unwrap()
}

fn run_config(run: &serde_json::Value) -> (GrNetConfig, GuidedFilterConfig) {
    let mode = match run["mte"]["mode"].as_str().unwrap() {
        "self" => GuideMode::PerChannel,
        _ => GuideMode::Colour,
    };
    let radius_px = run["mte"]["radius_px"].as_u64().unwrap() as usize;
    let mte = GuidedFilterConfig { radius_px, eps: run["mte"]["eps"].as_f64().unwrap(), mode };
    (GrNetConfig { w_spatial: run["w_spatial"].as_f64().unwrap(), ..GrNetConfig::default() }, mte)
}

fn grnet_matches<B: MteBackend>() {
    let (fixture, manifest) = (Fixture::read("grnet"), ModelManifest::read("grnet"));
    for run in manifest.runs() {
        let tag = run["tag"].as_str().unwrap();
        let (base, mte) = run_config(run);
        let unit = unit_pictures::<B>(run);
        let traces = residual(unit.clone(), &mte);
        let corner = vec(traces.clone().slice([0..2, 0..3, 0..8, 0..8]));
        assert_close(&corner, fixture.values(&format!("{tag}.residual.corner8")), 5e-6, "residual");
        let net = grnet::<B>(&manifest, &base).folded();
        let rgb = normalise(unit);
        let maps =
            StreamMaps { spatial: net.spatial.forward(rgb.clone()), residual: net.residual.forward(traces.clone()) };
        let check = |found: Vec<f32>, name: &str| {
            let expected = fixture.values(&format!("{tag}.{name}"));
            assert_close(&found, expected, range_tolerance(expected), &format!("{tag}.{name}"));
        };
        check(vec(global_average(maps.spatial.clone())), "gap_spatial");
        check(vec(global_average(maps.residual.clone())), "gap_residual");
        check(vec(net.fused_feature(&base, maps.clone())), "fused.danet_code");
        let whole = net.forward(&base, rgb, traces);
        check(vec(whole.fused), "logits.danet_code");
        check(vec(whole.spatial), "logits_spatial");
        check(vec(whole.residual), "logits_residual");
        let variants = [
            ("printed", GrNetConfig { attention: AttentionForm::Printed, ..base.clone() }),
            ("sum", GrNetConfig { fusion: Fusion::Sum, ..base.clone() }),
            ("max", GrNetConfig { fusion: Fusion::Max, ..base.clone() }),
            ("min", GrNetConfig { fusion: Fusion::Min, ..base.clone() }),
        ];
        for (name, config) in variants {
            check(vec(net.heads(&config, maps.clone()).fused), &format!("logits.{name}"));
        }
    }
}

#[test]
fn grnet_equals_the_fixture() {
    grnet_matches::<Cpu>();
}

#[test]
fn grnet_has_the_fixtures_parameters() {
    let manifest = ModelManifest::read("grnet");
    let mut trained = 0;
    read_module(&grnet::<Cpu>(&manifest, &GrNetConfig::default()), &mut |name, shape, _| {
        if !name.contains("running_") {
            trained += shape.iter().product::<usize>() as u64;
        }
    });
    assert_eq!(trained, manifest.json["trainable"].as_u64().unwrap());
}

#[test]
fn comparison_notices_one_weight_another_eps_and_swapped_stream_weights() {
    let (fixture, manifest) = (Fixture::read("grnet"), ModelManifest::read("grnet"));
    let run = &manifest.runs()[0];
    let (base, mte) = run_config(run);
    let expected = fixture.values(&format!("{}.logits.danet_code", run["tag"].as_str().unwrap()));
    let difference = |net: &GrNet<Cpu>, config: &GrNetConfig, mte: &GuidedFilterConfig| {
        let unit = unit_pictures::<Cpu>(run);
        let traces = residual(unit.clone(), mte);
        worst(&vec(net.forward(config, normalise(unit), traces).fused), expected).0
    };
    let net = grnet::<Cpu>(&manifest, &base);
    let tolerance = range_tolerance(expected);
    assert!(difference(&net, &base, &mte) <= tolerance, "unchanged");
    let wrong = GuidedFilterConfig { eps: mte.eps * 1.5, ..mte.clone() };
    assert!(difference(&net, &base, &wrong) > tolerance, "another eps");
    let wrong = GrNetConfig { w_spatial: 1.0 - base.w_spatial, ..base.clone() };
    assert!(difference(&net, &wrong, &mte) > tolerance, "swapped stream weights");
    let changed = fill_module(base.init::<Cpu>(&Default::default()), &mut |name, shape| {
        let mut values = manifest.weights(name, shape);
        if name == "residual.layer3.1.conv2.weight" {
            values[0] += 0.5;
        }
        Ok(values)
    });
    assert!(difference(&changed.unwrap(), &base, &mte) > tolerance, "one changed weight");
}

fn afm_matches<B: MteBackend>() {
    let fixture = Fixture::read("afm_fusion");
    for (form, tag) in [(AttentionForm::Danet, "danet_code"), (AttentionForm::Printed, "printed")] {
        for (stream, input) in [("s", "fs"), ("r", "fr")] {
            let map = tensor::<B, 4>(&fixture, input);
            let found = vec(attention(map.clone(), form));
            assert_close(
                &found,
                fixture.values(&format!("att.{tag}.{stream}")),
                1e-5,
                &format!("attention {tag} {stream}"),
            );
            let found = vec(attend(map, form, None));
            assert_close(
                &found,
                fixture.values(&format!("y.{tag}.{stream}")),
                1e-5,
                &format!("attended {tag} {stream}"),
            );
        }
        for case in ["a", "b"] {
            let w = fixture.values(&format!("weights.{case}"));
            for (kind, gamma) in [("noresidual", None), ("gamma0.5", Some(0.5f32))] {
                let one = |name: &str, weight: f32| {
                    let gamma = gamma.map(|gamma| Tensor::from_data([gamma], &Default::default()));
                    attend(tensor::<B, 4>(&fixture, name), form, gamma).mul_scalar(weight)
                };
                let found = vec(one("fs", w[0]).add(one("fr", w[1])));
                let name = format!("afm.{kind}.{tag}.{case}");
                assert_close(&found, fixture.values(&name), 1e-5, &name);
            }
        }
        let pooled = |name: &str| -> Tensor<B, 4> {
            let gap = global_average(tensor::<B, 4>(&fixture, name));
            let [n, c] = gap.dims();
            gap.reshape([n, c, 1, 1])
        };
        let found = vec(attend(pooled("fs"), form, None));
        assert_close(&found, fixture.values(&format!("vec.y.{tag}.s")), 1e-5, &format!("on vectors, {tag}"));
    }
    for (fusion, name) in [(Fusion::Max, "max"), (Fusion::Min, "min"), (Fusion::Sum, "sum"), (Fusion::Concat, "concat")]
    {
        let found = vec(fuse_plain(fusion, tensor::<B, 4>(&fixture, "fs"), tensor::<B, 4>(&fixture, "fr")));
        assert_close(&found, fixture.values(&format!("fusion.{name}")), 1e-5, name);
    }
}

#[test]
fn afm_equals_the_fixture() {
    afm_matches::<Cpu>();
}

#[test]
fn stream_weights_equal_the_fixture() {
    let fixture = Fixture::read("afm_fusion");
    for case in ["a", "b"] {
        let losses = fixture.values(&format!("weights.{case}.losses"));
        let (w_s, w_r) = stream_weights(f64::from(losses[0]), f64::from(losses[1]));
        assert_close(&[w_s as f32, w_r as f32], fixture.values(&format!("weights.{case}")), 1e-6, case);
        assert!((losses[0] > losses[1]) == (w_s < w_r), "the larger loss weighs less");
    }
}

#[test]
fn attention_at_512_channels_equals_the_fixture() {
    let fixture = Fixture::read("afm_512");
    let rule = fixture.values("input_rule_center_scale_clip0");
    let values: Vec<f32> =
        common::fill(512 * 16, "afm.big", 4002, rule[0], rule[1]).iter().map(|v| v.max(0.0)).collect();
    let map = Tensor::<Cpu, 4>::from_data(TensorData::new(values, [1, 512, 4, 4]), &Default::default());
    for (form, tag) in [(AttentionForm::Danet, "danet_code"), (AttentionForm::Printed, "printed")] {
        let rows = vec(attention(map.clone(), form).max_dim(2));
        assert_close(&rows, fixture.values(&format!("att.{tag}.rowmax")), 1e-4, tag);
        let y = vec(attend(map.clone(), form, None).narrow(1, 0, 16));
        let expected = fixture.values(&format!("y.{tag}.first16"));
        assert_close(&y, expected, range_tolerance(expected), tag);
    }
}

#[cfg(feature = "train-gpu")]
mod gpu {
    use super::*;
    use grnet::train::backend::Gpu;

    #[test]
    #[ignore = "needs a GPU adapter"]
    fn gpu_networks_equal_the_fixtures() {
        resnet_matches::<Gpu>(64);
        afm_matches::<Gpu>();
        grnet_matches::<Gpu>();
    }
}
