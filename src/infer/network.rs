//! The network's numbers, as the engines take them: every batch normalisation folded into the convolution before it.

use std::borrow::Cow;

use super::architecture::{EARLY_CHANNELS, FEATURES, GrNetConfig, GuidedFilterConfig, NORM_EPS, STAGES};
use crate::error::{Error, ErrorKind, Result};

/// Gives the values of a tensor of this name and shape.
type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Values> + 'a;

/// The numbers of a tensor, as a model file has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// One by one.
    Plain(Vec<f32>),
    /// Of an int8 file, a quarter of the memory: whole numbers, of which each part along the first axis has its own unit.
    Levels {
        /// -127 to 127.
        levels: Vec<i8>,
        /// As many as the first axis is long.
        units: Vec<f32>,
    },
}

impl Values {
    /// How many numbers.
    pub fn len(&self) -> usize {
        match self {
            Values::Plain(values) => values.len(),
            Values::Levels { levels, .. } => levels.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers one by one.
    pub fn plain(&self) -> Cow<'_, [f32]> {
        match self {
            Values::Plain(values) => Cow::Borrowed(values),
            Values::Levels { levels, units } => {
                let part = levels.len() / units.len().max(1);
                let parts = levels.chunks_exact(part.max(1)).zip(units);
                Cow::Owned(
                    parts.flat_map(|(part, unit)| part.iter().map(move |level| f32::from(*level) * unit)).collect(),
                )
            }
        }
    }

    /// The numbers one by one.
    pub fn into_plain(self) -> Vec<f32> {
        match self {
            Values::Plain(values) => values,
            levels @ Values::Levels { .. } => levels.plain().into_owned(),
        }
    }

    /// Multiplies each part along the first axis by its factor, in f64.
    fn scale(&mut self, factors: &[f64]) {
        let scale = |value: &mut f32, factor: f64| *value = (f64::from(*value) * factor) as f32;
        match self {
            Values::Plain(values) => {
                let part = values.len() / factors.len();
                let parts = values.chunks_exact_mut(part).zip(factors);
                parts.for_each(|(part, factor)| part.iter_mut().for_each(|value| scale(value, *factor)));
            }
            Values::Levels { units, .. } => {
                units.iter_mut().zip(factors).for_each(|(unit, factor)| scale(unit, *factor))
            }
        }
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Values {
        Values::Plain(values)
    }
}

/// A convolution with square kernel, zero padding of half the kernel, and bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Channels that it reads.
    pub channels_in: usize,
    /// Channels that it writes.
    pub channels_out: usize,
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// Pixels between two outputs, in both directions.
    pub stride: usize,
    /// `[channels_out, channels_in, kernel, kernel]`
    pub weight: Values,
    /// `[channels_out]`
    pub bias: Vec<f32>,
}

impl Conv {
    /// Side of the output for a side of the input.
    pub fn side_out(&self, side: usize) -> usize {
        (side + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }

    /// Reads `conv` and folds the normalisation `bn` into it, in f64.
    ///
    /// # Errors
    /// The first error of `source`; `BadWeights` for a variance below zero.
    fn folded(
        source: &mut Source<'_>,
        [conv, bn]: [&str; 2],
        [channels_in, channels_out]: [usize; 2],
        [kernel, stride]: [usize; 2],
    ) -> Result<Conv> {
        let mut weight = source(&format!("{conv}.weight"), &[channels_out, channels_in, kernel, kernel])?;
        let mut norm = |part: &str| source(&format!("{bn}.{part}"), &[channels_out]).map(Values::into_plain);
        let (gain, shift) = (norm("weight")?, norm("bias")?);
        let (mean, variance) = (norm("running_mean")?, norm("running_var")?);
        // Not even below zero by a rounding: the root would be no number, and neither would the verdict.
        if let Some(found) = variance.iter().find(|variance| **variance < 0.0) {
            let message = format!("tensor {bn}.running_var: expected variances of at least 0, found {found}");
            return Err(Error::new(ErrorKind::BadWeights, message));
        }
        let root = |variance: &f32| (f64::from(*variance) + NORM_EPS).sqrt();
        let scales: Vec<f64> = gain.iter().zip(&variance).map(|(gain, v)| f64::from(*gain) / root(v)).collect();
        weight.scale(&scales);
        let shifted = |(channel, scale): (usize, &f64)| f64::from(shift[channel]) - f64::from(mean[channel]) * scale;
        let bias = scales.iter().enumerate().map(|channel| shifted(channel) as f32).collect();
        Ok(Conv { channels_in, channels_out, kernel, stride, weight, bias })
    }
}

/// Two 3x3 convolutions with a skip (He et al. 2016): `relu(second(relu(first(x))) + skip(x))`.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The one that reads the block's input; it has the block's stride.
    pub first: Conv,
    /// The one whose output the skip is added to.
    pub second: Conv,
    /// 1x1, where the skip has to change size; else the skip is the input itself.
    pub skip: Option<Conv>,
}

/// ResNet-18 up to its last feature map: `relu(stem)`, max-pooling 3x3 with stride 2 and padding 1, eight blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// 7x7, stride 2.
    pub stem: Conv,
    /// Two for each of [`STAGES`].
    pub blocks: Vec<Block>,
}

impl Trunk {
    /// Reads a trunk whose tensors have torchvision's names after `prefix`, such as `spatial.`.
    ///
    /// # Errors
    /// The first error of `tensor`.
    pub fn new(prefix: &str, tensor: &mut Source<'_>) -> Result<Trunk> {
        let mut conv = |conv: &str, bn: &str, channels: [usize; 2], shape: [usize; 2]| {
            Conv::folded(tensor, [&format!("{prefix}{conv}"), &format!("{prefix}{bn}")], channels, shape)
        };
        let stem = conv("conv1", "bn1", [3, EARLY_CHANNELS], [7, 2])?;
        let mut blocks = Vec::with_capacity(2 * STAGES.len());
        let mut before = EARLY_CHANNELS;
        for (stage, channels) in (1..).zip(STAGES) {
            for (index, channels_in) in [before, channels].into_iter().enumerate() {
                let at = |part: &str| format!("layer{stage}.{index}.{part}");
                let stride = if channels_in == channels { 1 } else { 2 };
                let skip = || conv(&at("downsample.0"), &at("downsample.1"), [channels_in, channels], [1, stride]);
                let skip = (stride != 1).then(skip).transpose()?;
                blocks.push(Block {
                    first: conv(&at("conv1"), &at("bn1"), [channels_in, channels], [3, stride])?,
                    second: conv(&at("conv2"), &at("bn2"), [channels, channels], [3, 1])?,
                    skip,
                });
            }
            before = channels;
        }
        Ok(Trunk { stem, blocks })
    }
}

/// A classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Vec<f32>,
    /// `[outputs]`
    pub bias: Vec<f32>,
}

impl Linear {
    fn new(source: &mut Source<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        let mut values = |part: &str, shape: &[usize]| source(&format!("{name}.{part}"), shape).map(Values::into_plain);
        Ok(Linear { weight: values("weight", &[outputs, inputs])?, bias: values("bias", &[outputs])? })
    }

    /// Numbers that it reads.
    pub fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }
}

/// A network as it lies in a model file, batch normalisation folded into the convolutions.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The architecture.
    pub config: GrNetConfig,
    /// The guided filter of the residual stream.
    pub mte: GuidedFilterConfig,
    /// The stream that reads the normalised picture.
    pub spatial: Trunk,
    /// The stream that reads the guided residual times [`GrNetConfig::residual_gain`].
    pub residual: Trunk,
    /// The spatial stream's own head.
    pub fc_s: Linear,
    /// The residual stream's own head.
    pub fc_r: Linear,
    /// The classifier on the fused feature.
    pub fc: Linear,
    /// Residual scalar of the spatial stream's attention.
    pub gamma_s: f32,
    /// Residual scalar of the residual stream's attention.
    pub gamma_r: f32,
}

impl Network {
    /// `tensor(name, shape)` gives the values of a tensor of the model file; names are those of the file.
    ///
    /// # Errors
    /// The first error of `tensor`; [`crate::ErrorKind::BadUsage`] for a guided filter out of range.
    pub fn new(config: &GrNetConfig, mte: &GuidedFilterConfig, tensor: &mut Source<'_>) -> Result<Network> {
        mte.validate()?;
        let classes = config.classes;
        let number = |values: Values| values.plain()[0];
        Ok(Network {
            config: config.clone(),
            mte: mte.clone(),
            spatial: Trunk::new("spatial.", tensor)?,
            residual: Trunk::new("residual.", tensor)?,
            fc_s: Linear::new(tensor, "fc_s", FEATURES, classes)?,
            fc_r: Linear::new(tensor, "fc_r", FEATURES, classes)?,
            fc: Linear::new(tensor, "fc", config.fused_features(), classes)?,
            gamma_s: number(tensor("gamma_s", &[1])?),
            gamma_r: number(tensor("gamma_r", &[1])?),
        })
    }
}
