//! What learns inside LibTorch: a whole ResNet-18 trunk, a normalisation, a convolution are one node of burn's graph each,
//! and LibTorch's own automatic differentiation walks back through it. The fast twins of burn's generic operations, with
//! which the parity tests in `tests/libtorch.rs` compare them: LibTorch normalises in one pass forth and two back where those
//! take about twenty, has its own gradients of convolutions, where those convolve with kernels as large as the maps (and
//! group by group), and keeps a trunk's maps with their channels last, as its bf16 convolutions want them.

use std::any::Any;

use burn::module::RunningState;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::backend::{Backend, BackendTypes};
use burn::tensor::{DType, Tensor, TensorPrimitive};
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_tch::TchTensor;
use tch::{Kind, Tensor as Torch};

use super::LibTorch;
use crate::train::nn::norm::BatchNorm;
use crate::train::nn::resnet::ResNet18;

/// LibTorch with burn's automatic differentiation.
type Learning = Autodiff<LibTorch>;
/// Its tensors: what LibTorch holds, and the place in burn's graph.
type Tracked = <Learning as BackendTypes>::FloatTensorPrimitive;

/// The input, the weights of 20 convolutions, scales and shifts of their normalisations.
const TRUNK_PARENTS: usize = 61;

/// What [`ResNet18::forward_in`] gives, where the backend is LibTorch and learns; nothing on any other backend, and nothing
/// for a folded trunk.
pub(super) fn trunk<B: Backend>(trunk: &ResNet18<B>, kind: DType, x: &Tensor<B, 4>) -> Option<Tensor<B, 4>> {
    let (trunk, x): (&ResNet18<Learning>, &Tensor<Learning, 4>) = (learning(trunk)?, learning(x)?);
    let kind = if kind == DType::BF16 { Kind::BFloat16 } else { Kind::Float };
    let layers: Vec<_> =
        trunk.layers().into_iter().map(|layer| Some((layer.conv, layer.bn?))).collect::<Option<_>>()?;
    let parameters = layers
        .iter()
        .flat_map(|(conv, norm)| [inner(conv.weight.val()), inner(norm.weight.val()), inner(norm.bias.val())]);
    let parents: Vec<Tracked> = std::iter::once(inner(x.clone())).chain(parameters).collect();
    given(node::<TRUNK_PARENTS>(parents.try_into().ok()?, |[x, parameters @ ..]| {
        let layers: Vec<Layer> = layers
            .iter()
            .zip(parameters.chunks_exact(3))
            .map(|((conv, norm), of)| Layer { conv, norm, weight: &of[0], scale: &of[1], shift: &of[2] })
            .collect();
        stages(&layers, channels_last(&x.to_kind(kind))).to_kind(Kind::Float)
    }))
}

/// What [`BatchNorm`] gives with the statistics of the batch, which move the running ones, where the backend is LibTorch and
/// learns; nothing on any other backend.
pub(super) fn norm<B: Backend>(norm: &BatchNorm<B>, x: &Tensor<B, 4>) -> Option<Tensor<B, 4>> {
    let (norm, x): (&BatchNorm<Learning>, &Tensor<Learning, 4>) = (learning(norm)?, learning(x)?);
    let [n, _, h, w] = x.dims();
    // LibTorch gives a single value an infinite variance.
    if n * h * w < 2 {
        return None;
    }
    let parents = [inner(x.clone()), inner(norm.weight.val()), inner(norm.bias.val())];
    given(node(parents, |[x, scale, shift]| batch_norm(norm, &x, &scale, &shift)))
}

/// What [`Conv2d::forward`] gives, where the backend is LibTorch and learns and the padding is the same on both sides;
/// nothing otherwise.
pub(super) fn conv<B: Backend>(conv: &Conv2d<B>, x: &Tensor<B, 4>) -> Option<Tensor<B, 4>> {
    let (conv, x): (&Conv2d<Learning>, &Tensor<Learning, 4>) = (learning(conv)?, learning(x)?);
    let pad = match conv.padding {
        PaddingConfig2d::Valid => [0, 0],
        PaddingConfig2d::Explicit(top, left, bottom, right) if (top, left) == (bottom, right) => [top, left],
        _ => return None,
    };
    let convolved = |x: &Torch, weight: &Torch, bias: Option<&Torch>| {
        let [stride, pad, dilation] = [conv.stride, pad, conv.dilation].map(|sides| sides.map(|side| side as i64));
        x.conv2d(weight, bias, stride, pad, dilation, conv.groups as i64)
    };
    let (x, weight) = (inner(x.clone()), inner(conv.weight.val()));
    given(match &conv.bias {
        Some(bias) => node([x, weight, inner(bias.val())], |[x, weight, bias]| convolved(&x, &weight, Some(&bias))),
        None => node([x, weight], |[x, weight]| convolved(&x, &weight, None)),
    })
}

/// A node of burn's graph that `compute` makes of its parents, LibTorch's own automatic differentiation walking back through
/// it. `compute` may write into nothing that it is given.
fn node<const N: usize>(parents: [Tracked; N], compute: impl FnOnce([Torch; N]) -> Torch) -> Tracked {
    // Cut off from whatever graph they are in; burn must not write into what LibTorch keeps of them, hence the storage.
    let leaves = parents.each_ref().map(|parent| TchTensor {
        tensor: parent.primitive.tensor.detach().set_requires_grad(parent.is_tracked()),
        storage: parent.primitive.storage.clone(),
    });
    let output = TchTensor::new(compute(leaves.each_ref().map(|leaf| leaf.tensor.shallow_clone())));
    // What burn goes on with must not grow LibTorch's graph any further.
    let given = TchTensor { tensor: output.tensor.detach(), storage: output.storage.clone() };
    match TorchBackward.prepare::<NoCheckpointing>(parents.map(|parent| parent.node)).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(Graph { leaves, output }, given),
        OpsKind::UnTracked(prepared) => prepared.finish(given),
    }
}

/// LibTorch's graph of one node: where it began and where it ended.
#[derive(Debug, Clone)]
struct Graph<const N: usize> {
    leaves: [TchTensor; N],
    output: TchTensor,
}

#[derive(Debug)]
struct TorchBackward;

impl<const N: usize> Backward<LibTorch, N> for TorchBackward {
    type State = Graph<N>;

    fn backward(self, ops: Ops<Graph<N>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let above = grads.consume::<LibTorch>(&ops.node);
        let learning: Vec<_> =
            ops.parents.iter().zip(&ops.state.leaves).filter_map(|(node, leaf)| Some((node.as_ref()?, leaf))).collect();
        let leaves: Vec<&Torch> = learning.iter().map(|(_, leaf)| &leaf.tensor).collect();
        // The derivative of this sum of products is the gradient that came from above.
        let sum = ops.state.output.tensor.flatten(0, -1).dot(&above.tensor.flatten(0, -1));
        let found = Torch::run_backward(&[sum], &leaves, false, false);
        for ((node, _), gradient) in learning.into_iter().zip(found) {
            grads.register::<LibTorch>(node.id, TchTensor::new(gradient.contiguous()));
        }
    }
}

/// A convolution of a trunk and its normalisation, with the weights of both as LibTorch holds them.
struct Layer<'a> {
    weight: &'a Torch,
    scale: &'a Torch,
    shift: &'a Torch,
    conv: &'a Conv2d<Learning>,
    norm: &'a BatchNorm<Learning>,
}

impl Layer<'_> {
    /// As `conv_norm` in [`crate::train::nn::resnet`]: frozen normalisation is folded into the convolution, running statistics move
    /// otherwise.
    fn apply(&self, x: &Torch) -> Torch {
        let kind = x.kind();
        let convolved = |weight: Torch, bias: Option<Torch>| {
            let stride = self.conv.stride.map(|stride| stride as i64);
            let pad = self.conv.kernel_size.map(|side| (side / 2) as i64);
            x.conv2d(&weight.to_kind(kind), bias.map(|bias| bias.to_kind(kind)), stride, pad, [1, 1], 1)
        };
        if self.norm.frozen {
            let scale = self.scale / (value(&self.norm.running_var) + self.norm.eps).sqrt();
            let shift = self.shift - value(&self.norm.running_mean) * &scale;
            return convolved(self.weight * scale.view([-1, 1, 1, 1]), Some(shift));
        }
        batch_norm(self.norm, &convolved(self.weight.shallow_clone(), None), self.scale, self.shift)
    }
}

/// Normalisation by the statistics of the batch, which move the running ones.
fn batch_norm(norm: &BatchNorm<Learning>, x: &Torch, scale: &Torch, shift: &Torch) -> Torch {
    let (mean, var) = (value(&norm.running_mean).copy(), value(&norm.running_var).copy());
    let (momentum, eps) = (norm.momentum, norm.eps);
    let out = x.batch_norm(Some(scale), Some(shift), Some(&mean), Some(&var), true, momentum, eps, false);
    // LibTorch keeps these two for its way back, and burn may write into what it is given: copies.
    moved(&norm.running_mean, mean.copy());
    moved(&norm.running_var, var.copy());
    out
}

/// The trunk of [`ResNet18`]: the stem, then four stages of two blocks, whose layers come in the order of
/// [`ResNet18::layers`].
fn stages(layers: &[Layer], x: Torch) -> Torch {
    let mut layers = layers.iter();
    let mut next = || layers.next().expect("as many layers as a trunk has");
    let mut x = next().apply(&x).relu_().max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
    for stage in 0..4 {
        for block in 0..2 {
            let (first, second) = (next(), next());
            let skip = if stage > 0 && block == 0 { next().apply(&x) } else { x.shallow_clone() };
            x = (second.apply(&first.apply(&x).relu_()) + skip).relu_();
        }
    }
    x
}

/// The same values, with the channels of a pixel side by side in memory.
fn channels_last(x: &Torch) -> Torch {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// The same value, where `B` is LibTorch and learns.
fn learning<T: 'static, L: 'static>(value: &T) -> Option<&L> {
    (value as &dyn Any).downcast_ref()
}

/// Back to the backend that [`learning`] found to be LibTorch.
fn given<B: Backend>(out: Tracked) -> Option<Tensor<B, 4>> {
    let out: Box<dyn Any> = Box::new(Tensor::<Learning, 4>::from_primitive(TensorPrimitive::Float(out)));
    out.downcast::<Tensor<B, 4>>().ok().map(|out| *out)
}

fn inner<const D: usize>(tensor: Tensor<Learning, D>) -> Tracked {
    tensor.into_primitive().tensor()
}

fn value(state: &RunningState<Tensor<Learning, 1>>) -> Torch {
    inner(state.value()).primitive.tensor.detach()
}

fn moved(state: &RunningState<Tensor<Learning, 1>>, to: Torch) {
    let tensor = Tensor::<LibTorch, 1>::from_primitive(TensorPrimitive::Float(TchTensor::new(to)));
    state.update(Tensor::from_inner(tensor));
    // What walks over the module's parameters sees synchronised values only.
    state.value_sync();
}
