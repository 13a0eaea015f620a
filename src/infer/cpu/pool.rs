//! Maximum over 3x3 with stride 2, and the statistics of the first stage's maps.

use super::conv::Size;
use super::pack::{self, BLOCK};
use super::simd::{Isa, Kernels, Task};
use super::threads;

/// Maximum over 3x3, stride 2, padding 1, of maps that have no negative values: there, zeros beside the map never win.
///
/// # Panics
/// If a buffer is too short.
pub fn max_pool(kernels: Kernels, input: &[f32], from: Size, blocks: usize, out: &mut [f32]) {
    let side = |length: usize| (length - 1) / 2 + 1;
    let to = Size { n: from.n, height: side(from.height), width: side(from.width) };
    let (length_in, length) = (pack::block_length(from.places()), pack::block_length(to.places()));
    threads::chunks(&mut out[..blocks * length], length, |block, out| {
        kernels.run(Pool { input: &input[block * length_in..(block + 1) * length_in], from, to, out });
    });
}

struct Pool<'a> {
    input: &'a [f32],
    from: Size,
    to: Size,
    out: &'a mut [f32],
}

impl Task for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Pool { input, from, to, out } = self;
        let (zeros, out) = out.split_at_mut(BLOCK);
        zeros.fill(0.0);
        for image in 0..to.n {
            for y in 0..to.height {
                let lines = (2 * y).saturating_sub(1)..(2 * y + 2).min(from.height);
                for x in 0..to.width {
                    let columns = (2 * x).saturating_sub(1)..(2 * x + 2).min(from.width);
                    let target = &mut out[((image * to.height + y) * to.width + x) * BLOCK..][..BLOCK];
                    for lane in (0..BLOCK).step_by(I::LANES) {
                        let mut most = isa.splat(0.0);
                        for line in lines.clone() {
                            for column in columns.clone() {
                                let place = 1 + (image * from.height + line) * from.width + column;
                                most = isa.max(most, isa.load(&input[place * BLOCK + lane..]));
                            }
                        }
                        isa.store(most, &mut target[lane..]);
                    }
                }
            }
        }
    }
}

/// Mean of each map, then (biased) standard deviation of each map, of one picture of a batch.
pub fn statistics(maps: &[f32], size: Size, image: usize, channels: usize) -> Vec<f32> {
    let area = size.height * size.width;
    let mut result = vec![0.0; 2 * channels];
    for (block, maps) in maps.chunks(pack::block_length(size.places())).take(pack::blocks(channels)).enumerate() {
        let places = &maps[(1 + image * area) * BLOCK..][..area * BLOCK];
        let mut means = [0f64; BLOCK];
        for place in places.chunks_exact(BLOCK) {
            means.iter_mut().zip(place).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        means.iter_mut().for_each(|sum| *sum /= area as f64);
        let mut squares = [0f64; BLOCK];
        for place in places.chunks_exact(BLOCK) {
            let values = squares.iter_mut().zip(place).zip(&means);
            values.for_each(|((sum, value), mean)| *sum += (f64::from(*value) - mean) * (f64::from(*value) - mean));
        }
        for channel in block * BLOCK..channels.min((block + 1) * BLOCK) {
            result[channel] = means[channel % BLOCK] as f32;
            result[channels + channel] = (squares[channel % BLOCK] / area as f64).sqrt() as f32;
        }
    }
    result
}
