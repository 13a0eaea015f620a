//! Crops -> the tensors that the network reads.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::mte;
use crate::Result;
use crate::infer::architecture::{GuidedFilterConfig, IMAGENET_MEAN, IMAGENET_STD};
use crate::picture::{Rgb8, planes};

/// Stacks crops of one size into a tensor of 0..1.
///
/// # Shapes
/// `crops`: N pictures of H x W -> [N, 3, H, W].
///
/// # Panics
/// When `crops` is empty or the sizes differ.
pub fn batch_unit<B: Backend>(crops: &[Rgb8], device: &B::Device) -> Tensor<B, 4> {
    let (height, width) = crops.first().map(|crop| (crop.height, crop.width)).expect("a batch has at least one crop");
    Tensor::from_data(TensorData::new(planes(crops), [crops.len(), 3, height, width]), device)
}

/// Subtracts the ImageNet mean and divides by its standard deviation, by channel.
///
/// # Shapes
/// [N, 3, H, W] in 0..1 -> [N, 3, H, W].
pub fn normalise<B: Backend>(unit: Tensor<B, 4>) -> Tensor<B, 4> {
    let device = unit.device();
    let channels = |values: [f32; 3]| Tensor::<B, 1>::from_floats(values, &device).reshape([1, 3, 1, 1]);
    (unit - channels(IMAGENET_MEAN)) / channels(IMAGENET_STD)
}

/// What the two streams read of crops: the normalised picture and the guided residual, each `[n, 3, h, w]`.
pub(in crate::train) fn inputs<B: Backend>(
    crops: &[Rgb8],
    filter: &GuidedFilterConfig,
    device: &B::Device,
) -> [Tensor<B, 4>; 2] {
    let unit = batch_unit::<B>(crops, device);
    let residual = mte::tensor::residual(unit.clone(), filter);
    [normalise(unit), residual]
}

/// Values on 0..1 as a picture, clipped: `[1, 3, h, w]`.
pub(in crate::train) fn shown<B: Backend>(unit: Tensor<B, 4>) -> Result<Rgb8> {
    let [_, _, height, width] = unit.dims();
    let values = unit.mul_scalar(255.0).permute([0, 2, 3, 1]).into_data().convert::<f32>();
    Rgb8::new(height, width, values.iter::<f32>().map(|value| value.round().clamp(0.0, 255.0) as u8).collect())
}
