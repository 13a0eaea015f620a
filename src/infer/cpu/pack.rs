//! How maps and weights lie in memory.
//!
//! Maps lie in blocks of [`BLOCK`] channels: `[block][1 + n * height * width][BLOCK]`. The first place of each block is all
//! zeros: what lies beside a map is read from there. A number of channels that is no multiple is filled up with zeros.
//!
//! Weights lie as the matrix kernel reads them: `[panel][block][tap][channel of the block][lane of the panel]`.

use std::ops::{Deref, DerefMut};

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
pub struct Aligned {
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Bytes of a cache line, and of the widest vector.
    const LINE: usize = 64;

    /// Zeros.
    pub fn zeros(length: usize) -> Aligned {
        let spare = Self::LINE / size_of::<f32>();
        let values = vec![0.0; length + spare];
        // A vector's memory stays where it is: `values` never grows.
        let start = values.as_ptr().align_offset(Self::LINE).min(spare);
        Aligned { values, start, length }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..self.start + self.length]
    }
}

/// Packs a matrix a tap for the matrix kernel; `weight(output, tap, input)`.
///
/// `depth` inputs are a block: [`BLOCK`], or all of them where they lie in one row.
pub fn panels(
    panel: usize,
    outputs: usize,
    taps: usize,
    [inputs, depth]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Aligned {
    let padded_inputs = inputs.next_multiple_of(depth);
    let mut packed = Aligned::zeros(outputs.next_multiple_of(BLOCK) * taps * padded_inputs);
    for output in 0..outputs {
        let (start, lane) = (output / panel * panel * taps * padded_inputs, output % panel);
        for input in 0..inputs {
            for tap in 0..taps {
                let row = (input / depth * taps + tap) * depth + input % depth;
                packed[start + row * panel + lane] = weight(output, tap, input);
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
