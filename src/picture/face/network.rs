//! The network of the face finder: a small one-stage detector after YuNet. Every unit is a 1x1 convolution that mixes
//! channels, and a 3x3 convolution that mixes places.
//!
//! Plain loops over fixed-size arrays, which the compiler turns into SIMD instructions; no multiplication is fused with
//! an addition and every sum has one order, so that all processors and wasm give the same bits. Maps are [H, W, C].
//! Down to stride 8 rows are pulled through all layers one by one, so that no large map is ever kept.

mod vectors;

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors};

use crate::error::{Error, ErrorKind, Result};
use crate::picture::Rgb8;
use vectors::Vectors;

/// Pixels between neighbouring cells of the three maps.
pub(super) const STRIDES: [usize; 3] = [8, 16, 32];
/// Sides of the network's input are multiples of this.
pub(super) const GRID_PX: usize = 32;
/// Numbers a cell: class, object, four of the box, five points.
pub(super) const CELL: usize = 16;

/// Channels that one pass of the inner loop computes; every layer has a multiple of it.
const LANES: usize = 16;
/// Pixels that one pass of the inner loop computes: as many as 16 registers hold.
const PIXELS: usize = 4;
/// Channels after the first convolutions, and after all others.
const NARROW: usize = 16;
const WIDE: usize = 64;

/// A map of features, [height, width, channels].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Map {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub values: Vec<f32>,
}

/// A convolution over windows or over channels whose weights lie as `[channels_out / LANES, taps, LANES]`.
#[derive(Debug, Clone)]
struct Mix {
    taps: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// A 1x1 convolution and a 3x3 convolution of each channel alone (weights `[9, channels]`), then ReLU if asked for.
#[derive(Debug, Clone)]
struct Unit {
    point: Mix,
    depth: Vec<f32>,
    depth_bias: Vec<f32>,
    relu: bool,
}

/// The face finder's network.
#[derive(Debug, Clone)]
pub(super) struct Network {
    stem: Mix,
    stem_unit: Unit,
    stages: Vec<[Unit; 2]>,
    neck: Vec<Unit>,
    shared: Vec<Unit>,
    heads: Vec<Unit>,
}

impl Network {
    /// Reads a weights file: safetensors with f16 or f32 tensors in PyTorch's layouts.
    ///
    /// # Errors
    /// `BadWeights` naming the tensor that is missing, misshapen or of another type.
    pub fn read(bytes: &[u8]) -> Result<Network> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::caused(ErrorKind::BadWeights, "expected a face finder's weights file", error))?;
        let mix = |name: &str, taps: [usize; 3], out: usize| -> Result<Mix> {
            let weights = tensor(&file, &format!("{name}.weight"), &[out, taps[0], taps[1], taps[2]])?;
            let bias = tensor(&file, &format!("{name}.bias"), &[out])?;
            Ok(Mix::new(weights, taps, bias))
        };
        let unit = |name: &str, channels_in: usize, channels_out: usize, relu: bool| -> Result<Unit> {
            let depth = tensor(&file, &format!("{name}.depth.weight"), &[channels_out, 1, 3, 3])?;
            Ok(Unit {
                point: mix(&format!("{name}.point"), [channels_in, 1, 1], channels_out)?,
                depth: (0..9).flat_map(|tap| depth.iter().skip(tap).step_by(9).copied()).collect(),
                depth_bias: tensor(&file, &format!("{name}.depth.bias"), &[channels_out])?,
                relu,
            })
        };
        let levels = |name: &str, channels_out: usize, relu: bool| -> Result<Vec<Unit>> {
            (0..STRIDES.len()).map(|level| unit(&format!("{name}.{level}"), WIDE, channels_out, relu)).collect()
        };
        let stage = |index: usize| -> Result<[Unit; 2]> {
            let (first, second) = if index == 0 { (NARROW, NARROW) } else { (WIDE, WIDE) };
            Ok([
                unit(&format!("stages.{index}.0"), first, second, true)?,
                unit(&format!("stages.{index}.1"), second, WIDE, true)?,
            ])
        };
        Ok(Network {
            stem: mix("stem", [3, 3, 3], NARROW)?,
            stem_unit: unit("stem_unit", NARROW, NARROW, true)?,
            stages: (0..5).map(stage).collect::<Result<_>>()?,
            neck: levels("neck", WIDE, true)?,
            shared: levels("shared", WIDE, true)?,
            heads: levels("heads", CELL, false)?,
        })
    }

    /// The three maps of cells of a picture, whose right and lower sides are continued in grey to multiples of
    /// [`GRID_PX`].
    pub fn run(&self, picture: &Rgb8) -> [Map; 3] {
        let stem = Rows::unit(&self.stem_unit, Rows::stem(&self.stem, picture));
        let at_4 = self.stage(1, self.stage(0, Rows::pool(stem)));
        let at_8 = self.stage(2, Rows::pool(at_4)).collect();
        let at_16 = self.stage(3, Rows::pool(Rows::map(&at_8))).collect();
        let at_32 = self.stage(4, Rows::pool(Rows::map(&at_16))).collect();
        let low = Rows::unit(&self.neck[2], Rows::map(&at_32)).collect();
        let middle = Rows::unit(&self.neck[1], Rows::sum(&at_16, &low)).collect();
        let high = Rows::unit(&self.neck[0], Rows::sum(&at_8, &middle)).collect();
        let head = |level: usize, map: &Map| {
            Rows::unit(&self.heads[level], Rows::unit(&self.shared[level], Rows::map(map))).collect()
        };
        [head(0, &high), head(1, &middle), head(2, &low)]
    }

    fn stage<'a>(&'a self, stage: usize, rows: Rows<'a>) -> Rows<'a> {
        let [first, second] = &self.stages[stage];
        Rows::unit(second, Rows::unit(first, rows))
    }
}

fn tensor(file: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let fail = |found: String| {
        let message = format!("expected {name} as f16 or f32 of shape {shape:?} in the face finder's weights");
        Error::new(ErrorKind::BadWeights, format!("{message}, found {found}"))
    };
    let view = file.tensor(name).map_err(|_| fail("none".into()))?;
    if view.shape() != shape {
        return Err(fail(format!("{:?}", view.shape())));
    }
    match view.dtype() {
        Dtype::F16 => Ok(view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        Dtype::F32 => Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        other => Err(fail(format!("{other:?}"))),
    }
}

impl Mix {
    /// From PyTorch's `[out, in, height, width]`; taps are brought to the order height, width, in, that of rows of
    /// pixels.
    fn new(weights: Vec<f32>, [channels, height, width]: [usize; 3], bias: Vec<f32>) -> Mix {
        let taps = channels * height * width;
        let mut sorted = vec![0.0; weights.len()];
        for (out, filter) in weights.chunks_exact(taps).enumerate() {
            for (place, value) in filter.iter().enumerate() {
                let tap = place % (height * width) * channels + place / (height * width);
                sorted[(out / LANES * taps + tap) * LANES + out % LANES] = *value;
            }
        }
        Mix { taps, weights: sorted, bias }
    }

    fn channels_out(&self) -> usize {
        self.bias.len()
    }

    /// `out[x, :] = bias + sum over taps of input[x, tap] * weights[tap, :]`.
    #[inline(always)]
    fn row<const PIXELS: usize>(&self, input: &[f32], out: &mut [f32]) {
        let channels = self.channels_out();
        let width = out.len() / channels;
        for (block, weights) in self.weights.chunks_exact(self.taps * LANES).enumerate() {
            let mut x = 0;
            while x + PIXELS <= width {
                self.block::<PIXELS>(input, x, block, weights, out);
                x += PIXELS;
            }
            while x < width {
                self.block::<1>(input, x, block, weights, out);
                x += 1;
            }
        }
    }

    #[inline(always)]
    fn block<const N: usize>(&self, input: &[f32], x: usize, block: usize, weights: &[f32], out: &mut [f32]) {
        let bias: &[f32; LANES] = self.bias[block * LANES..].first_chunk().expect("channels are whole blocks");
        let mut sums = [*bias; N];
        let pixels: [&[f32]; N] = std::array::from_fn(|pixel| &input[(x + pixel) * self.taps..][..self.taps]);
        for (tap, weights) in weights.as_chunks::<LANES>().0.iter().enumerate().take(self.taps) {
            for pixel in 0..N {
                let value = pixels[pixel][tap];
                for lane in 0..LANES {
                    sums[pixel][lane] += value * weights[lane];
                }
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            let start = (x + pixel) * self.channels_out() + block * LANES;
            out[start..start + LANES].copy_from_slice(sums);
        }
    }
}

/// Grey with which a picture is continued.
pub(super) const GREY: f32 = 110.0;

/// Writes the next row of a map.
type NextRow<'a> = Box<dyn FnMut(&mut [f32]) + 'a>;

/// Rows of a map, from the top, made when they are asked for.
struct Rows<'a> {
    height: usize,
    width: usize,
    channels: usize,
    next: NextRow<'a>,
}

impl<'a> Rows<'a> {
    fn collect(mut self) -> Map {
        let (height, width, channels) = (self.height, self.width, self.channels);
        let mut values = vec![0.0; height * width * channels];
        values.chunks_exact_mut(width * channels).for_each(&mut self.next);
        Map { height, width, channels, values }
    }

    fn map(map: &'a Map) -> Rows<'a> {
        let mut rows = map.values.chunks_exact(map.width * map.channels);
        let next = Box::new(move |out: &mut [f32]| out.copy_from_slice(rows.next().expect("a map has its rows")));
        Rows { height: map.height, width: map.width, channels: map.channels, next }
    }

    /// The fine map plus the coarse one, each of whose cells stands for two by two.
    fn sum(fine: &'a Map, coarse: &'a Map) -> Rows<'a> {
        let (width, channels) = (fine.width, fine.channels);
        let mut y = 0;
        let next = Box::new(move |out: &mut [f32]| {
            let fine = &fine.values[y * width * channels..][..width * channels];
            let coarse = &coarse.values[y / 2 * (width / 2) * channels..][..width / 2 * channels];
            for x in 0..width {
                let (fine, coarse) = (&fine[x * channels..][..channels], &coarse[x / 2 * channels..][..channels]);
                for ((out, fine), coarse) in out[x * channels..][..channels].iter_mut().zip(fine).zip(coarse) {
                    *out = fine + coarse;
                }
            }
            y += 1;
        });
        Rows { height: fine.height, width, channels, next }
    }

    /// The largest of each two by two places.
    fn pool(mut source: Rows<'a>) -> Rows<'a> {
        let (height, width, channels) = (source.height / 2, source.width / 2, source.channels);
        let mut pair = [vec![0.0; source.width * channels], vec![0.0; source.width * channels]];
        let next = Box::new(move |out: &mut [f32]| {
            pair.iter_mut().for_each(|row| (source.next)(row));
            let [upper, lower] = &pair;
            for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                let (a, b) = upper[2 * x * channels..][..2 * channels].split_at(channels);
                let (c, d) = lower[2 * x * channels..][..2 * channels].split_at(channels);
                for channel in 0..channels {
                    let larger = |a: f32, b: f32| if a > b { a } else { b };
                    out[channel] = larger(larger(a[channel], b[channel]), larger(c[channel], d[channel]));
                }
            }
        });
        Rows { height, width, channels, next }
    }

    /// The first convolution, 3x3 with stride 2 and a border of zeros, over pixels of 0..=255.
    fn stem(stem: &'a Mix, picture: &'a Rgb8) -> Rows<'a> {
        let [height, width] = [picture.height, picture.width].map(|side| side.next_multiple_of(GRID_PX));
        // Three picture rows, each with a zero pixel at both ends; those of odd number are used twice.
        let mut rows: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; (width + 2) * 3]);
        let fill = move |row: &mut [f32], y: usize| {
            let inner = &mut row[3..(width + 1) * 3];
            inner.fill(GREY);
            if let Some(pixels) = picture.data.chunks_exact(picture.width * 3).nth(y) {
                inner.iter_mut().zip(pixels).for_each(|(value, &byte)| *value = f32::from(byte));
            }
        };
        let mut windows = vec![0.0; width / 2 * 27];
        let vectors = Vectors::best();
        let mut y = 0;
        let next = Box::new(move |out: &mut [f32]| {
            rows.swap(0, 2);
            fill(&mut rows[1], 2 * y);
            fill(&mut rows[2], 2 * y + 1);
            for (x, window) in windows.chunks_exact_mut(27).enumerate() {
                for (part, row) in window.chunks_exact_mut(9).zip(&rows) {
                    part.copy_from_slice(&row[2 * x * 3..][..9]);
                }
            }
            vectors.mix(stem, &windows, out);
            relu(out);
            y += 1;
        });
        Rows { height: height / 2, width: width / 2, channels: NARROW, next }
    }

    fn unit(unit: &'a Unit, mut source: Rows<'a>) -> Rows<'a> {
        let (height, width, channels_in) = (source.height, source.width, source.channels);
        let channels = unit.point.channels_out();
        let mut input = vec![0.0; width * channels_in];
        let vectors = Vectors::best();
        // The mixed rows above, at and below the row that is asked for, with a zero pixel at both ends.
        let mut mixed: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; (width + 2) * channels]);
        let mut pull = move |row: &mut [f32]| {
            (source.next)(&mut input);
            let inner = &mut row[channels..(width + 1) * channels];
            vectors.mix(&unit.point, &input, inner);
        };
        let mut y = 0;
        let next = Box::new(move |out: &mut [f32]| {
            if y == 0 {
                pull(&mut mixed[2]);
            }
            mixed.rotate_left(1);
            if y + 1 < height {
                pull(&mut mixed[2]);
            } else {
                mixed[2].fill(0.0);
            }
            vectors.depth(unit, &mixed, out);
            y += 1;
        });
        Rows { height, width, channels, next }
    }
}

impl Unit {
    /// The 3x3 convolution of each channel alone, over three rows with a border of one pixel.
    #[inline(always)]
    fn depth_row(&self, rows: &[Vec<f32>; 3], out: &mut [f32]) {
        let channels = self.depth_bias.len();
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        for block in (0..channels).step_by(LANES) {
            let lanes = |values: &[f32], at: usize| -> [f32; LANES] {
                *values[at + block..].first_chunk().expect("channels are whole blocks")
            };
            let weights: [[f32; LANES]; 9] = std::array::from_fn(|tap| lanes(&self.depth, tap * channels));
            let bias = lanes(&self.depth_bias, 0);
            for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                let mut sums = bias;
                for tap in 0..9 {
                    let values = lanes(&rows[tap / 3], (x + tap % 3) * channels);
                    for lane in 0..LANES {
                        sums[lane] += values[lane] * weights[tap][lane];
                    }
                }
                for (out, sum) in out[block..block + LANES].iter_mut().zip(sums) {
                    *out = if sum > floor { sum } else { floor };
                }
            }
        }
    }
}

fn relu(values: &mut [f32]) {
    for value in values {
        *value = if *value > 0.0 { *value } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: &[u8] = include_bytes!("../../../weights/face.safetensors");

    /// A map as the slow twin sees it: [channels][height][width].
    type Planes = Vec<Vec<Vec<f64>>>;

    /// The textbook's convolution with a border of zeros, on the tensors as they lie in the file.
    fn convolve(file: &SafeTensors, name: &str, input: &Planes, size: usize, stride: usize, groups: usize) -> Planes {
        let (channels_out, channels_in) =
            (file.tensor(&format!("{name}.bias")).unwrap().shape()[0], input.len() / groups);
        let weights = tensor(file, &format!("{name}.weight"), &[channels_out, channels_in, size, size]).unwrap();
        let bias = tensor(file, &format!("{name}.bias"), &[channels_out]).unwrap();
        let (height, width) = (input[0].len() as i64, input[0][0].len() as i64);
        let pad = size as i64 / 2;
        let at = |channel: usize, y: i64, x: i64| -> f64 {
            let inside = (0..height).contains(&y) && (0..width).contains(&x);
            if inside { input[channel][y as usize][x as usize] } else { 0.0 }
        };
        let value = |out: usize, y: usize, x: usize| -> f64 {
            let first = if groups == 1 { 0 } else { out };
            let mut sum = f64::from(bias[out]);
            for channel in 0..channels_in {
                for tap in 0..size * size {
                    let (dy, dx) = ((tap / size) as i64 - pad, (tap % size) as i64 - pad);
                    let weight = weights[(out * channels_in + channel) * size * size + tap];
                    sum += f64::from(weight) * at(first + channel, (y * stride) as i64 + dy, (x * stride) as i64 + dx);
                }
            }
            sum
        };
        let row = |out: usize, y: usize| (0..width as usize / stride).map(|x| value(out, y, x)).collect();
        (0..channels_out).map(|out| (0..height as usize / stride).map(|y| row(out, y)).collect()).collect()
    }

    fn each(planes: &mut Planes, change: impl Fn(f64) -> f64) {
        planes.iter_mut().flatten().flatten().for_each(|value| *value = change(*value));
    }

    fn slow_unit(file: &SafeTensors, name: &str, input: &Planes, relu: bool) -> Planes {
        let mixed = convolve(file, &format!("{name}.point"), input, 1, 1, 1);
        let mut out = convolve(file, &format!("{name}.depth"), &mixed, 3, 1, mixed.len());
        if relu {
            each(&mut out, |value| value.max(0.0));
        }
        out
    }

    fn slow_pool(input: &Planes) -> Planes {
        let largest = |plane: &Vec<Vec<f64>>, y: usize, x: usize| {
            [(0, 0), (0, 1), (1, 0), (1, 1)]
                .map(|(dy, dx)| plane[2 * y + dy][2 * x + dx])
                .into_iter()
                .fold(f64::MIN, f64::max)
        };
        let halve = |plane: &Vec<Vec<f64>>| {
            (0..plane.len() / 2).map(|y| (0..plane[0].len() / 2).map(|x| largest(plane, y, x)).collect()).collect()
        };
        input.iter().map(halve).collect()
    }

    fn slow_sum(fine: &Planes, coarse: &Planes) -> Planes {
        let mut sum = fine.clone();
        for (channel, plane) in sum.iter_mut().enumerate() {
            for (y, row) in plane.iter_mut().enumerate() {
                row.iter_mut().enumerate().for_each(|(x, value)| *value += coarse[channel][y / 2][x / 2]);
            }
        }
        sum
    }

    fn slow_run(bytes: &[u8], picture: &Rgb8) -> [Planes; 3] {
        let file = &SafeTensors::deserialize(bytes).unwrap();
        let [height, width] = [picture.height, picture.width].map(|side| side.next_multiple_of(GRID_PX));
        let pixel = |channel: usize, y: usize, x: usize| {
            let inside = y < picture.height && x < picture.width;
            if inside { f64::from(picture.pixel(y, x)[channel]) } else { f64::from(GREY) }
        };
        let row = |channel: usize, y: usize| (0..width).map(|x| pixel(channel, y, x)).collect();
        let input: Planes = (0..3).map(|channel| (0..height).map(|y| row(channel, y)).collect()).collect();
        let mut map = convolve(file, "stem", &input, 3, 2, 1);
        each(&mut map, |value| value.max(0.0));
        map = slow_pool(&slow_unit(file, "stem_unit", &map, true));
        let stage = |index: usize, map: &Planes| {
            let first = slow_unit(file, &format!("stages.{index}.0"), map, true);
            slow_unit(file, &format!("stages.{index}.1"), &first, true)
        };
        let at_8 = stage(2, &slow_pool(&stage(1, &stage(0, &map))));
        let at_16 = stage(3, &slow_pool(&at_8));
        let at_32 = stage(4, &slow_pool(&at_16));
        let low = slow_unit(file, "neck.2", &at_32, true);
        let middle = slow_unit(file, "neck.1", &slow_sum(&at_16, &low), true);
        let high = slow_unit(file, "neck.0", &slow_sum(&at_8, &middle), true);
        let head = |level: usize, map: &Planes| {
            let shared = slow_unit(file, &format!("shared.{level}"), map, true);
            slow_unit(file, &format!("heads.{level}"), &shared, false)
        };
        [head(0, &high), head(1, &middle), head(2, &low)]
    }

    fn noise(height: usize, width: usize) -> Rgb8 {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Rgb8 { height, width, data: (0..height * width * 3).map(|_| next()).collect() }
    }

    /// Largest difference, in parts of the largest value.
    fn difference(fast: &[Map; 3], slow: &[Planes; 3]) -> f64 {
        let (mut largest, mut apart) = (0f64, 0f64);
        for (fast, slow) in fast.iter().zip(slow) {
            assert_eq!((fast.channels, fast.height, fast.width), (slow.len(), slow[0].len(), slow[0][0].len()));
            for (at, value) in fast.values.iter().enumerate() {
                let (place, channel) = (at / fast.channels, at % fast.channels);
                let slow = slow[channel][place / fast.width][place % fast.width];
                largest = largest.max(slow.abs());
                apart = apart.max((f64::from(*value) - slow).abs());
            }
        }
        apart / largest
    }

    #[test]
    fn the_network_agrees_with_plain_loops() {
        let network = Network::read(WEIGHTS).unwrap();
        // One grid cell, a width whose rows are no multiple of the inner loop's pixels, sides that are continued.
        for (height, width) in [(32, 32), (40, 90), (64, 33)] {
            let picture = noise(height, width);
            let apart = difference(&network.run(&picture), &slow_run(WEIGHTS, &picture));
            // Seen: 2e-6.
            assert!(apart < 2e-5, "{height} x {width}: {apart}");
        }
        let (picture, mut other) = (noise(32, 32), noise(32, 32));
        other.data[1500] ^= 128;
        assert!(difference(&network.run(&other), &slow_run(WEIGHTS, &picture)) > 1e-3, "one other pixel is seen");
    }

    #[test]
    fn wider_vectors_give_the_same_bits() {
        let unit = &Network::read(WEIGHTS).unwrap().stages[1][0];
        let values: Vec<f32> = noise(37, WIDE).data.iter().map(|&byte| f32::from(byte) / 50.0 - 2.0).collect();
        let (input, rows) =
            (&values[..37 * WIDE], [0, 1, 2].map(|row| values[row * 35 * WIDE..][..37 * WIDE].to_vec()));
        let run = |vectors: Vectors| {
            let (mut mixed, mut out) = (vec![0.0; 37 * WIDE], vec![0.0; 35 * WIDE]);
            vectors.mix(&unit.point, input, &mut mixed);
            vectors.depth(unit, &rows, &mut out);
            mixed.iter().chain(&out).map(|value: &f32| value.to_bits()).collect::<Vec<_>>()
        };
        let all = Vectors::all();
        let plain = run(*all.last().expect("plain loops run everywhere"));
        for vectors in all {
            assert!(run(vectors) == plain, "{vectors:?}");
        }
    }

    #[test]
    fn weights_that_lack_a_tensor_are_refused_by_its_name() {
        assert!(Network::read(b"no weights").is_err());
        let file = SafeTensors::deserialize(WEIGHTS).unwrap();
        let kept = file.tensors().into_iter().filter(|(name, _)| name != "neck.1.point.bias");
        let bytes = safetensors::serialize(kept, None).unwrap();
        let message = Network::read(&bytes).unwrap_err().full_message();
        assert!(message.contains("neck.1.point.bias"), "{message}");
    }
}
