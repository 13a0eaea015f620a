//! How a system is trained according to its source, as data: start values, optimiser, schedule, length; and what its
//! input looks like. The harness scales lengths to its budget; nothing here computes a training step.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::input;
use super::parameters::fill_module;
use super::residuals::CONSTRAINED;
use crate::Result;
use crate::infer::architecture::FEATURES;
use crate::train::rng::{Stream, TrainRng, at, between, normal};

/// What a network does to a picture on the 0..1 scale before its first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalise {
    /// Nothing.
    Unit,
    /// R, G, B on 0..255.
    Rgb255,
    /// B, G, R on 0..255 (OpenCV's order).
    Bgr255,
    /// Mean 0.5 and standard deviation 0.5, that is -1..1.
    Half,
    /// ImageNet's mean and standard deviation.
    ImageNet,
}

impl Normalise {
    /// # Shapes
    /// `unit`, R G B on 0..1: `[n, 3, h, w] -> [n, 3, h, w]`.
    pub fn apply<B: Backend>(self, unit: Tensor<B, 4>) -> Tensor<B, 4> {
        match self {
            Normalise::Unit => unit,
            Normalise::Rgb255 => unit.mul_scalar(255.0),
            Normalise::Bgr255 => unit.flip([1]).mul_scalar(255.0),
            Normalise::Half => unit.sub_scalar(0.5).div_scalar(0.5),
            Normalise::ImageNet => input::normalise(unit),
        }
    }
}

/// How weights follow gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Update {
    /// Adam; weight decay, if any, is part of the gradient.
    Adam {
        /// Decay rates of the moments.
        betas: [f64; 2],
        /// Weight decay.
        weight_decay: f64,
    },
    /// Caffe's momentum: v = momentum v + rate g, w = w - v. Weight decay is part of the gradient; biases (but not
    /// normalisation shifts) learn at twice the rate and without it.
    CaffeSgd {
        /// Share of the old step that is kept.
        momentum: f64,
        /// Weight decay.
        weight_decay: f64,
    },
}

/// A length of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// Updates.
    Steps(u64),
    /// Passes over the training data.
    Epochs(f64),
}

/// A learning rate that falls in steps: times `factor` after every `every`, never below `floor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decay {
    /// Factor of one fall; 1 for a constant rate.
    pub factor: f64,
    /// Distance between falls.
    pub every: Span,
    /// Lowest rate.
    pub floor: f64,
}

impl Decay {
    /// A rate that does not fall.
    pub const NONE: Decay = Decay { factor: 1.0, every: Span::Epochs(1.0), floor: 0.0 };
}

/// The authors' training settings of a system, or where they gave none, the comparison's choice; `source` says which.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Optimiser.
    pub update: Update,
    /// First learning rate.
    pub rate: f64,
    /// How it falls.
    pub decay: Decay,
    /// The authors' length of training.
    pub length: Span,
    /// Pictures a step.
    pub batch: usize,
    /// Start values.
    pub start: Scheme,
    /// Whether the source starts from ImageNet weights.
    pub imagenet: bool,
    /// Where these settings come from, and what was chosen here.
    pub source: &'static str,
}

/// From what distribution the start values of one tensor are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// All the same.
    Constant(f32),
    /// Uniform between two values.
    Uniform(f32, f32),
    /// Normal with mean and standard deviation.
    Normal(f32, f32),
}

impl Start {
    fn symmetric(bound: f32) -> Self {
        Start::Uniform(-bound, bound)
    }
}

/// A rule for the start values of a whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// He normal by fan-out for convolutions (torchvision), PyTorch's uniform for the classifier.
    He,
    /// Glorot uniform, biases 0 (Keras).
    Glorot,
    /// Caffe's "xavier", uniform by fan-in, biases 0; constrained kernels positive, so that no sum of taps vanishes.
    Caffe,
    /// As [`Scheme::Caffe`] with MISLnet's biases: 0.1 in convolutions, 1 in the hidden fully connected layers.
    MislNet,
    /// Multi-task: convolutions N(0, 0.02), normalisation scales N(0.5, 0.02), biases 0.
    MultiTask,
    /// Capsule-Forensics: convolutions N(0, 0.02), normalisation scales N(1, 0.02), routing N(0, 1), VGG by He. Biases,
    /// which the normalisation after them takes away, are 0.
    Capsule,
}

impl Scheme {
    /// The start values of the tensor of this name and shape (torchvision's layouts: linear weights `[out, in]`).
    pub fn start(self, name: &str, shape: &[usize]) -> Start {
        let layer = name.rsplit('.').nth(1).unwrap_or(name);
        match shape {
            [_] => self.vector(name, layer),
            [out, _, taps @ ..] if self == Scheme::He && !taps.is_empty() => he(*out, taps),
            [_, fan_in] if self == Scheme::He => Start::symmetric((*fan_in as f32).sqrt().recip()),
            [out, fan_in, taps @ ..] => {
                let taps_count = taps.iter().product::<usize>() as f32;
                let (fan_in, fan_out) = (*fan_in as f32 * taps_count, *out as f32 * taps_count);
                match self {
                    Scheme::He => Start::symmetric(fan_in.sqrt().recip()),
                    Scheme::Glorot => Start::symmetric((6.0 / (fan_in + fan_out)).sqrt()),
                    _ if CONSTRAINED.contains(&name) => Start::Uniform(0.1, 1.9),
                    Scheme::Caffe | Scheme::MislNet => Start::symmetric((3.0 / fan_in).sqrt()),
                    Scheme::Capsule if name.ends_with("route") => Start::Normal(0.0, 1.0),
                    Scheme::Capsule if name.starts_with("vgg") => he(*out, taps),
                    Scheme::Capsule | Scheme::MultiTask => Start::Normal(0.0, 0.02),
                }
            }
            [] => Start::Constant(0.0),
        }
    }

    /// Biases, normalisations, attention scalars.
    fn vector(self, name: &str, layer: &str) -> Start {
        let scale = name.ends_with("weight") || name.ends_with("running_var");
        match self {
            Scheme::Capsule if name.ends_with("weight") => Start::Normal(1.0, 0.02),
            Scheme::MultiTask if name.ends_with("weight") => Start::Normal(0.5, 0.02),
            _ if scale => Start::Constant(1.0),
            Scheme::He if layer.starts_with("fc") => Start::symmetric((FEATURES as f32).sqrt().recip()),
            Scheme::MislNet if layer.starts_with("conv") => Start::Constant(0.1),
            Scheme::MislNet if matches!(layer, "fc1" | "fc2") => Start::Constant(1.0),
            _ => Start::Constant(0.0),
        }
    }
}

fn he(out: usize, taps: &[usize]) -> Start {
    Start::Normal(0.0, (2.0 / (out * taps.iter().product::<usize>()) as f32).sqrt())
}

/// A module with start values drawn by `scheme`, every tensor from its own stream of `seed` (burn draws them from one
/// generator for the whole process).
///
/// # Errors
/// None; filling a module can fail only when its source does.
pub fn started<B: Backend, M: Module<B>>(module: M, scheme: Scheme, seed: u64) -> Result<M> {
    let mut slot = 0;
    fill_module(module, &mut |name, shape| {
        slot += 1;
        let rng = &mut at(seed, Stream::Weights, 0, slot);
        Ok(drawn(scheme.start(name, shape), shape.iter().product(), rng))
    })
}

fn drawn(start: Start, count: usize, rng: &mut TrainRng) -> Vec<f32> {
    match start {
        Start::Constant(value) => vec![value; count],
        Start::Uniform(low, high) => (0..count).map(|_| between(rng, low, high)).collect(),
        Start::Normal(mean, spread) => (0..count).map(|_| mean + spread * normal(rng)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_values_follow_the_sources() {
        let glorot = Scheme::Glorot.start("conv1.weight", &[8, 3, 3, 3]);
        assert_eq!(glorot, Start::symmetric((6.0f32 / 99.0).sqrt()));
        assert_eq!(Scheme::Caffe.start("net.fc0.weight", &[300, 12]), Start::symmetric(0.5));
        assert_eq!(Scheme::He.start("layer1.0.conv1.weight", &[2, 64, 2, 2]), Start::Normal(0.0, 0.5));
        assert_eq!(Scheme::He.start("fc.weight", &[2, 4]), Start::symmetric(0.5));
        assert_eq!(Scheme::MislNet.start("constr.weight", &[3, 3, 5, 5]), Start::Uniform(0.1, 1.9));
        let biases = ["conv2.bias", "fc1.bias", "fc3.bias", "bn1.bias"].map(|name| Scheme::MislNet.start(name, &[4]));
        assert_eq!(biases, [0.1, 1.0, 0.0, 0.0].map(Start::Constant));
        assert_eq!(Scheme::Glorot.start("bn1.running_var", &[8]), Start::Constant(1.0));
        assert_eq!(Scheme::Capsule.start("route", &[2, 10, 4, 8]), Start::Normal(0.0, 1.0));
        assert_eq!(Scheme::Capsule.start("caps.0.bn1.weight", &[64]), Start::Normal(1.0, 0.02));
    }
}
