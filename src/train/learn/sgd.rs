//! Momentum as Caffe has it, for the networks whose authors trained with it: v = momentum v + rate (g + decay w),
//! w = w - v. Biases of convolutions and fully connected layers learn at twice the rate and do not decay; scale and shift
//! of a normalisation learn and decay like weights.

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::train::nn::parameters::{Change, Named, Place, change_parameters};

/// The optimiser's state: the velocities of all parameters, by name.
#[derive(Debug, Clone)]
pub struct CaffeSgd<B: Backend> {
    /// The velocities.
    pub velocities: Named<B>,
    momentum: f64,
    weight_decay: f64,
}

impl<I: Backend> CaffeSgd<I> {
    /// At rest.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        CaffeSgd { velocities: Named::new(), momentum, weight_decay }
    }

    /// One update of all parameters with gradients.
    pub fn step<B, M>(&mut self, module: M, gradients: &B::Gradients, rate: f64) -> M
    where
        B: AutodiffBackend<InnerBackend = I>,
        M: AutodiffModule<B>,
    {
        change_parameters(module, &mut Update { sgd: self, gradients, rate })
    }
}

struct Update<'a, B: AutodiffBackend> {
    sgd: &'a mut CaffeSgd<B::InnerBackend>,
    gradients: &'a B::Gradients,
    rate: f64,
}

impl<B: AutodiffBackend> Change<B> for Update<'_, B> {
    fn change<const D: usize>(&mut self, place: &Place, tensor: Tensor<B, D>) -> Tensor<B, D> {
        let Some(gradient) = tensor.grad(self.gradients) else { return tensor };
        let shape = tensor.dims();
        let weights: Tensor<B::InnerBackend, D> = tensor.inner();
        let normalises = place.container().ends_with("BatchNorm");
        let plain_bias = !normalises && place.fields().last().is_some_and(|name| name == "bias");
        let (rate, decay) = if plain_bias { (2.0 * self.rate, 0.0) } else { (self.rate, self.sgd.weight_decay) };
        let pull = gradient.add(weights.clone().mul_scalar(decay)).mul_scalar(rate);
        let name = place.name();
        let velocity = match self.sgd.velocities.remove(&name) {
            Some(old) => old.reshape(shape).mul_scalar(self.sgd.momentum).add(pull),
            None => pull,
        };
        let weights = weights.sub(velocity.clone());
        self.sgd.velocities.insert(name, velocity.reshape([shape.iter().product::<usize>()]));
        Tensor::<B, D>::from_inner(weights).require_grad()
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn_autodiff::Autodiff;

    use super::*;
    use crate::train::backend::Cpu;
    use crate::train::nn::layers::linear;
    use crate::train::nn::norm::BatchNorm;
    use crate::train::nn::parameters::{fill_module, read_module};

    type Learning = Autodiff<Cpu>;

    #[derive(Module, Debug)]
    struct Small<B: Backend> {
        fc: burn::nn::Linear<B>,
        bn: BatchNorm<B>,
    }

    fn values(module: &Small<Learning>, wanted: &str) -> f32 {
        let mut found = f32::NAN;
        read_module(module, &mut |name, _, values| {
            if name == wanted {
                found = values[0];
            }
        });
        found
    }

    #[test]
    fn two_steps_follow_caffes_rule() {
        let device = Default::default();
        let blank = Small::<Learning> { fc: linear(1, 1, &device), bn: BatchNorm::new(1, &device) };
        let mut module = fill_module(blank, &mut |_, _| Ok(vec![1.0])).unwrap();
        let mut sgd = CaffeSgd::new(0.5, 0.1);
        for _ in 0..2 {
            // Every gradient is 1.
            let sum = module.fc.weight.val().sum().add(module.fc.bias.as_ref().unwrap().val().sum());
            let sum = sum.add(module.bn.weight.val().sum()).add(module.bn.bias.val().sum());
            let gradients = sum.backward();
            module = sgd.step::<Learning, _>(module, &gradients, 0.1);
        }
        // v1 = 0.1 (1 + 0.1) = 0.11, w1 = 0.89; v2 = 0.055 + 0.1 (1 + 0.089) = 0.1639, w2 = 0.7261.
        for name in ["fc.weight", "bn.weight", "bn.bias"] {
            assert!((values(&module, name) - 0.7261).abs() < 1e-5, "{name}: {}", values(&module, name));
        }
        // v1 = 0.2, w1 = 0.8; v2 = 0.1 + 0.2 = 0.3, w2 = 0.5.
        assert!((values(&module, "fc.bias") - 0.5).abs() < 1e-5, "{}", values(&module, "fc.bias"));
    }
}
