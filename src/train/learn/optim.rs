//! Adam and AdamW over a whole network, gradients clipped by their common norm, and the running average of the weights.
//! Own code instead of burn's optimiser, so that its state has names and a checkpoint is a plain safetensors file.

use burn::module::{AutodiffModule, Module};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::train::config::{LearnConfig, Optimiser};
use crate::train::nn::parameters::{Change, Named, Place, See, blended, change_parameters, see_parameters};

/// Added to the root of the second moment (PyTorch's default).
const EPSILON: f32 = 1e-8;

/// Adam's state: both moments of every parameter that ever had a gradient.
#[derive(Debug, Clone)]
pub struct Adam<B: Backend> {
    /// Updates so far.
    pub updates: u64,
    /// Running means of the gradients.
    pub first: Named<B>,
    /// Running means of their squares.
    pub second: Named<B>,
}

impl<B: Backend> Default for Adam<B> {
    fn default() -> Self {
        Adam { updates: 0, first: Named::new(), second: Named::new() }
    }
}

impl<I: Backend> Adam<I> {
    /// One update of all parameters with gradients; returns the network and the norm of the gradients before clipping.
    pub fn step<B, M>(&mut self, module: M, gradients: &B::Gradients, rate: f64, config: &LearnConfig) -> (M, f32)
    where
        B: AutodiffBackend<InnerBackend = I>,
        M: AutodiffModule<B>,
    {
        let mut squares = SumOfSquares::<B> { gradients, sum: None };
        see_parameters(&module, &mut squares);
        let norm = squares.sum.map_or(0.0, |sum| sum.into_data().convert::<f32>().iter::<f32>().sum::<f32>().sqrt());
        let clip = config.clip_norm as f32;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.updates += 1;
        let mut update = Update { adam: self, gradients, rate: rate as f32, scale, config };
        (change_parameters(module, &mut update), norm)
    }
}

struct SumOfSquares<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    sum: Option<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> See<B> for SumOfSquares<'_, B> {
    fn see<const D: usize>(&mut self, _place: &Place, value: Tensor<B, D>) {
        if let Some(gradient) = value.grad(self.gradients) {
            let square = gradient.powi_scalar(2).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum.add(square),
                None => square,
            });
        }
    }
}

struct Update<'a, B: AutodiffBackend> {
    adam: &'a mut Adam<B::InnerBackend>,
    gradients: &'a B::Gradients,
    rate: f32,
    scale: f32,
    config: &'a LearnConfig,
}

impl<B: AutodiffBackend> Change<B> for Update<'_, B> {
    fn change<const D: usize>(&mut self, place: &Place, tensor: Tensor<B, D>) -> Tensor<B, D> {
        let Some(gradient) = tensor.grad(self.gradients) else { return tensor };
        let shape = tensor.dims();
        let length: usize = shape.iter().product();
        let gradient: Tensor<B::InnerBackend, 1> = gradient.reshape([length]).mul_scalar(self.scale);
        let weights: Tensor<B::InnerBackend, 1> = tensor.inner().reshape([length]);
        let decay = self.config.weight_decay as f32;
        let (gradient, weights) = match self.config.optimiser {
            Optimiser::Adam => (gradient.add(weights.clone().mul_scalar(decay)), weights),
            Optimiser::AdamW => (gradient, weights.mul_scalar(1.0 - self.rate * decay)),
        };
        let [beta_1, beta_2] = self.config.betas.map(|beta| beta as f32);
        let name = place.name();
        let zeros = || Tensor::zeros([length], &weights.device());
        let first = self.adam.first.remove(&name).unwrap_or_else(zeros);
        let first = first.mul_scalar(beta_1).add(gradient.clone().mul_scalar(1.0 - beta_1));
        let second = self.adam.second.remove(&name).unwrap_or_else(zeros);
        let second = second.mul_scalar(beta_2).add(gradient.powi_scalar(2).mul_scalar(1.0 - beta_2));
        let updates = self.adam.updates as i32;
        let (bias_1, bias_2) = (1.0 - beta_1.powi(updates), 1.0 - beta_2.powi(updates));
        let spread = second.clone().sqrt().mul_scalar(1.0 / bias_2.sqrt()).add_scalar(EPSILON);
        let weights = weights.sub(first.clone().div(spread).mul_scalar(self.rate / bias_1));
        self.adam.first.insert(name.clone(), first);
        self.adam.second.insert(name, second);
        Tensor::<B, D>::from_inner(weights.reshape(shape)).require_grad()
    }
}

/// Lets the stages before `stage` of both trunks learn or not; `stage` counts as in [`crate::train::nn::resnet::ResNet18`].
pub fn freeze_stages<B: AutodiffBackend, M: Module<B>>(module: M, stage: usize) -> M {
    change_parameters(module, &mut Freeze { stage })
}

struct Freeze {
    stage: usize,
}

impl Freeze {
    /// The stage that a parameter of a trunk belongs to; heads and fusion are after all of them.
    fn stage_of(path: &[String]) -> usize {
        let Some(layer) = path.get(1).filter(|_| matches!(path[0].as_str(), "spatial" | "residual")) else { return 5 };
        match layer.strip_prefix("layer") {
            Some(number) => number.parse().unwrap_or(5),
            None => 0,
        }
    }
}

impl<B: AutodiffBackend> Change<B> for Freeze {
    fn change<const D: usize>(&mut self, place: &Place, value: Tensor<B, D>) -> Tensor<B, D> {
        // Running statistics never learn.
        if place.fields().last().is_some_and(|name| name.starts_with("running_")) {
            return value;
        }
        value.set_require_grad(Self::stage_of(place.fields()) >= self.stage)
    }
}

/// Moves `average` towards `current`: `decay` of the old is kept. Early on less is kept, so that the start is forgotten.
pub fn move_average<B: Backend, M: Module<B>>(average: M, current: &M, decay: f64, step: u64) -> M {
    let warm = (1.0 + step as f64) / (10.0 + step as f64);
    blended(average, current, decay.min(warm))
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn_autodiff::Autodiff;

    use super::*;
    use crate::train::backend::Cpu;

    type B = Autodiff<Cpu>;

    fn learn() -> LearnConfig {
        LearnConfig { weight_decay: 0.0, clip_norm: 0.0, ..Default::default() }
    }

    fn values<X: Backend>(layer: &Linear<X>) -> Vec<f32> {
        layer.weight.val().into_data().to_vec().unwrap()
    }

    fn step(layer: Linear<B>, adam: &mut Adam<Cpu>, config: &LearnConfig) -> (Linear<B>, f32) {
        let x = Tensor::<B, 2>::from_floats([[3.0, -4.0]], &Default::default());
        let gradients = layer.forward(x).sum().backward();
        adam.step(layer, &gradients, 0.1, config)
    }

    fn layer() -> Linear<B> {
        LinearConfig::new(2, 1).with_bias(false).init(&Default::default())
    }

    #[test]
    fn the_first_step_of_adam_is_the_rate_against_the_gradients_sign() {
        let before = layer();
        let old = values(&before);
        let (after, norm) = step(before, &mut Adam::default(), &learn());
        let new = values(&after);
        assert!((norm - 5.0).abs() < 1e-5, "{norm}");
        assert!((old[0] - new[0] - 0.1).abs() < 1e-5 && (new[1] - old[1] - 0.1).abs() < 1e-5, "{old:?} {new:?}");
    }

    #[test]
    fn clipping_scales_the_moments() {
        let mut adam = Adam::default();
        step(layer(), &mut adam, &LearnConfig { clip_norm: 1.0, ..learn() });
        let first: Vec<f32> = adam.first["weight"].to_data().to_vec().unwrap();
        assert!((first[0] - 0.06).abs() < 1e-6 && (first[1] + 0.08).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn decay_of_adamw_pulls_to_zero_apart_from_the_gradient() {
        let before = layer();
        let old = values(&before);
        let (after, _) = step(before, &mut Adam::default(), &LearnConfig { weight_decay: 0.5, ..learn() });
        let expected = old[0] * (1.0 - 0.1 * 0.5) - 0.1;
        assert!((values(&after)[0] - expected).abs() < 1e-5);
    }

    #[test]
    fn the_average_lies_between_old_and_new() {
        let (old, new) = (layer().valid(), layer().valid());
        let (a, b) = (values(&old), values(&new));
        let mean = values(&move_average(old, &new, 0.75, 1_000_000));
        for index in 0..2 {
            assert!((mean[index] - (0.75 * a[index] + 0.25 * b[index])).abs() < 1e-6);
        }
    }

    #[test]
    fn stages_are_told_by_name() {
        let stage = |path: &str| Freeze::stage_of(&path.split('.').map(String::from).collect::<Vec<_>>());
        assert_eq!(stage("spatial.conv1.weight"), 0);
        assert_eq!(stage("residual.bn1.weight"), 0);
        assert_eq!(stage("residual.layer3.0.conv1.weight"), 3);
        assert_eq!(stage("fc_s.weight"), 5);
    }
}
