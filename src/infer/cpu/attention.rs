//! Channel attention and everything behind the trunks.
//!
//! The attended map M X is never made: a classifier that reads it is a row vector f, and f (M X) = (f M) X. So the attention
//! costs the energies E = X X^T, their exponentials, and a sum over their rows for each class.

use super::super::Outputs;
use super::super::architecture::{AttentionForm, FEATURES, Fusion};
use super::super::network::{Linear, Network};
use super::conv::Size;
use super::gemm::{Runs, Walk, sums, with_rows};
use super::pack::{self, Aligned, BLOCK};
use super::simd::{Isa, Kernels, Task};

/// The last maps of one picture of a batch, as a trunk leaves them.
#[derive(Debug, Clone, Copy)]
pub struct LastMaps<'a> {
    /// The batch.
    pub values: &'a [f32],
    /// Its size.
    pub size: Size,
    /// Which picture.
    pub image: usize,
}

impl LastMaps<'_> {
    fn area(&self) -> usize {
        self.size.height * self.size.width
    }

    /// The values of a block of channels at a place.
    #[inline(always)]
    fn at(&self, block: usize, place: usize) -> &[f32] {
        let start = block * pack::block_length(self.size.places()) + (1 + self.image * self.area() + place) * BLOCK;
        &self.values[start..start + BLOCK]
    }

    /// Mean of each map.
    fn average(&self) -> Vec<f64> {
        let mut average = vec![0.0; FEATURES];
        for (block, sums) in average.chunks_mut(BLOCK).enumerate() {
            for place in 0..self.area() {
                sums.iter_mut().zip(self.at(block, place)).for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        average.iter_mut().for_each(|sum| *sum /= self.area() as f64);
        average
    }

    /// w . x at a place.
    fn dot(&self, weights: &[f32], place: usize) -> f64 {
        let mut sums = [0f64; BLOCK];
        for (block, weights) in weights.chunks(BLOCK).enumerate() {
            let values = sums.iter_mut().zip(weights).zip(self.at(block, place));
            values.for_each(|((sum, weight), value)| *sum += f64::from(*weight) * f64::from(*value));
        }
        sums.iter().sum()
    }
}

/// Everything after the trunks; `early` are the statistics of both streams.
pub fn heads(kernels: Kernels, network: &Network, [spatial, residual]: [LastMaps<'_>; 2], early: Vec<f32>) -> Outputs {
    let averages = [spatial.average(), residual.average()];
    let [for_s, for_r] = fused_rows(kernels, network, [spatial, residual], &averages);
    let (classes, area) = (network.config.classes, spatial.area());
    let mut places = Vec::with_capacity(area * classes);
    let mut fused = vec![0f64; classes];
    for place in 0..area {
        for (class, fused) in fused.iter_mut().enumerate() {
            let row = class * FEATURES..(class + 1) * FEATURES;
            let sum = spatial.dot(&for_s[row.clone()], place) + residual.dot(&for_r[row], place);
            let logit = sum + f64::from(network.fc.bias[class]);
            *fused += logit / area as f64;
            places.push(logit as f32);
        }
    }
    Outputs {
        fused: fused.into_iter().map(|logit| logit as f32).collect(),
        spatial: linear(&network.fc_s, &averages[0]),
        residual: linear(&network.fc_r, &averages[1]),
        places,
        places_height: spatial.size.height,
        places_width: spatial.size.width,
        early,
    }
}

fn linear(head: &Linear, feature: &[f64]) -> Vec<f32> {
    let row = |(weights, bias): (&[f32], &f32)| {
        let sum: f64 = weights.iter().zip(feature).map(|(weight, value)| f64::from(*weight) * value).sum();
        (sum + f64::from(*bias)) as f32
    };
    head.weight.chunks(head.inputs()).zip(&head.bias).map(row).collect()
}

/// The classifier as rows on the plain maps of either stream, `[classes, FEATURES]` each: whatever the fusion, the logits
/// at a place are the sum of both rows times the maps there.
fn fused_rows(
    kernels: Kernels,
    network: &Network,
    [spatial, residual]: [LastMaps<'_>; 2],
    averages: &[Vec<f64>; 2],
) -> [Vec<f32>; 2] {
    let (config, fc) = (&network.config, &network.fc);
    match config.fusion {
        Fusion::Afm => {
            let attended = |maps, gamma: f32, weight: f64| {
                let (attended, plain) = if config.attention_residual { (gamma, 1.0) } else { (1.0, 0.0) };
                let mut rows = vec![0.0; fc.weight.len()];
                let task = Attend { maps, form: config.attention, rows: &fc.weight, out: &mut rows };
                kernels.run(task);
                let scaled = |(row, own): (&f32, &f32)| {
                    (weight * (f64::from(attended) * f64::from(*row) + plain * f64::from(*own))) as f32
                };
                rows.iter().zip(&fc.weight).map(scaled).collect()
            };
            [
                attended(spatial, network.gamma_s, config.w_spatial),
                attended(residual, network.gamma_r, 1.0 - config.w_spatial),
            ]
        }
        Fusion::Sum => [fc.weight.clone(), fc.weight.clone()],
        Fusion::Max => chosen(&fc.weight, averages, f64::ge),
        Fusion::Min => chosen(&fc.weight, averages, f64::le),
        Fusion::Concat => {
            let rows = fc.weight.chunks(2 * FEATURES);
            let half = |row: &[f32], start: usize| row[start..start + FEATURES].to_vec();
            [rows.clone().flat_map(|row| half(row, 0)).collect(), rows.flat_map(|row| half(row, FEATURES)).collect()]
        }
    }
}

/// Each channel's weight goes to the stream whose average wins.
fn chosen(weight: &[f32], [s, r]: &[Vec<f64>; 2], spatial_wins: fn(&f64, &f64) -> bool) -> [Vec<f32>; 2] {
    let pick = |spatial: bool| {
        let keep = |(index, weight): (usize, &f32)| {
            let channel = index % FEATURES;
            if spatial_wins(&s[channel], &r[channel]) == spatial { *weight } else { 0.0 }
        };
        weight.iter().enumerate().map(keep).collect()
    };
    [pick(true), pick(false)]
}

/// rows M of the channel attention matrix M, for several rows of [`FEATURES`] values.
struct Attend<'a> {
    maps: LastMaps<'a>,
    form: AttentionForm,
    rows: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Attend { maps, form, rows, out } = self;
        let area = maps.area();
        let panel = 2 * I::LANES;
        // X with the places of a channel side by side, and X as panels for the matrix kernel.
        let mut lines = vec![0f32; FEATURES * area];
        let mut panels = Aligned::zeros(FEATURES * area);
        for block in 0..FEATURES / BLOCK {
            for place in 0..area {
                for (lane, value) in maps.at(block, place).iter().enumerate() {
                    let channel = block * BLOCK + lane;
                    lines[channel * area + place] = *value;
                    panels[(channel / panel * area + place) * panel + channel % panel] = *value;
                }
            }
        }
        let walk = Walk { blocks: 1, block_stride: 0, depth: area };
        let mut energies = Aligned::zeros(I::ROWS * FEATURES);
        for (first, count) in Runs::new(FEATURES, I::ROWS) {
            for (index, weights) in panels.chunks_exact(area * panel).enumerate() {
                let to = &mut energies[index * panel..];
                with_rows!(count, I::ROWS, ROWS => multiply::<I, ROWS>(isa, &lines, first * area, walk, weights, to));
            }
            for (channel, energies) in (first..first + count).zip(energies.chunks_exact_mut(FEATURES)) {
                let sum = softmax(energies, form);
                for (row, out) in rows.chunks_exact(FEATURES).zip(out.chunks_exact_mut(FEATURES)) {
                    let factor = row[channel] / sum;
                    out.iter_mut().zip(&*energies).for_each(|(out, share)| *out += factor * share);
                }
            }
        }
    }
}

#[inline(always)]
fn multiply<I: Isa, const ROWS: usize>(
    isa: I,
    lines: &[f32],
    first: usize,
    walk: Walk,
    weights: &[f32],
    to: &mut [f32],
) {
    let mut starts = [0u32; ROWS];
    for (row, start) in starts.iter_mut().enumerate() {
        *start = (first + row * walk.depth) as u32;
    }
    for (row, sums) in sums::<I, f32, ROWS>(isa, lines, &[starts], walk, weights).into_iter().enumerate() {
        let to = &mut to[row * FEATURES..][..2 * I::LANES];
        isa.store(sums[0], to);
        isa.store(sums[1], &mut to[I::LANES..]);
    }
}

/// Replaces a row of energies by the exponentials that softmax divides by their sum, and gives the sum.
#[inline(always)]
fn softmax(row: &mut [f32], form: AttentionForm) -> f32 {
    let sign = match form {
        // softmax is blind to a constant a row, so softmax(rowmax(E) - E) = softmax(-E).
        AttentionForm::Danet => -1.0,
        AttentionForm::Printed => 1.0,
    };
    // Sixteen at a time, so that the maximum and the sum are vectors too.
    let mut tops = [f32::NEG_INFINITY; 16];
    for values in row.chunks_exact(16) {
        for lane in 0..16 {
            let value = sign * values[lane];
            tops[lane] = if value > tops[lane] { value } else { tops[lane] };
        }
    }
    let top = tops.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0f32; 16];
    for values in row.chunks_exact_mut(16) {
        for lane in 0..16 {
            values[lane] = exp(sign * values[lane] - top);
            sums[lane] += values[lane];
        }
    }
    sums.into_iter().sum()
}

/// e^x for x <= 0, to 2e-7 of the value; 0 to 1e-38 below. No branches, so that loops over it become vectors.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding it leaves a number rounded to whole in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    // Taylor up to the sixth order: |rest| <= ln 2 / 2, and the seventh term is below 1.2e-7.
    let mut series = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + factor;
    }
    f32::from_bits(series.to_bits().wrapping_add(rounded.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exponentials_are_right_to_a_few_units_in_the_last_place() {
        for step in 0..8700 {
            let x = -0.01 * step as f32;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 4e-7, "e^{x}: {found}, expected {expected}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }
}
