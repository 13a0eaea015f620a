//! The guided residual in burn tensor operations: any backend, used in training and wherever there is no WGSL.
//!
//! A box mean is two products with banded matrices (one a side), so its cost does not depend on the radius and no
//! running sum loses digits in f32. Intensities are centred at 0.5 first, which changes nothing but rounding.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use crate::infer::architecture::{GuideMode, GuidedFilterConfig};

/// |I - q| on the 0..1 scale.
///
/// # Shapes
/// `[n, 3, h, w] -> [n, 3, h, w]`
pub fn residual<B: Backend>(unit: Tensor<B, 4>, config: &GuidedFilterConfig) -> Tensor<B, 4> {
    let [_, _, height, width] = unit.dims();
    let window = Window::new(height, width, config.radius_px, &unit.device());
    let i = unit.sub_scalar(0.5);
    let q = match config.mode {
        GuideMode::PerChannel => filter_channels(i.clone(), config.eps, &window),
        GuideMode::Colour => filter_colour(i.clone(), config.eps, &window),
    };
    i.sub(q).abs()
}

fn filter_channels<B: Backend>(i: Tensor<B, 4>, eps: f64, window: &Window<B>) -> Tensor<B, 4> {
    let mean = window.mean(i.clone());
    let var = window.mean(i.clone().mul(i.clone())).sub(mean.clone().mul(mean.clone())).clamp_min(0.0);
    let a = var.clone().div(var.add_scalar(eps));
    let b = mean.clone().sub(a.clone().mul(mean));
    window.mean(a).mul(i).add(window.mean(b))
}

fn filter_colour<B: Backend>(i: Tensor<B, 4>, eps: f64, window: &Window<B>) -> Tensor<B, 4> {
    let channels: [Tensor<B, 4>; 3] = [0, 1, 2].map(|c| i.clone().narrow(1, c, 1));
    let means = channels.clone().map(|channel| window.mean(channel));
    let cov = |j: usize, k: usize| {
        let corr = window.mean(channels[j].clone().mul(channels[k].clone()));
        corr.sub(means[j].clone().mul(means[k].clone()))
    };
    let (c00, c01, c02, c11, c12, c22) = (cov(0, 0), cov(0, 1), cov(0, 2), cov(1, 1), cov(1, 2), cov(2, 2));
    let (d0, s11, s22) = (c00.add_scalar(eps), c11.add_scalar(eps), c22.add_scalar(eps));
    // The inverse by an LDL^T factorisation: across an edge the channels move together, the matrix is singular but for
    // eps, and the determinant of the textbook formula would drown in rounding.
    let (l10, l20) = (c01.clone().div(d0.clone()), c02.clone().div(d0.clone()));
    let d1 = s11.sub(l10.clone().mul(c01.clone()));
    let below = c12.clone().sub(l20.clone().mul(c01.clone()));
    let l21 = below.clone().div(d1.clone());
    let d2 = s22.sub(l20.clone().mul(c02.clone())).sub(l21.clone().mul(below));
    let m20 = l10.clone().mul(l21.clone()).sub(l20);
    let i22 = d2.recip();
    let (i12, i02) = (l21.clone().neg().mul(i22.clone()), m20.clone().mul(i22.clone()));
    let i11 = d1.clone().recip().sub(l21.clone().mul(i12.clone()));
    let i01 = l10.clone().neg().div(d1.clone()).sub(l21.mul(i02.clone()));
    let i00 = d0.recip().add(l10.clone().mul(l10).div(d1)).add(m20.mul(i02.clone()));
    let inverse = [[&i00, &i01, &i02], [&i01, &i11, &i12], [&i02, &i12, &i22]];
    let filtered = [0, 1, 2].map(|c| {
        let a = [0, 1, 2].map(|row: usize| {
            // (Sigma + eps U)^-1 Sigma = U - eps (Sigma + eps U)^-1
            let scaled = inverse[row][c].clone().mul_scalar(-eps);
            if row == c { scaled.add_scalar(1.0) } else { scaled }
        });
        let along = |values: &[Tensor<B, 4>; 3]| sum3([0, 1, 2].map(|k: usize| a[k].clone().mul(values[k].clone())));
        let b = means[c].clone().sub(along(&means));
        let mean_a = a.clone().map(|a| window.mean(a));
        sum3([0, 1, 2].map(|k: usize| mean_a[k].clone().mul(channels[k].clone()))).add(window.mean(b))
    });
    Tensor::cat(filtered.to_vec(), 1)
}

fn sum3<B: Backend>([x, y, z]: [Tensor<B, 4>; 3]) -> Tensor<B, 4> {
    x.add(y).add(z)
}

/// The two banded matrices that take the mean of a clipped window along a row and along a column.
struct Window<B: Backend> {
    along_height: Tensor<B, 2>,
    along_width: Tensor<B, 2>,
}

impl<B: Backend> Window<B> {
    fn new(height: usize, width: usize, radius: usize, device: &B::Device) -> Self {
        let along_height = banded(height, radius, device);
        let along_width = if height == width { along_height.clone() } else { banded(width, radius, device) };
        Window { along_height, along_width }
    }

    fn mean(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [n, c, h, w] = x.dims();
        let rows = x.reshape([n * c * h, w]).matmul(self.along_width.clone()).reshape([n, c, h, w]);
        let columns = rows.swap_dims(2, 3).reshape([n * c * w, h]).matmul(self.along_height.clone());
        columns.reshape([n, c, w, h]).swap_dims(2, 3)
    }
}

/// `m[j][k]` = 1 / count(k) where |j - k| <= radius, else 0, so that `x m` holds the means of `x`'s clipped windows.
fn banded<B: Backend>(length: usize, radius: usize, device: &B::Device) -> Tensor<B, 2> {
    let mut data = vec![0f32; length * length];
    for k in 0..length {
        let (low, high) = (k.saturating_sub(radius), (k + radius).min(length - 1));
        for j in low..=high {
            data[j * length + k] = 1.0 / (high - low + 1) as f32;
        }
    }
    Tensor::from_data(TensorData::new(data, [length, length]), device)
}
