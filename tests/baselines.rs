//! The compared systems against their fixtures, with weights made by the fixtures' rule: outputs, parameter counts, and
//! that a single changed weight is noticed. Native sizes of the two large networks are behind ignored tests.
#![cfg(feature = "train")]

mod common;

use burn::module::{AutodiffModule, Module};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::Autodiff;
use common::{Fixture, ModelManifest, assert_close, range_tolerance, run_pictures, worst};
use grnet::train::backend::Cpu;
use grnet::train::compare::system::{Front, System};
use grnet::train::nn::baselines::amtennet::AmtenNet;
use grnet::train::nn::baselines::capsule::{Capsule, probabilities, route, squash, statistics};
use grnet::train::nn::baselines::highpass::HighPassNet;
use grnet::train::nn::baselines::meso::{Meso4, MesoInception4};
use grnet::train::nn::baselines::mislnet::MislNet;
use grnet::train::nn::baselines::multitask::MultiTask;
use grnet::train::nn::baselines::xception::Xception;
use grnet::train::nn::layers::{caffe_max_pool, caffe_mean_pool};
use grnet::train::nn::norm::BatchNorm;
use grnet::train::nn::parameters::{fill_module, read_module};
use grnet::train::nn::recipe::Normalise;
use grnet::train::nn::residuals::amten::Amten;
use grnet::train::nn::residuals::constrained::{ConstrainedConv, projected};
use grnet::train::nn::residuals::highpass::{HighPass, Kernel};
use grnet::train::nn::residuals::srm::Srm;
use grnet::train::nn::residuals::{FrontEnd, Given};

fn vec<const D: usize>(tensor: Tensor<Cpu, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

fn tensor<const D: usize>(fixture: &Fixture, name: &str) -> Tensor<Cpu, D> {
    let data = TensorData::new(fixture.values(name).to_vec(), fixture.shape(name).to_vec());
    Tensor::from_data(data, &Default::default())
}

/// Compares with a tensor of a fixture at a layer's tolerance: 1e-5 of its largest value.
fn assert_layer<const D: usize>(found: Tensor<Cpu, D>, fixture: &Fixture, name: &str) {
    assert_eq!(found.dims().as_slice(), fixture.shape(name), "{name}");
    let expected = fixture.values(name);
    assert_close(&vec(found), expected, 0.1 * range_tolerance(expected), name);
}

/// A run's pictures on 0..255, `[n, c, h, w]`.
fn raw(run: &serde_json::Value) -> Tensor<Cpu, 4> {
    let (bytes, shape) = run_pictures(run);
    Tensor::from_data(TensorData::new(bytes.into_iter().map(f32::from).collect(), shape), &Default::default())
}

/// A run's input as its manifest says.
fn normalised(run: &serde_json::Value) -> Tensor<Cpu, 4> {
    let raw = raw(run);
    match &run["input"]["normalise"] {
        serde_json::Value::String(name) if name == "raw255" => raw,
        serde_json::Value::String(name) if name == "unit" => Normalise::Unit.apply(raw.div_scalar(255.0)),
        other if other["mean"][0].as_f64() == Some(0.5) => Normalise::Half.apply(raw.div_scalar(255.0)),
        _ => Normalise::ImageNet.apply(raw.div_scalar(255.0)),
    }
}

/// A module with the weights that the rule gives it, `changed` (if any) with its first value off by `by`.
fn filled<M: Module<Cpu>>(module: M, manifest: &ModelManifest, changed: Option<(&str, f32)>) -> M {
    let mut used = 0;
    let module = fill_module(module, &mut |name, shape| {
        used += 1;
        let mut values = manifest.weights(name, shape);
        if let Some((_, by)) = changed.filter(|(wanted, _)| *wanted == name) {
            values[0] += by;
        }
        Ok(values)
    });
    assert_eq!(used, manifest.json["params"].as_array().unwrap().len(), "every tensor of the fixture has its place");
    module.unwrap()
}

fn parameters<M: Module<Cpu>>(module: &M) -> u64 {
    let mut count = 0;
    read_module(module, &mut |name, shape, _| {
        if !name.contains("running_") {
            count += shape.iter().product::<usize>() as u64;
        }
    });
    count
}

/// Checks output and parameter count of a network at the sizes `wanted`, and that one changed weight is noticed.
fn network_matches<M: Module<Cpu>>(
    name: &str,
    wanted: impl Fn(u64) -> bool,
    changed: &str,
    init: impl Fn() -> M,
    forward: impl Fn(&M, Tensor<Cpu, 4>) -> Tensor<Cpu, 2>,
) {
    let (fixture, manifest) = (Fixture::read(name), ModelManifest::read(name));
    let net = filled(init(), &manifest, None);
    assert_eq!(parameters(&net), manifest.json["trainable"].as_u64().unwrap(), "{name}: parameters");
    let runs = manifest.runs().iter().filter(|run| wanted(run["input"]["h"].as_u64().unwrap()));
    let mut compared = 0;
    for run in runs {
        let tag = run["tag"].as_str().unwrap();
        let expected = fixture.values(&format!("{tag}.out"));
        let tolerance = range_tolerance(expected);
        assert_close(&vec(forward(&net, normalised(run))), expected, tolerance, &format!("{name} {tag}"));
        if compared == 0 {
            let wrong = filled(init(), &manifest, Some((changed, 0.5)));
            let (difference, _) = worst(&vec(forward(&wrong, normalised(run))), expected);
            assert!(difference > tolerance, "{name}: {changed} off by 0.5 changes the output by {difference:e} only");
        }
        compared += 1;
    }
    assert!(compared > 0, "{name}: no run was compared");
}

fn any(_: u64) -> bool {
    true
}

#[test]
fn meso4_equals_the_fixtures() {
    let device = Default::default();
    let name = "conv2.weight";
    network_matches("meso4_128", any, name, || Meso4::init(2, 128, &device), |net, x| net.forward(x));
    network_matches("meso4_256", any, name, || Meso4::init(1, 256, &device), |net, x| net.forward(x));
}

#[test]
fn mesoinception4_equals_the_fixtures() {
    let device = Default::default();
    let name = "bn1.weight";
    network_matches("mesoinception4_128", any, name, || MesoInception4::init(2, 128, &device), |net, x| net.forward(x));
    network_matches("mesoinception4_256", any, name, || MesoInception4::init(1, 256, &device), |net, x| net.forward(x));
}

#[test]
fn highpass_equals_the_fixture() {
    let init = || HighPassNet::init(2, 128, Kernel::Square3x3, &Default::default());
    network_matches("highpass_128", any, "conv3.weight", init, |net, x| net.forward(x));
}

#[test]
fn mislnet_equals_the_fixtures() {
    for (name, channels) in [("mislnet_gray128", 1), ("mislnet_rgb128", 3)] {
        let init = || MislNet::init(channels, 2, 128, &Default::default());
        network_matches(name, any, "constr.weight", init, |net, x| net.clone().project().forward(x));
        let fixture = Fixture::read(name);
        let net = filled(init(), &ModelManifest::read(name), None).project();
        let mut seen = false;
        read_module(&net, &mut |tensor, _, values| {
            if tensor == "constr.weight" {
                seen = true;
                assert_close(&values, fixture.values("constr.weight.projected"), 1e-5, name);
            }
        });
        assert!(seen);
    }
}

#[test]
fn amtennet_equals_the_fixture() {
    let device = Default::default();
    let init = || AmtenNet::init(FrontEnd::Amten(Amten::init(&device)), 2, 128, &device);
    network_matches("amtennet_128", any, "front.conv2_1.weight", init, |net, x| net.forward(x));
}

#[test]
fn front_ends_before_amtennets_network_equal_the_fixtures() {
    let device = Default::default();
    let init = |front| AmtenNet::init(front, 2, 128, &device);
    let constrained = || init(FrontEnd::Constrained(ConstrainedConv::init(&device)));
    let forward = |net: &AmtenNet<Cpu>, x| net.clone().project().forward(x);
    network_matches("table2_constrained_128", any, "front.conv.weight", constrained, forward);
    network_matches("table2_srm_128", any, "net.conv4.weight", || init(FrontEnd::Srm(Srm)), forward);
    let highpass = || init(FrontEnd::HighPass(HighPass { kernel: Kernel::Square3x3 }));
    network_matches("table2_highpass_128", any, "net.conv4.weight", highpass, forward);
}

#[test]
fn multitask_equals_its_fixture_and_its_published_counts() {
    let init = || MultiTask::init(&Default::default());
    let name = "multitask_64";
    network_matches(name, any, "encoder.4.conv.weight", init, |net, x| net.forward(x));
    let (fixture, manifest) = (Fixture::read(name), ModelManifest::read(name));
    let count = |found: bool| {
        let mut count = 0;
        read_module(&init(), &mut |name, shape, _| {
            if !name.contains("running_") && name.starts_with("encoder") == found {
                count += shape.iter().product::<usize>();
            }
        });
        count
    };
    assert_eq!([count(true), count(false)], [148_200, 156_749]);
    let net = filled(init(), &manifest, None);
    let x = normalised(&manifest.runs()[0]);
    let truth = Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &Default::default());
    let loss = vec(net.loss(x.clone(), truth.clone()))[0];
    let expected = manifest.json["loss"].as_f64().unwrap() as f32;
    assert!((loss - expected).abs() <= 1e-4 * expected, "loss {loss}, expected {expected}");
    let kept = truth.reshape([2, 2, 1, 1]).repeat_dim(2, 64).reshape([2, 128, 1, 1]);
    let decoded = net.decode(net.encode(x).mul(kept));
    for (found, tensor) in [(decoded.segmentation, "s64.segmentation"), (decoded.picture, "s64.picture")] {
        let [n, channels, h, w] = found.dims();
        let corners = found.reshape([n, channels, h / 8, 8, w / 8, 8]).narrow(3, 0, 1).narrow(5, 0, 1);
        let expected = fixture.values(tensor);
        assert_close(&vec(corners), expected, range_tolerance(expected), tensor);
    }
}

fn xception_matches(wanted: impl Fn(u64) -> bool) {
    let init = || Xception::init(2, &Default::default());
    network_matches("xception", wanted, "block8.sep.1.dw.weight", init, |net, x| net.forward(x));
}

#[test]
fn xception_equals_the_fixture() {
    xception_matches(|side| side < 200);
}

#[test]
#[ignore = "slow: 8 GMAC a picture"]
fn xception_equals_the_fixture_at_its_native_size() {
    xception_matches(|side| side == 299);
}

fn capsule_matches(wanted: impl Fn(u64) -> bool) {
    let init = || Capsule::init(2, true, &Default::default());
    let forward = |net: &Capsule<Cpu>, x| probabilities(net.forward(x));
    network_matches("capsule", &wanted, "caps.3.conv2.weight", init, forward);
    let (fixture, manifest) = (Fixture::read("capsule"), ModelManifest::read("capsule"));
    let net = filled(init(), &manifest, None);
    for run in manifest.runs().iter().filter(|run| wanted(run["input"]["h"].as_u64().unwrap())) {
        let name = format!("{}.z", run["tag"].as_str().unwrap());
        let expected = fixture.values(&name);
        assert_close(&vec(net.forward(normalised(run))), expected, range_tolerance(expected), &name);
    }
}

#[test]
fn capsule_equals_the_fixture() {
    capsule_matches(|side| side < 200);
}

#[test]
#[ignore = "slow: 22 GMAC a picture"]
fn capsule_equals_the_fixture_at_its_native_size() {
    capsule_matches(|side| side == 300);
}

#[test]
fn the_capsules_head_equals_the_fixture() {
    let fixture = Fixture::read("capsule_head");
    // The fixture has the capsules on the last axis, this crate on the one before.
    let squashed = squash(tensor::<3>(&fixture, "primary_raw"), 2);
    assert_layer(squashed.clone(), &fixture, "primary_squashed");
    let z = route(tensor::<4>(&fixture, "route"), squashed.swap_dims(1, 2));
    assert_layer(z.clone(), &fixture, "z");
    assert_layer(probabilities(z.clone()), &fixture, "prob");
    assert_layer(statistics(tensor::<4>(&fixture, "stats_in")), &fixture, "stats_out");
    let labels = fixture.values("labels");
    let log_p: Vec<f32> = vec(log_softmax(z, 2));
    let picture = |row: usize, part: usize| f64::from(log_p[(row * 4 + part) * 2 + labels[row] as usize]);
    let loss: f64 = (0..4).map(|part| -(0..3).map(|row| picture(row, part)).sum::<f64>() / 3.0).sum();
    assert_close(&[loss as f32], fixture.values("loss_sum_of_4_ce"), 1e-5, "loss");
}

#[test]
fn fixed_filters_equal_the_fixture() {
    let fixture = Fixture::read("residual_filters");
    let input = tensor::<4>(&fixture, "input.u8");
    for kernel in Kernel::ALL {
        let taps: Vec<f32> = kernel.taps().into_iter().flatten().collect();
        assert_close(&taps, fixture.values(&format!("highpass.{}.kernel", kernel.name())), 1e-7, kernel.name());
        let found = HighPass { kernel }.forward(input.clone()).slice([0..2, 0..3, 0..16, 0..16]);
        assert_layer(found, &fixture, &format!("highpass.{}.out", kernel.name()));
    }
    assert_layer(Srm.forward(input.clone()), &fixture, "srm.sum_rgb");
    let other = HighPass { kernel: Kernel::Laplacian8 }.forward(input).slice([0..2, 0..3, 0..16, 0..16]);
    let (difference, _) = worst(&vec(other), fixture.values("highpass.laplacian4.out"));
    assert!(difference > 1.0, "another filter is noticed");
}

#[test]
fn learned_front_ends_equal_the_fixture() {
    let fixture = Fixture::read("frontends");
    let input = tensor::<4>(&fixture, "input.u8");
    let tile = |x: Tensor<Cpu, 4>| x.narrow(2, 0, 16).narrow(3, 0, 16);
    let weights = |name: &str| fixture.values(name).to_vec();
    let amten =
        fill_module(Amten::<Cpu>::init(&Default::default()), &mut |name, _| Ok(weights(&format!("amten.w.{name}"))));
    let amten = amten.unwrap();
    assert_eq!(parameters(&amten), 909);
    assert_layer(tile(amten.forward(input.clone())), &fixture, "amten.out.tile16");
    let raw = fill_module(ConstrainedConv::<Cpu>::init(&Default::default()), &mut |_, _| Ok(weights("bayar.raw_rgb")));
    let raw = raw.unwrap();
    let name = "bayar.out_rgb_pad2.tile16";
    let (difference, _) = worst(&vec(tile(raw.forward(input.clone()))), fixture.values(name));
    assert!(difference > 1.0, "a forgotten projection is noticed");
    assert_layer(tile(raw.project().forward(input)), &fixture, name);
    assert_layer(projected(tensor::<4>(&fixture, "bayar.raw_rgb")), &fixture, "bayar.projected_rgb");
    assert_layer(projected(tensor::<4>(&fixture, "bayar.raw_gray")), &fixture, "bayar.projected_gray");
}

#[test]
fn caffes_pooling_equals_the_fixture() {
    let fixture = Fixture::read("pooling");
    assert_layer(caffe_max_pool(tensor::<4>(&fixture, "x")), &fixture, "max3s2.caffe_ceil");
    assert_layer(caffe_mean_pool(tensor::<4>(&fixture, "x")), &fixture, "avg3s2.caffe_ceil");
}

#[test]
fn batch_normalisation_learns_as_in_pytorch_and_keras() {
    let fixture = Fixture::read("batchnorm_train");
    for (tag, eps, momentum) in [("torch", 1e-5, 0.1), ("keras", 1e-3, 0.01)] {
        let blank = BatchNorm::<Autodiff<Cpu>>::with(3, eps, momentum, &Default::default());
        let bn = fill_module(blank, &mut |name, _| {
            let source = match name {
                "weight" => "gamma",
                "bias" => "beta",
                "running_mean" => "running_mean0",
                _ => "running_var0",
            };
            Ok(fixture.values(source).to_vec())
        });
        let bn = bn.unwrap();
        let x = tensor::<4>(&fixture, "x");
        assert_layer(bn.valid().forward(x.clone()), &fixture, &format!("{tag}.y_eval"));
        assert_layer(bn.forward(Tensor::from_inner(x)).inner(), &fixture, &format!("{tag}.y_train"));
        let name = format!("{tag}.running_mean1");
        assert_close(&vec(bn.running_mean.value_sync().inner()), fixture.values(&name), 1e-6, &name);
        let name = format!("{tag}.running_var1.unbiased");
        assert_close(&vec(bn.running_var.value_sync().inner()), fixture.values(&name), 1e-5, &name);
    }
}

#[test]
fn parameter_counts_are_those_of_the_sources() {
    let device = Default::default();
    let count = |system: System, classes, side_px| {
        parameters(&system.init::<Cpu>(classes, side_px, true, &device).unwrap().network)
    };
    let kernel = Kernel::default();
    assert_eq!(count(System::HighPass(kernel), 2, 128), 34_174_530);
    assert_eq!(parameters(&MislNet::<Cpu>::init(1, 6, 256, &device)), 1_575_441);
    for (front, expected) in Front::ALL.into_iter().zip([2_022_000, 2_022_000, 2_022_225, 2_024_853, 2_022_000]) {
        assert_eq!(count(System::AmtenNet(front), 8, 128), expected, "{front:?}");
    }
    // Each further class costs a row of the classifier.
    let further = [
        (System::Meso4, 17),
        (System::MesoInception4, 17),
        (System::MislNet, 201),
        (System::Xception, 2049),
        (System::Capsule, 320),
        (System::AmtenNet(Front::Amten), 301),
        (System::ResNet(None), 513),
        // The classifier and both stream heads.
        (System::GrNet(grnet::train::compare::system::Streams::GRNET), 3 * 513),
    ];
    for (system, row) in further {
        assert_eq!(count(system, 8, 128) - count(system, 7, 128), row, "{system:?}");
    }
    assert_eq!(count(System::ResNet(None), 2, 128), 11_176_512 + 2 * 513);
}

#[test]
fn everything_that_may_learn_in_any_system_has_a_finite_gradient() {
    type Learning = Autodiff<Cpu>;
    let device = Default::default();
    let unit = || {
        let bytes = common::image_u8([4, 3, 64, 64], 77);
        let data: Vec<f32> = bytes.into_iter().map(|byte| f32::from(byte) / 255.0).collect();
        Tensor::<Learning, 4>::from_data(TensorData::new(data, [4, 3, 64, 64]), &device)
    };
    let targets = || {
        let rows = vec![1f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        Tensor::<Learning, 2>::from_data(TensorData::new(rows, [4, 3]), &device)
    };
    let systems = System::DETECTORS.into_iter().chain(Front::ALL.map(|front| System::ResNet(Some(front))));
    for system in systems.chain(System::fusions()).chain(System::ablations()).chain(System::front_ends()) {
        let competitor = system.init::<Learning>(3, 64, true, &device).unwrap().started(5).unwrap();
        let (loss, parts) = competitor.loss(unit(), targets());
        let gradients = loss.clone().backward();
        let mut blind = Blind { gradients: &gradients, path: Vec::new(), without: Vec::new() };
        competitor.network.visit(&mut blind);
        let frozen = |name: &&String| {
            // Frozen, or not in use: attention needs AFM, stream heads need their loss.
            !(name.contains("vgg.") || name.starts_with("GrNet.gamma") || name.starts_with("GrNet.fc_"))
        };
        let left: Vec<&String> = blind.without.iter().filter(frozen).collect();
        assert!(left.is_empty(), "{}: no gradient for {left:?}", system.name());
        let value: f32 = loss.into_scalar();
        assert!(value.is_finite() && value > 0.0, "{}: loss {value} of {} parts", system.name(), parts.len());
    }
}

struct Blind<'a> {
    gradients: &'a <Autodiff<Cpu> as burn::tensor::backend::AutodiffBackend>::Gradients,
    path: Vec<String>,
    without: Vec<String>,
}

impl burn::module::ModuleVisitor<Autodiff<Cpu>> for Blind<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<Autodiff<Cpu>, D>>) {
        let name = self.path.join(".");
        let gradient = param.val().grad(self.gradients);
        let finite = |gradient: Tensor<Cpu, D>| vec(gradient.abs().sum())[0].is_finite();
        if !name.contains("running_") && !gradient.is_some_and(finite) {
            self.without.push(name);
        }
    }
}

#[test]
fn a_residual_computed_before_passes_unchanged() {
    let x = Tensor::<Cpu, 4>::ones([1, 3, 4, 4], &Default::default()).mul_scalar(7.0);
    let passed = FrontEnd::<Cpu>::Given(Given).forward(x.clone());
    assert_close(&vec(passed), &vec(x), 0.0, "given");
}
