//! How maps and weights lie in memory.
//!
//! Maps lie in blocks of [`BLOCK`] channels: `[block][1 + n * height * width][BLOCK]`. The first place of each block is all
//! zeros: what lies beside a map is read from there. A number of channels that is no multiple is filled up with zeros.
//!
//! Weights lie as the matrix kernel reads them: `[panel][block][tap][channel of the block][lane of the panel]`. Those of an
//! int8 model stay whole numbers, of two bytes: reading weights is what the small maps of the last stages wait for.
#![allow(unsafe_code, reason = "packed weights are read a vector at a time, by address")]

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use super::super::network::{Conv, Values};
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

/// A convolution's weights as they are packed.
#[derive(Debug)]
pub struct Units<'a> {
    /// In the order of [`Conv::weight`].
    pub numbers: Numbers<'a>,
    /// The unit of each output channel, filled up with zeros to whole blocks.
    pub units: Aligned,
}

/// Weights in units of their output channel.
#[derive(Debug)]
pub enum Numbers<'a> {
    /// In units of one.
    Plain(Cow<'a, [f32]>),
    /// Levels of an int8 model.
    Whole(&'a [i8]),
}

impl<'a> Units<'a> {
    /// Packed weights of at most these bytes stay plain: caches hold them, and widening whole numbers takes a tenth longer.
    const PLAIN_BYTES: usize = 4 << 20;

    /// Levels, if that is what the weights are and `packed` of them are better kept so.
    pub fn new(conv: &'a Conv, packed: usize) -> Self {
        let small = packed * size_of::<f32>() <= Self::PLAIN_BYTES;
        Self::levels(conv).filter(|_| !small).unwrap_or_else(|| Units {
            numbers: Numbers::Plain(conv.weight.plain()),
            units: padded(&vec![1.0; conv.channels_out]),
        })
    }

    /// The weights as levels of int8, if that is what they are.
    pub fn levels(conv: &'a Conv) -> Option<Self> {
        match &conv.weight {
            Values::Levels { levels, units } => Some(Units { numbers: Numbers::Whole(levels), units: padded(units) }),
            Values::Plain(_) => None,
        }
    }
}

/// Packs a matrix a tap for the matrix kernel; `weight(output, tap, input)`.
///
/// `depth` inputs are a block: [`BLOCK`], or all of them where they lie in one row.
pub fn panels<T: Stored>(
    panel: usize,
    outputs: usize,
    taps: usize,
    [inputs, depth]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f64,
) -> Aligned<T> {
    let padded_inputs = inputs.next_multiple_of(depth);
    let mut packed = Aligned::zeros(outputs.next_multiple_of(BLOCK) * taps * padded_inputs);
    for output in 0..outputs {
        let (start, lane) = (output / panel * panel * taps * padded_inputs, output % panel);
        for input in 0..inputs {
            for tap in 0..taps {
                let row = (input / depth * taps + tap) * depth + input % depth;
                packed[start + row * panel + lane] = T::stored(weight(output, tap, input));
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
