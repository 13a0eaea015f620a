//! Every kernel, forced in turn, against the specification.

use super::super::architecture::{GuideMode, GuidedFilterConfig};
use super::super::network::{Conv, Values};
use super::super::reference::{self, Map};
use super::conv::{Direct, Finish, Framed, Size};
use super::pack::{self, Aligned, BLOCK, Numbers, Units};
use super::simd::Kernels;
use super::winograd::{Outputs, Winograd};
use super::{guided, pool};

/// Numbers between -1 and 1, the same on every machine.
fn noise(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B1) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / (1u64 << 31) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn random_conv(seed: u32, [channels_in, channels_out]: [usize; 2], [kernel, stride]: [usize; 2]) -> Conv {
    let taps = channels_in * kernel * kernel;
    let scale = (taps as f32).sqrt().recip();
    let weight: Vec<f32> = noise(seed, channels_out * taps).into_iter().map(|value| value * scale).collect();
    let weight = weight.into();
    Conv { channels_in, channels_out, kernel, stride, weight, bias: noise(seed + 1, channels_out) }
}

/// The same with weights as an int8 model has them; some units are below zero, as normalisation may make them.
fn int8(conv: Conv) -> Conv {
    let length = conv.weight.len() / conv.channels_out;
    let (mut levels, mut units) = (Vec::new(), Vec::new());
    for (channel, factor) in conv.weight.plain().chunks(length).zip(noise(99, conv.channels_out)) {
        let most = channel.iter().fold(0f32, |most, weight| most.max(weight.abs()));
        levels.extend(channel.iter().map(|weight| (*weight / most * 127.0).round() as i8));
        units.push(most / 127.0 * (0.5 + factor));
    }
    Conv { weight: Values::Levels { levels, units }, ..conv }
}

fn maps(seed: u32, size: Size, channels: usize) -> Vec<Map> {
    let area = size.height * size.width;
    let values = noise(seed, size.n * channels * area);
    values.chunks(channels * area).map(|values| Map::from_f32(channels, size.height, size.width, values)).collect()
}

/// Maps of a batch as the kernels want them. The place of zeros is left for the kernels that write maps to prove theirs.
fn to_blocks(maps: &[Map]) -> Aligned {
    let size = Size { n: maps.len(), height: maps[0].height, width: maps[0].width };
    let mut blocks = Aligned::zeros(pack::blocks(maps[0].channels) * pack::block_length(size.places()));
    each_value(size, maps[0].channels, |image, index, at| blocks[at] = maps[image].values[index] as f32);
    blocks
}

fn from_blocks(blocks: &[f32], size: Size, channels: usize) -> Vec<f32> {
    let length = channels * size.height * size.width;
    let mut values = vec![f32::NAN; size.n * length];
    each_value(size, channels, |image, index, at| values[image * length + index] = blocks[at]);
    values
}

/// Calls `with(picture, index in [channels, height, width], index in blocks)`.
fn each_value(size: Size, channels: usize, mut with: impl FnMut(usize, usize, usize)) {
    let area = size.height * size.width;
    for image in 0..size.n {
        for index in 0..channels * area {
            let (channel, place) = (index / area, 1 + image * area + index % area);
            let block = channel / BLOCK * pack::block_length(size.places());
            with(image, index, block + place * BLOCK + channel % BLOCK);
        }
    }
}

/// The largest difference to the specification; NaN if one is: `f64::max` would pass it over, and with it what is not written.
fn worst(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
    differences.fold(0.0, |most, one| if one > most || one.is_nan() { one } else { most })
}

/// [`worst`] of all maps.
fn difference(found: &[f32], expected: &[Map]) -> f64 {
    worst(found, &expected.iter().flat_map(|map| map.values.iter().copied()).collect::<Vec<f64>>())
}

/// Runs a convolution over `input` into a buffer that holds `skip` (or rubbish), and gives it in the order of `Map`.
fn run(kernels: Kernels, conv: &Conv, way: Option<Outputs>, input: &[Map], skip: Option<&[Map]>) -> Vec<f32> {
    let from = Size { n: input.len(), height: input[0].height, width: input[0].width };
    let to = Size { n: from.n, height: conv.side_out(from.height), width: conv.side_out(from.width) };
    let length = pack::blocks(conv.channels_out) * pack::block_length(to.places());
    let mut out = skip.map_or_else(|| Aligned::zeros(length), to_blocks);
    if skip.is_none() {
        out.fill(f32::NAN);
    }
    let finish = Finish { add: skip.is_some(), relu: skip.is_some() };
    let blocks = to_blocks(input);
    // Layers as small as these would stay plain, but large ones of an int8 model do not.
    let units = || Units::levels(conv).unwrap_or_else(|| Units::new(conv, 0));
    match way {
        None => Direct::of(conv, units(), kernels).run(kernels, &blocks, from, &mut out, finish),
        Some(outputs) => {
            let layer = Winograd::of(conv, outputs, units(), kernels);
            let mut scratch = layer.scratch(to).map(|length| {
                let mut scratch = Aligned::zeros(length);
                scratch.fill(f32::NAN);
                scratch
            });
            layer.run(kernels, &blocks, to, &mut out, finish, &mut scratch);
        }
    }
    for block in out.chunks(pack::block_length(to.places())) {
        assert!(block[..BLOCK].iter().all(|value| *value == 0.0), "the place of zeros is written");
    }
    from_blocks(&out, to, conv.channels_out)
}

fn expected(conv: &Conv, input: &[Map], skip: Option<&[Map]>) -> Vec<Map> {
    let convolved = input.iter().map(|map| reference::conv(conv, map));
    match skip {
        None => convolved.collect(),
        Some(skip) => convolved.zip(skip).map(|(map, skip)| map.zip(skip, |a, b| (a + b).max(0.0))).collect(),
    }
}

#[test]
fn weights_of_an_int8_model_are_kept_as_whole_numbers_and_others_as_they_are() {
    /// More packed weights than stay plain.
    const LARGE: usize = 1 << 22;
    let conv = random_conv(5, [64, 40], [3, 1]);
    let plain = Units::new(&conv, LARGE);
    let Numbers::Plain(values) = plain.numbers else { panic!("weights of no int8 model") };
    assert!(values == conv.weight.plain() && plain.units[..40] == [1.0; 40]);
    let int8 = int8(conv);
    let whole = Units::new(&int8, LARGE);
    let Numbers::Whole(levels) = whole.numbers else { panic!("weights of an int8 model") };
    assert!(whole.units[..40].iter().any(|unit| *unit < 0.0));
    let expected = int8.weight.plain();
    for (index, (level, weight)) in levels.iter().zip(&*expected).enumerate() {
        assert_eq!(f32::from(*level) * whole.units[index / (64 * 9)], *weight, "at {index}");
    }
    let small = Units::new(&int8, int8.weight.len());
    let Numbers::Plain(values) = small.numbers else { panic!("few weights stay plain") };
    assert_eq!(values, expected);
    assert_eq!(small.units[..40], [1.0; 40]);
}

/// What to run: less under miri, which takes a minute for what takes a millisecond.
fn unless_miri<'a, T>(all: &'a [T], few: &'a [T]) -> &'a [T] {
    if cfg!(miri) { few } else { all }
}

/// f32 sums of 600 products of numbers below one: measured 5e-7 at most (2.1e-6 without fused multiplication, scaled weights),
/// 2e-6 with F(2x2), 9e-6 with F(4x4).
fn tolerance(way: Option<Outputs>) -> f64 {
    match way {
        None => 4e-6,
        Some(Outputs::Two) => 5e-6,
        Some(Outputs::Four) => 3e-5,
    }
}

#[test]
fn convolutions_equal_the_specification_at_odd_sizes_and_batches() {
    let shapes = [
        // Pictures, sides, channels. Smaller than a tile, one short of it, one beyond it, several groups of tiles.
        (1, [1, 1], [64, 32]),
        (2, [2, 3], [32, 40]),
        (13, [5, 4], [40, 64]),
        (3, [7, 9], [64, 64]),
        (2, [13, 21], [33, 96]),
        (1, [40, 40], [64, 64]),
        (5, [17, 6], [96, 31]),
    ];
    let shapes = unless_miri(&shapes, &[(1, [1, 1], [5, 16]), (2, [2, 3], [17, 9])]);
    for kernels in Kernels::all() {
        for (index, &(n, [height, width], channels)) in shapes.iter().enumerate() {
            let seed = 10 * index as u32 + 1;
            let input = maps(seed, Size { n, height, width }, channels[0]);
            for (kernel, stride, way) in [
                (3, 1, None),
                (3, 2, None),
                (1, 1, None),
                (1, 2, None),
                (3, 1, Some(Outputs::Two)),
                (3, 1, Some(Outputs::Four)),
            ] {
                let conv = random_conv(seed + 3, channels, [kernel, stride]);
                let [height, width] = [height, width].map(|side| conv.side_out(side));
                let skip = maps(seed + 5, Size { n, height, width }, channels[1]);
                for (conv, skip) in [(&conv, None), (&conv, Some(&skip[..])), (&int8(conv.clone()), Some(&skip[..]))] {
                    let found = run(kernels, conv, way, &input, skip);
                    let difference = difference(&found, &expected(conv, &input, skip));
                    let what = (kernels.name(), kernel, stride, way, n, height, width, channels, skip.is_some());
                    assert!(difference <= tolerance(way), "{what:?}: {difference:e}");
                }
            }
        }
    }
}

#[test]
fn comparison_notices_one_weight_one_border_and_another_batch() {
    let size = Size { n: 2, height: 6, width: 5 };
    let input = maps(1, size, 32);
    let conv = random_conv(2, [32, 32], [3, 1]);
    for kernels in Kernels::all() {
        for way in [None, Some(Outputs::Two), Some(Outputs::Four)] {
            let right = expected(&conv, &input, None);
            let mut weight = conv.weight.plain().into_owned();
            weight[32 * 9 * 31 + 9 * 31] += 1e-3;
            let changed = Conv { weight: weight.into(), ..conv.clone() };
            assert!(difference(&run(kernels, &changed, way, &input, None), &right) > tolerance(way), "one weight");
            // A window that wraps to the next row instead of ending at the border.
            let mut shifted = input.clone();
            shifted[1].values.rotate_left(1);
            assert!(difference(&run(kernels, &conv, way, &shifted, None), &right) > tolerance(way), "one column");
            let swapped = [input[1].clone(), input[0].clone()];
            assert!(difference(&run(kernels, &conv, way, &swapped, None), &right) > tolerance(way), "other pictures");
        }
    }
}

#[test]
fn denormals_and_large_values_pass_through_as_in_the_specification() {
    let size = Size { n: 1, height: 6, width: 6 };
    for kernels in Kernels::all() {
        for way in [None, Some(Outputs::Two), Some(Outputs::Four)] {
            for scale in [1e-41, 1e30] {
                let input: Vec<Map> = maps(3, size, 32)
                    .into_iter()
                    .map(|map| map.map(|value| f64::from((value * scale) as f32)))
                    .collect();
                let mut conv = random_conv(4, [32, 32], [3, 1]);
                conv.bias.fill(0.0);
                let found = run(kernels, &conv, way, &input, None);
                let difference = difference(&found, &expected(&conv, &input, None));
                // A denormal's unit is 1.4e-45, whatever its size; hundreds of roundings add up.
                let allowed = (tolerance(way) * scale).max(1e-42);
                assert!(difference <= allowed, "{} {way:?} {scale:e}: {difference:e}", kernels.name());
            }
        }
    }
}

#[test]
fn the_first_convolution_equals_the_specification() {
    for kernels in Kernels::all() {
        for &(n, height, width) in unless_miri(&[(1, 1, 1), (2, 9, 6), (3, 33, 40)], &[(1, 1, 1), (2, 3, 4)]) {
            let size = Size { n, height, width };
            let conv = random_conv(7, [3, 64], [7, 2]);
            let input = maps(8, size, 3);
            let (scale, shift) = ([2.0, 0.5, 1.5], [0.25, -1.0, 0.0]);
            let mut framed = Framed::new(size, conv.kernel);
            for (index, map) in input.iter().enumerate() {
                let planes: Vec<f32> = map.values.iter().map(|value| *value as f32).collect();
                framed.set(index, &planes, scale, shift);
            }
            let to = Size { n, height: conv.side_out(height), width: conv.side_out(width) };
            let mut out = Aligned::zeros(2 * pack::block_length(to.places()));
            Direct::stem(&conv, kernels).run_stem(kernels, &framed, &mut out);
            let right: Vec<Map> = input
                .iter()
                .map(|map| {
                    let at = |channel: usize, y: usize, x: usize| {
                        let value = map.values[(channel * height + y) * width + x];
                        f64::from(scale[channel]) * value + f64::from(shift[channel])
                    };
                    reference::conv(&conv, &Map::of(3, height, width, at)).map(|value| value.max(0.0))
                })
                .collect();
            let difference = difference(&from_blocks(&out, to, 64), &right);
            assert!(difference <= 2e-6, "{} {size:?}: {difference:e}", kernels.name());
        }
    }
}

#[test]
fn pooling_and_statistics_equal_the_specification() {
    for &(n, height, width) in unless_miri(&[(1, 1, 1), (3, 7, 10), (2, 20, 5)], &[(1, 1, 1), (2, 3, 4)]) {
        let size = Size { n, height, width };
        let input: Vec<Map> = maps(9, size, 64).into_iter().map(|map| map.map(|value| value.max(0.0))).collect();
        let blocks = to_blocks(&input);
        for (image, map) in input.iter().enumerate() {
            let found = pool::statistics(&blocks, size, image, 64);
            let right = reference::statistics(map);
            let worst = worst(&found, &right);
            assert!(worst <= 1e-7, "{size:?}: {worst:e}");
        }
        let right: Vec<Map> = input.iter().map(reference::max_pool).collect();
        let to = Size { n, height: right[0].height, width: right[0].width };
        for kernels in Kernels::all() {
            let mut out = Aligned::zeros(2 * pack::block_length(to.places()));
            out.fill(f32::NAN);
            pool::max_pool(kernels, &blocks, size, 2, &mut out);
            assert_eq!(difference(&from_blocks(&out, to, 64), &right), 0.0, "{} {size:?}", kernels.name());
        }
    }
}

#[test]
fn guided_residuals_equal_the_specification_at_any_radius() {
    let all = [(1, 1, 2), (33, 70, 1), (5, 97, 9), (64, 64, 4), (130, 17, 60), (40, 41, 1024)];
    for &(height, width, radius_px) in unless_miri(&all, &[(1, 1, 2), (5, 9, 2), (4, 5, 1024)]) {
        let planes: Vec<f32> = noise(11, 3 * height * width).iter().map(|value| value * 0.5 + 0.5).collect();
        let unit: Vec<f64> = planes.iter().map(|value| f64::from(*value)).collect();
        for mode in [GuideMode::PerChannel, GuideMode::Colour] {
            let config = GuidedFilterConfig { radius_px, eps: 1e-3, mode };
            let right = reference::residual(&unit, height, width, &config);
            for kernels in Kernels::all() {
                let mut out = vec![f32::NAN; planes.len()];
                guided::residual(kernels, &config, &planes, [height, width], &mut out);
                // Both in f64; the result is rounded to f32, half a unit in the last place of one is 6e-8.
                let worst = worst(&out, &right);
                assert!(worst <= 1e-7, "{} {config:?} {height}x{width}: {worst:e}", kernels.name());
            }
            let other = reference::residual(&unit, height, width, &GuidedFilterConfig { eps: 2e-3, ..config });
            let moved = other.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(moved > 1e-5 || height == 1, "another eps would go unnoticed: {moved:e}");
        }
    }
}
