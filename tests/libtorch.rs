//! LibTorch learns what plain Rust learns: gradients and one step of the optimiser, on the same weights and input; of GRnet,
//! and of the single layers that all compared systems are made of.
//! `./build.sh train-env` says what building this takes.
#![cfg(feature = "libtorch")]

mod common;

use std::collections::BTreeMap;

use burn::module::AutodiffModule;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use burn_autodiff::Autodiff;
use common::{ModelManifest, image_u8, pictures};
use grnet::infer::architecture::{GrNetConfig, GuidedFilterConfig};
use grnet::train::backend::{Cpu, LibTorch, learning_conv, learning_trunk};
use grnet::train::config::LearnConfig;
use grnet::train::learn::optim::Adam;
use grnet::train::learn::run::cross_entropy;
use grnet::train::nn::input::{batch_unit, normalise};
use grnet::train::nn::mte::tensor::residual;
use grnet::train::nn::norm::BatchNorm;
use grnet::train::nn::parameters::{fill_module, read_module};
use grnet::train::nn::resnet::ResNet18;

/// Values of a network by name.
type Named = BTreeMap<String, Vec<f32>>;

/// What one step on one batch gives.
struct Step {
    loss: f32,
    /// Adam's first moments after one step, which are the gradients in a fixed ratio; and the running statistics.
    gradients: Named,
    norm: f32,
    /// The weights after the step.
    weights: Named,
}

/// Learning rate, and so what Adam's first step moves a weight by.
const RATE: f32 = 1e-3;

/// Seed of the pictures, among those where no ReLU sits so near its edge that rounding flips it: then, with statistics of
/// eight values a channel, even plain Rust differs by 2 % from itself on a picture that is 1e-7 brighter (seed 5).
const SEED: u32 = 11;

/// One step at 64 px, batch 2; `shift` is added to the first weight of a convolution.
fn step<B: AutodiffBackend>(frozen: bool, shift: f32) -> Step {
    let device = Default::default();
    let manifest = ModelManifest::read("grnet");
    let config = GrNetConfig { w_spatial: 0.4, ..GrNetConfig::default() };
    let mut network = fill_module(config.init::<B>(&device), &mut |name, shape| {
        let mut values = manifest.weights(name, shape);
        if name == "residual.layer2.0.conv1.weight" {
            values[0] += shift;
        }
        Ok(values)
    })
    .unwrap();
    network.set_frozen_norm(frozen);
    let shape = [2, 3, 64, 64];
    let unit = batch_unit::<B::InnerBackend>(&pictures(&image_u8(shape, SEED), shape), &device);
    let traces = residual(unit.clone(), &GuidedFilterConfig::default());
    // As training does it: on LibTorch the trunks are its own, on the CPU burn's generic operations.
    let trunk = |trunk: &ResNet18<B>, x| learning_trunk(trunk, DType::F32, x);
    let maps = network.maps_by(trunk, &config, Tensor::from_inner(normalise(unit)), Tensor::from_inner(traces));
    let output = network.heads(&config, maps);
    let targets = Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
    let [fused, spatial, residual] =
        [output.fused, output.spatial, output.residual].map(|logits| cross_entropy(logits, targets.clone()));
    let loss = fused.add(spatial).add(residual);
    let gradients = loss.backward();
    let learn = LearnConfig { clip_norm: 0.0, weight_decay: 0.0, ..LearnConfig::default() };
    let mut adam = Adam::default();
    let (network, norm) = adam.step::<B, _>(network, &gradients, RATE.into(), &learn);
    let mut gradients: Named = adam.first.iter().map(|(name, moment)| (name.clone(), values(moment.clone()))).collect();
    let mut weights = Named::new();
    read_module(&network.valid(), &mut |name, _, values| {
        let into = if name.contains("running_") { &mut gradients } else { &mut weights };
        into.insert(name.to_string(), values);
    });
    Step { loss: values(loss.inner())[0], gradients, norm, weights }
}

fn values<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

fn norm(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|value| value * value).sum::<f32>().sqrt()
}

/// The parameter that differs most, by the norm of the difference in shares of `scale(values of b)`.
fn worst(a: &Named, b: &Named, scale: impl Fn(&[f32]) -> f32) -> (f32, String) {
    assert!(!b.is_empty() && a.keys().eq(b.keys()), "the same parameters, found {} and {}", a.len(), b.len());
    let relative = |(name, expected): (&String, &Vec<f32>)| {
        let difference = norm(a[name].iter().zip(expected).map(|(x, y)| x - y));
        (if difference.is_nan() { f32::INFINITY } else { difference / scale(expected) }, name.clone())
    };
    b.iter().map(relative).max_by(|x, y| x.0.total_cmp(&y.0)).expect("there are parameters")
}

/// Gradients relative to themselves; weights relative to the step, whose direction is a matter of rounding where a
/// gradient is next to nothing.
fn differences(a: &Step, b: &Step) -> [(f32, String); 2] {
    assert!(b.gradients.len() > 120 && b.weights.len() > 120, "all parameters of two trunks");
    let gradients = worst(&a.gradients, &b.gradients, |values| norm(values.iter().copied()).max(1e-7));
    [gradients, worst(&a.weights, &b.weights, |values| RATE * (values.len() as f32).sqrt())]
}

#[test]
fn gradients_and_one_step_equal_those_of_plain_rust() {
    for frozen in [true, false] {
        let (torch, flex) = (step::<Autodiff<LibTorch>>(frozen, 0.0), step::<Autodiff<Cpu>>(frozen, 0.0));
        let [gradients, weights] = differences(&torch, &flex);
        println!(
            "frozen {frozen}: loss {} and {}, gradients {gradients:?}, weights {weights:?}",
            torch.loss, flex.loss
        );
        assert!((torch.loss - flex.loss).abs() <= 1e-4 * flex.loss.abs(), "loss {} and {}", torch.loss, flex.loss);
        assert!((torch.norm - flex.norm).abs() <= 1e-4 * flex.norm, "norm {} and {}", torch.norm, flex.norm);
        // Measured: gradients 5e-6 frozen, 1.2e-5 otherwise; weights 2e-3 and 0.01.
        assert!(gradients.0 <= 2e-4, "gradients differ: {gradients:?}");
        assert!(weights.0 <= 0.05, "weights differ: {weights:?}");
    }
}

#[test]
fn the_comparison_notices_one_weight() {
    let (torch, flex) = (step::<Autodiff<LibTorch>>(true, 0.5), step::<Autodiff<Cpu>>(true, 0.0));
    let [gradients, weights] = differences(&torch, &flex);
    println!("changed: gradients {gradients:?}, weights {weights:?}");
    assert!(gradients.0 > 0.02 && weights.0 > 0.5, "{gradients:?} {weights:?}");
}

/// Numbers without a pattern that a layer could miss, of mean 0.2.
fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| 0.2 + ((i as f32 + seed) * 12.9898).sin()).collect()
}

/// What a layer gives for one batch and learns from it: output, gradients (of parameters as Adam's first moments), running
/// statistics. `shift` is added to its first weight.
fn passed<B: AutodiffBackend, M: AutodiffModule<B>>(
    layer: M,
    forward: impl Fn(&M, Tensor<B, 4>) -> Tensor<B, 4>,
    shape: [usize; 4],
    shift: f32,
) -> Named {
    let device = Default::default();
    let layer = fill_module(layer, &mut |name, shape| {
        let mut values = numbers(shape.iter().product(), 0.5 + name.len() as f32);
        if name == "weight" {
            values[0] += shift;
        }
        // Variances are positive.
        Ok(if name == "running_var" { values.iter().map(|value| value.abs()).collect() } else { values })
    })
    .unwrap();
    let given = Tensor::<B, 1>::from_floats(&numbers(shape.iter().product(), 0.0)[..], &device).reshape(shape);
    let x = given.require_grad();
    let before = relu(x.clone());
    let out = forward(&layer, before.clone());
    // Goes on with what the layer read, which nobody else holds then: what the layer keeps for its way back must stay.
    let after = before.add_scalar(3.0);
    let values = |tensor: Tensor<B::InnerBackend, 4>| tensor.into_data().into_vec().unwrap();
    let mut found = Named::from([("output".to_string(), values(out.clone().inner()))]);
    let pull = Tensor::<B, 1>::from_floats(&numbers(out.shape().num_elements(), 7.0)[..], &device).reshape(out.dims());
    let gradients = out.powi_scalar(2).mul(pull).mean().add(after.powi_scalar(2).mean()).backward();
    found.insert("input".into(), values(x.grad(&gradients).expect("the input has a gradient")));
    let learn = LearnConfig { clip_norm: 0.0, weight_decay: 0.0, ..LearnConfig::default() };
    let mut adam = Adam::default();
    let (layer, _) = adam.step::<B, _>(layer, &gradients, RATE.into(), &learn);
    found.extend(adam.first.iter().map(|(name, moment)| (name.clone(), self::values(moment.clone()))));
    read_module(&layer.valid(), &mut |name, _, values| {
        if name.contains("running_") {
            found.insert(name.to_string(), values);
        }
    });
    found
}

/// The largest difference between a layer on both backends; `shift` is that of LibTorch.
fn layer_difference(a: &Named, b: &Named) -> (f32, String) {
    worst(a, b, |values| norm(values.iter().copied()).max(1e-7))
}

#[test]
fn convolutions_learn_as_in_plain_rust() {
    // Channels in and out, kernel, stride, groups, bias: VGG's, a skip's, a depthwise one, that with a stride, a grouped one.
    let kinds = [
        (3, 8, 3, 1, 1, true),
        (6, 4, 1, 2, 1, false),
        (6, 6, 3, 1, 6, false),
        (6, 6, 3, 2, 6, true),
        (4, 8, 5, 2, 2, true),
    ];
    fn go<B: AutodiffBackend>(
        (read, given, kernel, stride, groups, bias): (usize, usize, usize, usize, usize, bool),
        shift: f32,
    ) -> Named {
        let pad = kernel / 2;
        let conv: Conv2d<B> = Conv2dConfig::new([read, given], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_groups(groups)
            .with_bias(bias)
            .init(&Default::default());
        passed(conv, learning_conv, [2, read, 9, 11], shift)
    }
    for kind in kinds {
        let flex = go::<Autodiff<Cpu>>(kind, 0.0);
        assert_eq!(flex.len(), if kind.5 { 4 } else { 3 }, "output, input, weight and perhaps a bias");
        let same = layer_difference(&go::<Autodiff<LibTorch>>(kind, 0.0), &flex);
        let other = layer_difference(&go::<Autodiff<LibTorch>>(kind, 0.1), &flex);
        println!("{kind:?}: {same:?}, one weight changed {other:?}");
        assert!(same.0 <= 1e-5, "{kind:?}: {same:?}");
        assert!(other.0 > 1e-3, "{kind:?}: {other:?}");
    }
}

#[test]
fn normalisations_learn_and_move_as_in_plain_rust() {
    fn go<B: AutodiffBackend>(eps: f64, momentum: f64, shape: [usize; 4], shift: f32) -> Named {
        let norm = BatchNorm::<B>::with(shape[1], eps, momentum, &Default::default());
        passed(norm, BatchNorm::forward, shape, shift)
    }
    // PyTorch's constants, Keras' eps; maps and single places.
    for (eps, momentum, shape) in [(1e-5, 0.1, [3, 5, 7, 6]), (1e-3, 0.3, [2, 4, 8, 8]), (1e-5, 0.1, [16, 3, 1, 1])] {
        let flex = go::<Autodiff<Cpu>>(eps, momentum, shape, 0.0);
        assert_eq!(flex.len(), 6, "output, input, weight, bias and two running statistics");
        let same = layer_difference(&go::<Autodiff<LibTorch>>(eps, momentum, shape, 0.0), &flex);
        let other = layer_difference(&go::<Autodiff<LibTorch>>(eps, momentum, shape, 0.1), &flex);
        println!("{shape:?}: {same:?}, one weight changed {other:?}");
        assert!(same.0 <= 1e-5, "{shape:?}: {same:?}");
        assert!(other.0 > 1e-3, "{shape:?}: {other:?}");
    }
    // One value a channel: no variance, and none that is infinite.
    let single = go::<Autodiff<LibTorch>>(1e-5, 0.1, [1, 3, 1, 1], 0.0);
    assert!(single.values().flatten().all(|value| value.is_finite()), "{single:?}");
}
