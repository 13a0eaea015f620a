//! Attention fusion mechanism (AFM): channel attention on each stream's map, then a weighted sum; and the plain fusions
//! that the paper compares it with (Table III).

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;

use super::resnet::global_average;
use crate::infer::architecture::{AttentionForm, Fusion};

/// Channel attention matrices `[n, c, c]` of maps `[n, c, h, w]`; every row sums to one.
pub fn attention<B: Backend>(map: Tensor<B, 4>, form: AttentionForm) -> Tensor<B, 3> {
    let x: Tensor<B, 3> = map.flatten(2, 3);
    let energy = x.clone().matmul(x.transpose());
    match form {
        // softmax is blind to a constant a row, so softmax(rowmax(E) - E) = softmax(-E).
        AttentionForm::Danet => softmax(energy.neg(), 2),
        AttentionForm::Printed => softmax(energy, 2),
    }
}

/// The attended map M X, `[n, c, h, w]`; with a residual scalar gamma `[1]`, gamma M X + X.
pub fn attend<B: Backend>(map: Tensor<B, 4>, form: AttentionForm, gamma: Option<Tensor<B, 1>>) -> Tensor<B, 4> {
    let shape = map.dims();
    let x: Tensor<B, 3> = map.clone().flatten(2, 3);
    let attended = attention(map.clone(), form).matmul(x).reshape(shape);
    match gamma {
        Some(gamma) => attended.mul(gamma.reshape([1, 1, 1, 1])).add(map),
        None => attended,
    }
}

/// One pooled feature from two maps by a plain fusion.
///
/// # Shapes
/// `[n, c, h, w] x 2 -> [n, c]`, or `[n, 2 c]` for [`Fusion::Concat`]. [`Fusion::Afm`] counts as a sum here: its weights
/// and attention are applied before.
pub fn fuse_plain<B: Backend>(fusion: Fusion, spatial: Tensor<B, 4>, residual: Tensor<B, 4>) -> Tensor<B, 2> {
    let (s, r) = (global_average(spatial), global_average(residual));
    match fusion {
        Fusion::Afm | Fusion::Sum => s.add(r),
        Fusion::Max => s.max_pair(r),
        Fusion::Min => s.min_pair(r),
        Fusion::Concat => Tensor::cat(vec![s, r], 1),
    }
}

/// Stream weights `(w_spatial, w_residual)` from the two mean stream losses of an epoch: softmax of the negated losses,
/// so the stream with the larger loss weighs less and both sum to one (paper, eq. 14).
pub fn stream_weights(loss_spatial: f64, loss_residual: f64) -> (f64, f64) {
    let w_spatial = 1.0 / (1.0 + (loss_spatial - loss_residual).exp());
    (w_spatial, 1.0 - w_spatial)
}
