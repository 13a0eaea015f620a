//! The guided residual |I - q| in one pass over the rows, at a cost that does not depend on the radius.
//!
//! Sums over windows run: down the columns a row enters and a row leaves, along a row a column enters and a column leaves.
//! All quantities of a pixel (moments, then coefficients) are lanes of one vector. Sums are f64: a running sum in f32 loses
//! what the variance is made of.

use std::marker::PhantomData;

use super::super::architecture::{GuideMode, GuidedFilterConfig};
use super::simd::{Isa, Kernels, Task};

/// Writes |I - q| of one picture, `[3, height, width]`, 0..1, to `out`.
///
/// # Panics
/// If `planes` or `out` do not hold `3 * height * width` values.
pub fn residual(
    kernels: Kernels,
    config: &GuidedFilterConfig,
    planes: &[f32],
    [height, width]: [usize; 2],
    out: &mut [f32],
) {
    assert!(planes.len() == 3 * height * width && out.len() == planes.len(), "three planes of height x width values");
    let picture = Picture { planes, height, width, radius: config.radius_px, eps: config.eps, out };
    match config.mode {
        GuideMode::PerChannel => kernels.run(Filter { picture, guide: PhantomData::<PerChannel> }),
        GuideMode::Colour => kernels.run(Filter { picture, guide: PhantomData::<Colour> }),
    }
}

/// What guides a channel: how moments become coefficients, and these a filtered pixel.
trait Guide<const LANES: usize> {
    /// What is averaged over the window first.
    fn moments(pixel: [f64; 3]) -> [f64; LANES];
    /// What is averaged over the window next.
    fn coefficients(mean: &[f64; LANES], eps: f64) -> [f64; LANES];
    /// The filtered pixel.
    fn apply(mean: &[f64; LANES], pixel: [f64; 3]) -> [f64; 3];
}

/// Every channel guides itself: a = var / (var + eps), b = (1 - a) mean. Lanes: three of the one, three of the other.
struct PerChannel;

impl Guide<8> for PerChannel {
    #[inline(always)]
    fn moments([r, g, b]: [f64; 3]) -> [f64; 8] {
        [r, g, b, 0.0, r * r, g * g, b * b, 0.0]
    }

    #[inline(always)]
    fn coefficients(mean: &[f64; 8], eps: f64) -> [f64; 8] {
        let mut result = [0.0; 8];
        for channel in 0..4 {
            let variance = mean[4 + channel] - mean[channel] * mean[channel];
            let a = variance / (variance + eps);
            result[channel] = a;
            result[4 + channel] = (1.0 - a) * mean[channel];
        }
        result
    }

    #[inline(always)]
    fn apply(mean: &[f64; 8], pixel: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|channel| mean[channel] * pixel[channel] + mean[4 + channel])
    }
}

/// All three channels guide each one: a = (Sigma + eps U)^-1 cov(I, I_c), b = mean_c - a . mean. Lanes of the moments: the
/// channels, the squares, the products; of the coefficients: for each channel three of a, then b.
struct Colour;

impl Guide<12> for Colour {
    #[inline(always)]
    fn moments([r, g, b]: [f64; 3]) -> [f64; 12] {
        [r, g, b, r * r, r * g, r * b, g * g, g * b, b * b, 0.0, 0.0, 0.0]
    }

    #[inline(always)]
    fn coefficients(mean: &[f64; 12], eps: f64) -> [f64; 12] {
        let [r, g, b, rr, rg, rb, gg, gb, bb, ..] = *mean;
        let means = [r, g, b];
        let (rr, rg, rb) = (rr - r * r, rg - r * g, rb - r * b);
        let (gg, gb, bb) = (gg - g * g, gb - g * b, bb - b * b);
        let covariance = [[rr, rg, rb], [rg, gg, gb], [rb, gb, bb]];
        let (rr, gg, bb) = (rr + eps, gg + eps, bb + eps);
        // The symmetric matrix' inverse by its adjugate; eps keeps it regular.
        let [c_rr, c_rg, c_rb] = [gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb];
        let [c_gg, c_gb, c_bb] = [rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg];
        let scale = 1.0 / (rr * c_rr + rg * c_rg + rb * c_rb);
        let inverse = [[c_rr, c_rg, c_rb], [c_rg, c_gg, c_gb], [c_rb, c_gb, c_bb]];
        let mut result = [0.0; 12];
        for channel in 0..3 {
            let mut b = means[channel];
            for k in 0..3 {
                let a = scale * (0..3).map(|j| inverse[k][j] * covariance[j][channel]).sum::<f64>();
                result[4 * channel + k] = a;
                b -= a * means[k];
            }
            result[4 * channel + 3] = b;
        }
        result
    }

    #[inline(always)]
    fn apply(mean: &[f64; 12], pixel: [f64; 3]) -> [f64; 3] {
        [0, 4, 8].map(|at| mean[at] * pixel[0] + mean[at + 1] * pixel[1] + mean[at + 2] * pixel[2] + mean[at + 3])
    }
}

struct Picture<'a> {
    planes: &'a [f32],
    height: usize,
    width: usize,
    radius: usize,
    eps: f64,
    out: &'a mut [f32],
}

impl Picture<'_> {
    #[inline(always)]
    fn pixel(&self, y: usize, x: usize) -> [f64; 3] {
        let area = self.height * self.width;
        [0, 1, 2].map(|channel| f64::from(self.planes[channel * area + y * self.width + x]))
    }

    /// How many of `length` places lie in the window round `at`.
    #[inline(always)]
    fn count(&self, at: usize, length: usize) -> usize {
        (at + self.radius).min(length - 1) - at.saturating_sub(self.radius) + 1
    }
}

struct Filter<'a, G> {
    picture: Picture<'a>,
    guide: PhantomData<G>,
}

impl Task for Filter<'_, PerChannel> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        filter::<PerChannel, 8>(self.picture);
    }
}

impl Task for Filter<'_, Colour> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        filter::<Colour, 12>(self.picture);
    }
}

#[inline(always)]
fn filter<G: Guide<LANES>, const LANES: usize>(picture: Picture<'_>) {
    let Picture { height, width, radius, eps, .. } = picture;
    let area = height * width;
    // Sums down the columns, of moments and of coefficients, and the rows of coefficients that have to leave again.
    let mut moments = vec![[0.0; LANES]; width];
    let mut coefficients = vec![[0.0; LANES]; width];
    let kept = height.min(2 * radius + 1);
    let mut rows = vec![[0.0; LANES]; kept * width];
    let per_column: Vec<f64> = (0..width).map(|x| 1.0 / picture.count(x, width) as f64).collect();
    for y in 0..radius.min(height) {
        add_row::<G, LANES>(&picture, y, &mut moments);
    }
    for y in 0..height + radius {
        if let Some(leaving) = y.checked_sub(2 * radius + 1) {
            let row = &rows[leaving % kept * width..][..width];
            for (sum, value) in coefficients.iter_mut().zip(row) {
                (0..LANES).for_each(|lane| sum[lane] -= value[lane]);
            }
        }
        if y < height {
            if y + radius < height {
                add_row::<G, LANES>(&picture, y + radius, &mut moments);
            }
            if let Some(leaving) = y.checked_sub(radius + 1) {
                for (x, sum) in moments.iter_mut().enumerate() {
                    let values = G::moments(picture.pixel(leaving, x));
                    (0..LANES).for_each(|lane| sum[lane] -= values[lane]);
                }
            }
            let row = &mut rows[y % kept * width..][..width];
            let scale = 1.0 / picture.count(y, height) as f64;
            let mut window = Window::new(&moments, radius);
            for x in 0..width {
                let mean = window.mean(x, scale * per_column[x]);
                let values = G::coefficients(&mean, eps);
                row[x] = values;
                (0..LANES).for_each(|lane| coefficients[x][lane] += values[lane]);
            }
        }
        if let Some(y) = y.checked_sub(radius) {
            let scale = 1.0 / picture.count(y, height) as f64;
            let mut window = Window::new(&coefficients, radius);
            for (x, per_column) in per_column.iter().enumerate() {
                let pixel = picture.pixel(y, x);
                let filtered = G::apply(&window.mean(x, scale * per_column), pixel);
                for channel in 0..3 {
                    picture.out[channel * area + y * width + x] = (pixel[channel] - filtered[channel]).abs() as f32;
                }
            }
        }
    }
}

#[inline(always)]
fn add_row<G: Guide<LANES>, const LANES: usize>(picture: &Picture<'_>, y: usize, sums: &mut [[f64; LANES]]) {
    for (x, sum) in sums.iter_mut().enumerate() {
        let values = G::moments(picture.pixel(y, x));
        (0..LANES).for_each(|lane| sum[lane] += values[lane]);
    }
}

/// The running sum along a row of column sums.
struct Window<'a, const LANES: usize> {
    columns: &'a [[f64; LANES]],
    radius: usize,
    sum: [f64; LANES],
}

impl<'a, const LANES: usize> Window<'a, LANES> {
    #[inline(always)]
    fn new(columns: &'a [[f64; LANES]], radius: usize) -> Self {
        let mut sum = [0.0; LANES];
        for column in &columns[..radius.min(columns.len())] {
            (0..LANES).for_each(|lane| sum[lane] += column[lane]);
        }
        Window { columns, radius, sum }
    }

    /// The mean round `x`; to be asked for every place in turn, from 0 on.
    #[inline(always)]
    fn mean(&mut self, x: usize, scale: f64) -> [f64; LANES] {
        if let Some(entering) = self.columns.get(x + self.radius) {
            (0..LANES).for_each(|lane| self.sum[lane] += entering[lane]);
        }
        if let Some(leaving) = x.checked_sub(self.radius + 1) {
            (0..LANES).for_each(|lane| self.sum[lane] -= self.columns[leaving][lane]);
        }
        self.sum.map(|sum| sum * scale)
    }
}
