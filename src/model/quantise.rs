//! Weights as int8 with one scale per output channel. Rounding each to its nearest level leaves errors whose sum in a kernel
//! or channel is far from zero, and since what a layer sees is positive on average (after ReLU), that sum shifts its output.
//! So the few weights nearest to the middle between two levels go to the other one, until the errors of a channel sum up to
//! half a level at the most, and those of a kernel to one (SQuant, Guo et al. 2022).

/// Quantised weights, and the scale of each output channel: `weight = level * scale`. `shape` has the output channels first
/// and, for convolutions, the kernel's two sides last.
pub fn quantise(values: &[f32], shape: &[usize]) -> (Vec<i8>, Vec<f32>) {
    let kernel: usize = shape.iter().skip(2).product();
    let mut levels = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(shape[0]);
    for channel in values.chunks(values.len() / shape[0]) {
        let scale = channel.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-12) / 127.0;
        let mut rounded: Vec<Rounded> = channel.iter().map(|v| Rounded::nearest(v / scale)).collect();
        let mut kernels: Vec<&mut [Rounded]> = rounded.chunks_mut(kernel).collect();
        for kernel in &mut kernels {
            let excess = excess(kernel);
            for _ in 0..steps(excess) {
                move_one(kernel, excess);
            }
        }
        let excess_of_all: f32 = kernels.iter().map(|kernel| excess(kernel)).sum();
        // One weight each of the kernels that lean that way most.
        kernels.sort_by(|a, b| (excess(b) * excess_of_all).total_cmp(&(excess(a) * excess_of_all)));
        for kernel in kernels.iter_mut().take(steps(excess_of_all)) {
            move_one(kernel, excess_of_all);
        }
        levels.extend(rounded.iter().map(|one| one.level as i8));
        scales.push(scale);
    }
    (levels, scales)
}

/// A weight in units of its scale.
#[derive(Debug, Clone, Copy)]
struct Rounded {
    /// -127..=127.
    level: f32,
    /// Level less weight.
    error: f32,
}

impl Rounded {
    fn nearest(value: f32) -> Self {
        Rounded { level: value.round(), error: value.round() - value }
    }
}

fn excess(kernel: &[Rounded]) -> f32 {
    kernel.iter().map(|one| one.error).sum()
}

/// How many weights have to move by one level.
fn steps(excess: f32) -> usize {
    excess.abs().round() as usize
}

/// Moves the weight that lies furthest on the side of the excess by one level to the other.
fn move_one(kernel: &mut [Rounded], excess: f32) {
    let side = excess.signum();
    let furthest = kernel.iter_mut().max_by(|a, b| (a.error * side).total_cmp(&(b.error * side)));
    // The outermost level is exact, so that nothing moves beyond it.
    if let Some(one) = furthest.filter(|one| one.error * side > 0.0) {
        one.level -= side;
        one.error -= side;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 4] = [6, 40, 3, 3];

    /// Uniform numbers in 0..1 (xorshift).
    fn noise(seed: u32) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 24) as f32
        }
    }

    fn weights() -> Vec<f32> {
        let mut noise = noise(5);
        // Sums of uniform numbers: most are small, as in a network.
        (0..SHAPE.iter().product()).map(|_| (0..4).map(|_| 0.2 * noise() - 0.1).sum()).collect()
    }

    /// Errors in levels.
    fn errors(values: &[f32], levels: &[i8], scales: &[f32]) -> Vec<f32> {
        let row = values.len() / scales.len();
        values.iter().zip(levels).enumerate().map(|(k, (v, level))| f32::from(*level) - v / scales[k / row]).collect()
    }

    #[test]
    fn errors_balance_in_channels_and_kernels() {
        let values = weights();
        let (levels, scales) = quantise(&values, &SHAPE);
        let errors = errors(&values, &levels, &scales);
        assert!(errors.iter().all(|e| e.abs() <= 1.001), "no weight moves by more than a level");
        for kernel in errors.chunks(9) {
            assert!(kernel.iter().sum::<f32>().abs() <= 1.001);
        }
        let nearest = values
            .iter()
            .enumerate()
            .map(|(k, v)| (v / scales[k / 360]).round() - v / scales[k / 360])
            .collect::<Vec<f32>>();
        let sums = |errors: &[f32]| errors.chunks(360).map(|c| c.iter().sum::<f32>().abs()).fold(0f32, f32::max);
        assert!(sums(&errors) <= 0.51, "{}", sums(&errors));
        assert!(sums(&nearest) > 2.0, "rounding to the nearest level would do as well: {}", sums(&nearest));
    }

    #[test]
    fn a_positive_input_comes_out_nearer_than_with_nearest_levels() {
        let values = weights();
        let (levels, scales) = quantise(&values, &SHAPE);
        let nearest: Vec<i8> = values.iter().enumerate().map(|(k, v)| (v / scales[k / 360]).round() as i8).collect();
        let mut noise = noise(6);
        let mut squares = [0.0; 2];
        for _ in 0..200 {
            let input: Vec<f32> = (0..360).map(|_| noise()).collect();
            for (square, levels) in squares.iter_mut().zip([&levels, &nearest]) {
                for channel in errors(&values, levels, &scales).chunks(360) {
                    *square += channel.iter().zip(&input).map(|(e, x)| f64::from(e * x)).sum::<f64>().powi(2);
                }
            }
        }
        assert!(squares[0] < 0.5 * squares[1], "{squares:?}");
    }

    #[test]
    fn what_lies_on_the_levels_stays_and_single_weights_are_balanced_by_channel_alone() {
        let exact: Vec<f32> = (-127..=127).map(|level| level as f32 * 0.5).collect();
        assert_eq!(quantise(&exact, &[1, 255]).0, (-127..=127).collect::<Vec<i8>>());
        let (levels, scales) = quantise(&[127.0, 0.4, 0.4, 0.4, 0.4, 0.4], &[1, 6]);
        assert_eq!(levels.iter().map(|l| i32::from(*l)).sum::<i32>(), 129, "{levels:?} of scale {scales:?}");
    }
}
