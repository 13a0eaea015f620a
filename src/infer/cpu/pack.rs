//! How maps and weights lie in memory.
//!
//! Maps lie in blocks of [`BLOCK`] channels: `[block][1 + n * height * width][BLOCK]`. The first place of each block is all
//! zeros: what lies beside a map is read from there. A number of channels that is no multiple is filled up with zeros.
//!
//! Weights lie as the matrix kernel reads them: `[panel][block][tap][channel of the block][lane of the panel]`.

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

/// Packs a matrix a tap for the matrix kernel; `weight(output, tap, input)`.
///
/// `depth` inputs are a block: [`BLOCK`], or all of them where they lie in one row.
pub fn panels(
    panel: usize,
    outputs: usize,
    taps: usize,
    [inputs, depth]: [usize; 2],
    weight: impl Fn(usize, usize, usize) -> f32,
) -> Vec<f32> {
    let padded = outputs.next_multiple_of(BLOCK);
    let mut packed = Vec::with_capacity(padded * taps * inputs.next_multiple_of(depth));
    for first in (0..padded).step_by(panel) {
        for start in (0..inputs).step_by(depth) {
            for tap in 0..taps {
                for input in start..start + depth {
                    let value =
                        |output| if output < outputs && input < inputs { weight(output, tap, input) } else { 0.0 };
                    packed.extend((first..first + panel).map(value));
                }
            }
        }
    }
    packed
}

/// Fills up with zeros to whole blocks.
pub fn padded(values: &[f32]) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(values.len().next_multiple_of(BLOCK), 0.0);
    padded
}
