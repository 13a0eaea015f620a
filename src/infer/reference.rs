//! The network as plain loops in f64: the specification that the engines are tested against. Slow, and obviously right.

mod guided;

use super::architecture::{AttentionForm, Fusion, IMAGENET_MEAN, IMAGENET_STD};
use super::network::{Conv, Linear, Network, Trunk};
use super::{Outputs, Units};
pub use guided::{box_mean, filter, residual};

/// A stack of maps, `[channels, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// How many maps.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The values.
    pub values: Vec<f64>,
}

impl Map {
    /// Maps whose values are `value(channel, y, x)`.
    pub fn of(channels: usize, height: usize, width: usize, value: impl Fn(usize, usize, usize) -> f64) -> Map {
        let mut values = Vec::with_capacity(channels * height * width);
        for channel in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    values.push(value(channel, y, x));
                }
            }
        }
        Map { channels, height, width, values }
    }

    /// Maps of given values.
    ///
    /// # Panics
    /// If there are not `channels * height * width` values.
    pub fn from_f32(channels: usize, height: usize, width: usize, values: &[f32]) -> Map {
        assert_eq!(values.len(), channels * height * width, "values of maps");
        Map { channels, height, width, values: values.iter().map(|value| f64::from(*value)).collect() }
    }

    /// The value at a place, or `None` beside the map.
    fn at(&self, channel: usize, y: isize, x: isize) -> Option<f64> {
        let inside = (0..self.height as isize).contains(&y) && (0..self.width as isize).contains(&x);
        inside.then(|| self.values[(channel * self.height + y as usize) * self.width + x as usize])
    }

    /// The maps, one by one.
    fn planes(&self) -> std::slice::Chunks<'_, f64> {
        self.values.chunks(self.height * self.width)
    }

    /// Each value through `with`.
    pub fn map(mut self, with: impl Fn(f64) -> f64) -> Map {
        self.values.iter_mut().for_each(|value| *value = with(*value));
        self
    }

    /// Sums (or whatever `with` makes) of values at the same place of maps of the same shape.
    pub fn zip(mut self, other: &Map, with: impl Fn(f64, f64) -> f64) -> Map {
        assert_eq!(self.values.len(), other.values.len(), "maps of one shape");
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a = with(*a, *b));
        self
    }
}

/// What the network says of each crop.
pub fn outputs(network: &Network, crops: &Units) -> Vec<Outputs> {
    (0..crops.n).map(|index| of_crop(network, crops.crop(index), crops.height, crops.width)).collect()
}

fn of_crop(network: &Network, crop: &[f32], height: usize, width: usize) -> Outputs {
    let unit = Map::from_f32(3, height, width, crop);
    let traces = residual(&unit.values, height, width, &network.mte);
    let traces = Map { values: traces, ..unit }.map(|value| value * network.config.residual_gain);
    let [early_s, spatial] = trunk(&network.spatial, &normalise(crop, height, width));
    let [early_r, residual] = trunk(&network.residual, &traces);
    heads(network, &[early_s, early_r], &spatial, &residual)
}

/// (x - mean) / std, by channel.
pub fn normalise(unit: &[f32], height: usize, width: usize) -> Map {
    let at = |channel: usize, y: usize, x: usize| f64::from(unit[(channel * height + y) * width + x]);
    Map::of(3, height, width, |channel, y, x| {
        (at(channel, y, x) - f64::from(IMAGENET_MEAN[channel])) / f64::from(IMAGENET_STD[channel])
    })
}

/// Everything after the trunks; `early` are the first stage's maps of both streams.
pub fn heads(network: &Network, early: &[Map; 2], spatial: &Map, residual: &Map) -> Outputs {
    let fused = fused_map(network, spatial, residual);
    let (places_height, places_width) = (spatial.height, spatial.width);
    let area = places_height * places_width;
    let places = (0..area).flat_map(|place| {
        let feature: Vec<f64> = fused.values.iter().skip(place).step_by(area).copied().collect();
        linear(&network.fc, &feature)
    });
    Outputs {
        fused: to_f32(&linear(&network.fc, &average(&fused))),
        spatial: to_f32(&linear(&network.fc_s, &average(spatial))),
        residual: to_f32(&linear(&network.fc_r, &average(residual))),
        places: to_f32(&places.collect::<Vec<f64>>()),
        places_height,
        places_width,
        early: to_f32(&early.iter().flat_map(statistics).collect::<Vec<f64>>()),
    }
}

fn to_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// The map whose average is the feature that the classifier reads. Averaging and a linear classifier commute; of a maximum
/// or minimum of averages, the stream that wins a channel gives its whole map.
pub fn fused_map(network: &Network, spatial: &Map, residual: &Map) -> Map {
    let config = &network.config;
    let choose = |spatial_wins: fn(&f64, &f64) -> bool| {
        let (s, r) = (average(spatial), average(residual));
        let area = spatial.height * spatial.width;
        let values = (0..spatial.values.len()).map(|index| {
            let channel = index / area;
            if spatial_wins(&s[channel], &r[channel]) { spatial.values[index] } else { residual.values[index] }
        });
        Map { values: values.collect(), ..*spatial }
    };
    match config.fusion {
        Fusion::Afm => {
            let gamma = |gamma: f32| config.attention_residual.then_some(f64::from(gamma));
            let s = attend(spatial, config.attention, gamma(network.gamma_s));
            let r = attend(residual, config.attention, gamma(network.gamma_r));
            s.zip(&r, |s, r| config.w_spatial * s + (1.0 - config.w_spatial) * r)
        }
        Fusion::Sum => spatial.clone().zip(residual, |s, r| s + r),
        Fusion::Max => choose(f64::ge),
        Fusion::Min => choose(f64::le),
        Fusion::Concat => {
            let values = spatial.values.iter().chain(&residual.values).copied().collect();
            Map { channels: spatial.channels + residual.channels, values, ..*spatial }
        }
    }
}

/// The channel attention matrix `[channels, channels]`: softmax over each row of E = X X^T, or of -E.
pub fn attention(map: &Map, form: AttentionForm) -> Vec<f64> {
    let rows: Vec<&[f64]> = map.planes().collect();
    let sign = match form {
        // softmax is blind to a constant a row, so softmax(rowmax(E) - E) = softmax(-E).
        AttentionForm::Danet => -1.0,
        AttentionForm::Printed => 1.0,
    };
    let softmax = |row: &&[f64]| {
        let energy: Vec<f64> =
            rows.iter().map(|other| sign * row.iter().zip(*other).map(|(a, b)| a * b).sum::<f64>()).collect();
        let top = energy.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = energy.iter().map(|value| (value - top).exp()).collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(move |share| share / sum).collect::<Vec<f64>>()
    };
    rows.iter().flat_map(softmax).collect()
}

/// The attended map M X; with a residual scalar gamma, gamma M X + X.
pub fn attend(map: &Map, form: AttentionForm, gamma: Option<f64>) -> Map {
    let weights = attention(map, form);
    let area = map.height * map.width;
    let attended = weights.chunks(map.channels).flat_map(|row| {
        (0..area).map(|place| {
            let column = map.values.iter().skip(place).step_by(area);
            row.iter().zip(column).map(|(weight, value)| weight * value).sum::<f64>()
        })
    });
    let attended = Map { values: attended.collect(), ..*map };
    match gamma {
        Some(gamma) => attended.zip(map, |attended, value| gamma * attended + value),
        None => attended,
    }
}

/// Mean of each map.
pub fn average(map: &Map) -> Vec<f64> {
    map.planes().map(|plane| plane.iter().sum::<f64>() / plane.len() as f64).collect()
}

/// Mean of each map, then (biased) standard deviation of each map.
pub fn statistics(map: &Map) -> Vec<f64> {
    let means = average(map);
    let deviation = |(plane, mean): (&[f64], &f64)| {
        (plane.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / plane.len() as f64).sqrt()
    };
    let deviations: Vec<f64> = map.planes().zip(&means).map(deviation).collect();
    [means, deviations].concat()
}

/// W x + b.
pub fn linear(head: &Linear, feature: &[f64]) -> Vec<f64> {
    assert_eq!(feature.len(), head.inputs(), "a head reads features of its width");
    let row = |(weights, bias): (&[f32], &f32)| {
        f64::from(*bias) + weights.iter().zip(feature).map(|(weight, value)| f64::from(*weight) * value).sum::<f64>()
    };
    head.weight.chunks(head.inputs()).zip(&head.bias).map(row).collect()
}

/// The maps after the first stage, and the last ones.
pub fn trunk(trunk: &Trunk, x: &Map) -> [Map; 2] {
    let mut x = max_pool(&conv(&trunk.stem, x).map(relu));
    let mut early = None;
    for (index, block) in trunk.blocks.iter().enumerate() {
        let inner = conv(&block.first, &x).map(relu);
        let skip = block.skip.as_ref().map_or_else(|| x.clone(), |skip| conv(skip, &x));
        x = conv(&block.second, &inner).zip(&skip, |a, b| relu(a + b));
        if index == 1 {
            early = Some(x.clone());
        }
    }
    [early.expect("a trunk has more than two blocks"), x]
}

fn relu(value: f64) -> f64 {
    value.max(0.0)
}

/// A convolution with its bias; beside the map lie zeros.
pub fn conv(conv: &Conv, x: &Map) -> Map {
    assert_eq!(x.channels, conv.channels_in, "a convolution reads maps of its width");
    let (kernel, pad) = (conv.kernel, conv.kernel / 2);
    let bias = |channel: usize, _, _| f64::from(conv.bias[channel]);
    let mut out = Map::of(conv.channels_out, conv.side_out(x.height), conv.side_out(x.width), bias);
    let (area, width) = (out.height * out.width, out.width);
    for (index, weight) in conv.weight.plain().iter().enumerate() {
        let (pair, tap) = (index / (kernel * kernel), index % (kernel * kernel));
        let (channel, plane) = (pair / x.channels, pair % x.channels);
        let (dy, dx) = (tap / kernel, tap % kernel);
        let from = &x.values[plane * x.height * x.width..][..x.height * x.width];
        // Of the outputs along one axis those whose tap lies inside the input: `first..end`.
        let inside = |delta: usize, length: usize, outputs: usize| {
            let first = pad.saturating_sub(delta).div_ceil(conv.stride);
            first..outputs.min((length + pad).saturating_sub(delta).div_ceil(conv.stride)).max(first)
        };
        for y in inside(dy, x.height, out.height) {
            let from = &from[(y * conv.stride + dy - pad) * x.width..][..x.width];
            let to = &mut out.values[channel * area + y * width..][..width];
            for at in inside(dx, x.width, width) {
                to[at] += f64::from(*weight) * from[at * conv.stride + dx - pad];
            }
        }
    }
    out
}

/// Maximum over 3x3, stride 2; what lies beside the map does not count.
pub fn max_pool(x: &Map) -> Map {
    let side = |length: usize| (length - 1) / 2 + 1;
    Map::of(x.channels, side(x.height), side(x.width), |channel, y, x_out| {
        let (top, left) = (2 * y as isize - 1, 2 * x_out as isize - 1);
        let window = (0..9).filter_map(|tap| x.at(channel, top + tap / 3, left + tap % 3));
        window.fold(f64::NEG_INFINITY, f64::max)
    })
}
