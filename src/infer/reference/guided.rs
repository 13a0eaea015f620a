//! The guided residual |I - q| of He et al. in f64 (paper, eq. 1-8; specs: baselines 3.5), and the filter for whole
//! photos where precision matters more than speed.

use super::super::architecture::{GuideMode, GuidedFilterConfig};

/// |I - q| of one picture.
///
/// `unit` holds three channel planes of `height * width` values on the 0..1 scale (CHW); so does the result.
///
/// # Panics
/// If `unit` does not hold `3 * height * width` values.
pub fn residual(unit: &[f64], height: usize, width: usize, config: &GuidedFilterConfig) -> Vec<f64> {
    let filtered = filter(unit, height, width, config);
    unit.iter().zip(filtered).map(|(i, q)| (i - q).abs()).collect()
}

/// The filtered picture q, laid out like its input.
///
/// # Panics
/// If `unit` does not hold `3 * height * width` values.
pub fn filter(unit: &[f64], height: usize, width: usize, config: &GuidedFilterConfig) -> Vec<f64> {
    let area = height * width;
    assert_eq!(unit.len(), 3 * area, "a picture has three planes of height x width values");
    let planes: [&[f64]; 3] = [&unit[..area], &unit[area..2 * area], &unit[2 * area..]];
    let mean = |values: &[f64]| box_mean(values, height, width, config.radius_px);
    match config.mode {
        GuideMode::PerChannel => planes.iter().flat_map(|plane| filter_channel(plane, config.eps, &mean)).collect(),
        GuideMode::Colour => filter_colour(planes, config.eps, &mean),
    }
}

/// a = var / (var + eps), b = (1 - a) mean, q = mean(a) I + mean(b).
fn filter_channel(i: &[f64], eps: f64, mean: &impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mean_i = mean(i);
    let mean_ii = mean(&product(i, i));
    let a: Vec<f64> = mean_i.iter().zip(&mean_ii).map(|(m, mm)| (mm - m * m) / (mm - m * m + eps)).collect();
    let b: Vec<f64> = a.iter().zip(&mean_i).map(|(a, m)| (1.0 - a) * m).collect();
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    (0..i.len()).map(|p| mean_a[p] * i[p] + mean_b[p]).collect()
}

/// a = (Sigma + eps U)^-1 cov(I, I_c), b = mean_c - a . mean, q_c = mean(a) . I + mean(b), for each channel c.
fn filter_colour(planes: [&[f64]; 3], eps: f64, mean: &impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let area = planes[0].len();
    let means = planes.map(mean);
    let corr: Vec<Vec<f64>> = (0..9).map(|k| mean(&product(planes[k / 3], planes[k % 3]))).collect();
    let mut result = Vec::with_capacity(3 * area);
    for c in 0..3 {
        let mut coefficients = [vec![0.0; area], vec![0.0; area], vec![0.0; area], vec![0.0; area]];
        for p in 0..area {
            let cov = |i: usize, j: usize| corr[3 * i + j][p] - means[i][p] * means[j][p];
            let sigma = [0, 1, 2].map(|i| [0, 1, 2].map(|j| cov(i, j) + if i == j { eps } else { 0.0 }));
            let a = solve3(sigma, [cov(0, c), cov(1, c), cov(2, c)]);
            coefficients[3][p] = means[c][p] - (0..3).map(|k| a[k] * means[k][p]).sum::<f64>();
            (0..3).for_each(|k| coefficients[k][p] = a[k]);
        }
        let [a0, a1, a2, b] = coefficients.map(|values| mean(&values));
        result.extend((0..area).map(|p| a0[p] * planes[0][p] + a1[p] * planes[1][p] + a2[p] * planes[2][p] + b[p]));
    }
    result
}

/// Cramer's rule.
fn solve3(m: [[f64; 3]; 3], rhs: [f64; 3]) -> [f64; 3] {
    let det = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    [0, 1, 2].map(|column| {
        let mut replaced = m;
        (0..3).for_each(|row| replaced[row][column] = rhs[row]);
        det(replaced) / det(m)
    })
}

/// Mean over the window of radius `radius` clipped at the border, divided by its true pixel count.
///
/// Separable running sums: one value enters and one leaves a step, whatever the radius; exact enough in f64.
pub fn box_mean(values: &[f64], height: usize, width: usize, radius: usize) -> Vec<f64> {
    let mut rows = vec![0.0; values.len()];
    for y in 0..height {
        mean_line(values, &mut rows, y * width, 1, width, radius);
    }
    let mut result = vec![0.0; values.len()];
    for x in 0..width {
        mean_line(&rows, &mut result, x, width, height, radius);
    }
    result
}

fn mean_line(from: &[f64], to: &mut [f64], start: usize, stride: usize, length: usize, radius: usize) {
    let at = |k: usize| from[start + k * stride];
    let mut sum: f64 = (0..radius.min(length)).map(at).sum();
    for k in 0..length {
        if k + radius < length {
            sum += at(k + radius);
        }
        if k > radius {
            sum -= at(k - radius - 1);
        }
        let count = (k + radius).min(length - 1) - k.saturating_sub(radius) + 1;
        to[start + k * stride] = sum / count as f64;
    }
}

fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition itself: every pixel of the window, counted.
    fn box_mean_by_definition(values: &[f64], height: usize, width: usize, radius: usize) -> Vec<f64> {
        let mut result = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut count) = (0.0, 0);
                for v in y.saturating_sub(radius)..=(y + radius).min(height - 1) {
                    for u in x.saturating_sub(radius)..=(x + radius).min(width - 1) {
                        sum += values[v * width + u];
                        count += 1;
                    }
                }
                result.push(sum / count as f64);
            }
        }
        result
    }

    #[test]
    fn running_sums_equal_the_definition() {
        for (height, width, radius) in [(1, 1, 3), (5, 9, 1), (7, 6, 2), (6, 13, 8), (3, 4, 40)] {
            let values: Vec<f64> = (0..height * width).map(|k| ((k * 37 + 11) % 53) as f64 / 53.0).collect();
            let fast = box_mean(&values, height, width, radius);
            let slow = box_mean_by_definition(&values, height, width, radius);
            for (fast, slow) in fast.iter().zip(&slow) {
                assert!((fast - slow).abs() < 1e-12, "{height}x{width} r{radius}: {fast} against {slow}");
            }
        }
    }

    #[test]
    fn another_radius_gives_another_mean() {
        let values: Vec<f64> = (0..48).map(|k| (k % 7) as f64).collect();
        assert_ne!(box_mean(&values, 6, 8, 1), box_mean_by_definition(&values, 6, 8, 2));
    }
}
