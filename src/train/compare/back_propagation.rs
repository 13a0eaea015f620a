//! Guided back-propagation (Springenberg et al. 2015, arXiv 1412.6806): what of a picture speaks for a decision. The
//! gradient of the likeliest class's logit, with whatever is negative dropped at every ReLU on the way back. For AMTENnet's
//! network behind any front end (Table II, Fig. 10).
//!
//! Stage by stage, each by automatic differentiation, because the rule at a ReLU is no derivative of anything.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::backend::{AutodiffBackend, Backend};

use crate::train::compare::system::{Competitor, Network};
use crate::train::nn::baselines::amtennet::STAGES;
use crate::{Error, ErrorKind, Result};

/// The backend below automatic differentiation.
type Plain<B> = <B as AutodiffBackend>::InnerBackend;

/// Guided gradient of the likeliest class's logit with respect to the picture, running statistics in normalisation.
///
/// # Shapes
/// `unit`, R G B on 0..1: `[n, 3, side, side] -> [n, 3, side, side]`
///
/// # Errors
/// `BadUsage` for systems other than AMTENnet's network behind a front end.
pub fn guided_back_propagation<B: AutodiffBackend>(
    competitor: &Competitor<B>,
    unit: Tensor<Plain<B>, 4>,
) -> Result<Tensor<Plain<B>, 4>> {
    back_propagated(competitor, unit, |gradient| gradient.clamp_min(0.0))
}

/// Back to the picture; `rule` is applied to the gradient at every ReLU, before the ReLU's own derivative.
fn back_propagated<B: AutodiffBackend>(
    competitor: &Competitor<B>,
    unit: Tensor<Plain<B>, 4>,
    rule: impl Fn(Tensor<Plain<B>, 4>) -> Tensor<Plain<B>, 4>,
) -> Result<Tensor<Plain<B>, 4>> {
    let Network::AmtenNet(net) = &competitor.network else {
        let message = format!("expected AMTENnet's network behind a front end, found {}", competitor.system.name());
        return Err(Error::new(ErrorKind::BadUsage, message));
    };
    let net = net.clone().frozen();
    let stage =
        |index: usize, x: Tensor<B, 4>| net.stage(index, if index == 0 { competitor.before_front(x) } else { x });
    // What each stage is given, and last what the classifier is given.
    let mut given = vec![unit];
    for index in 0..STAGES {
        let x = Tensor::from_inner(given[index].clone());
        given.push(relu(stage(index, x).inner()));
    }
    let last = given[STAGES].clone();
    let logits = net.classify(Tensor::<B, 4>::from_inner(last.clone())).inner();
    let likeliest = logits.clone().sub(logits.max_dim(1)).equal_elem(0.0).float();
    let mut gradient = pulled::<B, 2>(last, likeliest, |x| net.classify(x));
    for index in (0..STAGES).rev() {
        let passed = given[index + 1].clone().greater_elem(0.0).float();
        gradient = pulled::<B, 4>(given[index].clone(), rule(gradient).mul(passed), |x| stage(index, x));
    }
    Ok(gradient)
}

/// The gradient at the output of a function -> that at its input `x`.
fn pulled<B: AutodiffBackend, const D: usize>(
    x: Tensor<Plain<B>, 4>,
    gradient: Tensor<Plain<B>, D>,
    function: impl Fn(Tensor<B, 4>) -> Tensor<B, D>,
) -> Tensor<Plain<B>, 4> {
    let leaf = Tensor::<B, 4>::from_inner(x.clone()).require_grad();
    let gradients = function(leaf.clone()).mul(Tensor::from_inner(gradient)).sum().backward();
    leaf.grad(&gradients).unwrap_or_else(|| x.zeros_like())
}

/// A gradient for the eye: grey is none, white and black the largest of each picture.
///
/// # Shapes
/// `[n, 3, h, w] -> [n, 3, h, w]` on 0..1
pub fn centred<B: Backend>(gradient: Tensor<B, 4>) -> Tensor<B, 4> {
    let largest = gradient.clone().abs().max_dim(3).max_dim(2).max_dim(1).clamp_min(f32::MIN_POSITIVE);
    gradient.div(largest).mul_scalar(0.5).add_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use burn_autodiff::Autodiff;

    use super::*;
    use crate::detector::known_picture;
    use crate::train::backend::Cpu;
    use crate::train::compare::system::{Front, System};
    use crate::train::nn::input;

    type Learning = Autodiff<Cpu>;

    fn values(tensor: Tensor<Cpu, 4>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    /// The plain gradient by automatic differentiation of the whole network.
    fn gradient(competitor: &Competitor<Learning>, unit: Tensor<Cpu, 4>) -> Vec<f32> {
        let Network::AmtenNet(net) = competitor.network.clone() else { panic!("AMTENnet's network") };
        let frozen = Competitor { network: Network::AmtenNet(net.frozen()), ..competitor.clone() };
        let leaf = Tensor::<Learning, 4>::from_inner(unit).require_grad();
        let gradients = frozen.forward(leaf.clone()).logits.max_dim(1).sum().backward();
        values(leaf.grad(&gradients).expect("a gradient"))
    }

    #[test]
    fn without_the_rule_it_is_the_gradient_and_with_it_another() {
        let device = Default::default();
        for front in [Front::Amten, Front::Mte] {
            let system = System::AmtenNet(front);
            let competitor = system.init::<Learning>(3, 40, false, &device).unwrap().started(5).unwrap();
            let unit = input::batch_unit::<Cpu>(&[known_picture(40)], &device);
            let exact = gradient(&competitor, unit.clone());
            let staged = values(back_propagated(&competitor, unit.clone(), |gradient| gradient).unwrap());
            let largest = exact.iter().fold(0f32, |top, value| top.max(value.abs()));
            assert!(largest > 0.0, "{}", system.name());
            assert_eq!(staged.len(), exact.len());
            let is_near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * largest;
            assert!(exact.iter().zip(&staged).all(is_near), "{}: {staged:?} for {exact:?}", system.name());
            let guided = values(guided_back_propagation(&competitor, unit).unwrap());
            let moved = exact.iter().zip(&guided).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(moved > 1e-2 * largest, "{}: moved by {moved} of {largest}", system.name());
        }
    }

    #[test]
    fn other_networks_are_refused() {
        let device = Default::default();
        let competitor = System::Meso4.init::<Learning>(2, 64, false, &device).unwrap();
        let unit = input::batch_unit::<Cpu>(&[known_picture(64)], &device);
        assert_eq!(guided_back_propagation(&competitor, unit).unwrap_err().kind(), ErrorKind::BadUsage);
    }

    #[test]
    fn the_largest_gradient_fills_the_scale() {
        let gradient = Tensor::<Cpu, 1>::from_floats([0.0, -2.0, 1.0], &Default::default()).reshape([1, 3, 1, 1]);
        assert_eq!(values(centred(gradient)), [0.5, 0.0, 0.75]);
        let none = Tensor::<Cpu, 4>::zeros([1, 3, 1, 1], &Default::default());
        assert_eq!(values(centred(none)), [0.5; 3]);
    }
}
