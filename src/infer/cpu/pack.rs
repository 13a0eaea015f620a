//! How maps and weights lie in memory.
//!
//! Maps lie in blocks of [`BLOCK`] channels: `[block][1 + n * height * width][BLOCK]`. The first place of each block is all
//! zeros: what lies beside a map is read from there. A number of channels that is no multiple is filled up with zeros.
//!
//! Weights lie as the matrix kernel reads them: `[panel][block][tap][channel of the block][lane of the panel]`. Those of an
//! int8 model stay whole numbers, of two bytes: reading weights is what the small maps of the last stages wait for.
#![allow(unsafe_code, reason = "packed weights are read a vector at a time, by address")]

use std::ops::{Deref, DerefMut};

use super::super::network::Conv;
use super::simd::Isa;

/// Channels of a block.
pub const BLOCK: usize = 32;

/// Blocks that this many channels take.
pub const fn blocks(channels: usize) -> usize {
    channels.div_ceil(BLOCK)
}

/// Values of a block of `places` places, the place of zeros included.
pub const fn block_length(places: usize) -> usize {
    (1 + places) * BLOCK
}

/// Values that begin at a cache line, so that no vector lies across two.
#[derive(Debug, Default)]
pub struct Aligned<T = f32> {
    values: Vec<T>,
    start: usize,
    length: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Bytes of a cache line, and of the widest vector.
    const LINE: usize = 64;

    /// Zeros.
    pub fn zeros(length: usize) -> Self {
        let spare = Self::LINE / size_of::<T>();
        let values = vec![T::default(); length + spare];
        // A vector's memory stays where it is: `values` never grows.
        let start = values.as_ptr().align_offset(Self::LINE).min(spare);
        Aligned { values, start, length }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.length]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.length]
    }
}

/// A number as packed weights hold it.
pub trait Stored: Copy + Default {
    /// From a number that fits.
    fn stored(value: f64) -> Self;
    /// A vector of them as f32.
    ///
    /// # Safety
    /// [`Isa::LANES`] values from `from` on can be read.
    unsafe fn read<I: Isa>(isa: I, from: *const Self) -> I::V;
}

impl Stored for f32 {
    fn stored(value: f64) -> f32 {
        value as f32
    }

    #[inline(always)]
    unsafe fn read<I: Isa>(isa: I, from: *const f32) -> I::V {
        // SAFETY: as promised by the caller.
        unsafe { isa.read(from) }
    }
}

impl Stored for i16 {
    fn stored(value: f64) -> i16 {
        value as i16
    }

    #[inline(always)]
    unsafe fn read<I: Isa>(isa: I, from: *const i16) -> I::V {
        // SAFETY: as promised by the caller.
        unsafe { isa.read_i16(from) }
    }
}

/// Packed weights.
#[derive(Debug)]
pub enum Weights {
    /// As they are.
    Plain(Aligned),
    /// Whole numbers, exact, of which each output channel has its own unit.
    Levels(Aligned<i16>),
}

/// Calls `$body` with `$weights` bound to whichever kind of numbers they are.
macro_rules! with_weights {
    ($from:expr, $weights:ident => $body:expr) => {
        match $from {
            Weights::Plain($weights) => $body,
            Weights::Levels($weights) => $body,
        }
    };
}
pub(crate) use with_weights;

/// A convolution's weights in units of their output channel: -127 to 127 and whole, as they are in an int8 model, or plain
/// with units of one.
#[derive(Debug)]
pub struct Units {
    /// In the order of [`Conv::weight`].
    pub values: Vec<f32>,
    /// The unit of each output channel, filled up with zeros to whole blocks.
    pub units: Aligned,
    /// Whether all values are whole.
    pub whole: bool,
}

impl Units {
    /// Largest level of int8; the largest weight of a channel lies on it.
    const LEVELS: f32 = 127.0;
    /// How far from whole a weight may come out that was a level times two factors in f32: 127 roundings of 1.2e-7, twice.
    const ROUNDING: f32 = 1e-3;

    /// Packed weights of at most these bytes stay plain: caches hold them, and widening whole numbers takes a tenth longer.
    const PLAIN_BYTES: usize = 4 << 20;

    /// Finds out what the weights are, and whether `packed` of them are better kept whole.
    pub fn new(conv: &Conv, packed: usize) -> Units {
        let plain =
            || Units { values: conv.weight.clone(), units: padded(&vec![1.0; conv.channels_out]), whole: false };
        if packed * size_of::<f32>() <= Self::PLAIN_BYTES { plain() } else { Self::levels(conv).unwrap_or_else(plain) }
    }

    /// The weights as levels of int8, if that is what they are.
    pub fn levels(conv: &Conv) -> Option<Units> {
        let mut values = Vec::with_capacity(conv.weight.len());
        let mut units = Vec::with_capacity(conv.channels_out);
        for channel in conv.weight.chunks(conv.weight.len() / conv.channels_out) {
            let most = channel.iter().fold(0f32, |most, weight| if weight.abs() > most { weight.abs() } else { most });
            let unit = if most > 0.0 { most / Self::LEVELS } else { 1.0 };
            if !levels_of(channel, unit, &mut values) {
                return None;
            }
            units.push(unit);
        }
        Some(Units { values, units: padded(&units), whole: true })
    }
}

/// Appends the weights of a channel as multiples of `unit`; whether they are whole. A function of its own, entered for each
/// channel: a browser compiles better what is entered often.
#[inline(never)]
fn levels_of(channel: &[f32], unit: f32, levels: &mut Vec<f32>) -> bool {
    channel.iter().all(|weight| {
        let exact = weight / unit;
        // To the nearest; `round` is a call for every weight where the processor may lack an instruction for it.
        let level = (exact + 0.5f32.copysign(exact)) as i32 as f32;
        levels.push(level);
        (exact - level).abs() <= Units::ROUNDING
    })
}

/// Packs a matrix a tap for the matrix kernel; `weight(output, tap, input)`.
///
/// `depth` inputs are a block: [`BLOCK`], or all of them where they lie in one row.
pub fn panels<T: Stored>(
    panel: usize,
    outputs: usize,
    taps: usize,
    [inputs, depth]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Aligned<T> {
    let padded_inputs = inputs.next_multiple_of(depth);
    let mut packed = Aligned::zeros(outputs.next_multiple_of(BLOCK) * taps * padded_inputs);
    for output in 0..outputs {
        let (start, lane) = (output / panel * panel * taps * padded_inputs, output % panel);
        for input in 0..inputs {
            for tap in 0..taps {
                let row = (input / depth * taps + tap) * depth + input % depth;
                packed[start + row * panel + lane] = T::stored(f64::from(weight(output, tap, input)));
            }
        }
    }
    packed
}

/// Fills up with zeros to whole blocks.
pub fn padded(values: &[f32]) -> Aligned {
    let mut padded = Aligned::zeros(values.len().next_multiple_of(BLOCK));
    padded[..values.len()].copy_from_slice(values);
    padded
}
