//! The matrix kernel: a few rows of one matrix times two vectors' width of another, all sums in registers. Convolutions
//! call it with rows that lie where their taps point (virtual im2col), Winograd's with transformed tiles.
#![allow(unsafe_code, reason = "the inner loop reads by address: bounds are checked once, before it")]

use super::pack::Stored;
use super::simd::Isa;

/// Most taps of one call: 3x3.
pub const TAPS: usize = 9;

/// How the kernel walks through a row: `blocks` times, `block_stride` values apart, over `depth` values.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// Blocks of channels.
    pub blocks: usize,
    /// Values from one block to the next.
    pub block_stride: usize,
    /// Values of a block that are read at a tap.
    pub depth: usize,
}

/// Runs of nearly the same length, at most `most` rows each, that make up `count` rows: `(first, rows)`.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    first: usize,
    left: usize,
    parts: usize,
}

impl Runs {
    /// Runs from row 0 on.
    #[inline(always)]
    pub fn new(count: usize, most: usize) -> Runs {
        Runs { first: 0, left: count, parts: count.div_ceil(most) }
    }
}

impl Iterator for Runs {
    type Item = (usize, usize);

    // A loop over this is part of a `Task`; a closure would not be compiled for the task's instruction set.
    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        if self.parts == 0 {
            return None;
        }
        let (first, rows) = (self.first, self.left.div_ceil(self.parts));
        *self = Runs { first: first + rows, left: self.left - rows, parts: self.parts - 1 };
        Some((first, rows))
    }
}

/// Calls `$body` with the constant `$rows` equal to `$count`, which is 1 to 12 and at most `$most`.
macro_rules! with_rows {
    ($count:expr, $most:expr, $rows:ident => $body:expr) => {
        with_rows!(@ $count, $most, $rows, $body, 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    (@ $count:expr, $most:expr, $rows:ident, $body:expr, $($n:literal)*) => {
        match $count {
            // The second condition is known when compiling: kernels that an instruction set has no registers for vanish.
            $($n if $n <= $most => {
                const $rows: usize = $n;
                $body
            })*
            other => unreachable!("the matrix kernel has 1 to {} rows, not {other}", $most),
        }
    };
}
pub(crate) use with_rows;

/// Two vectors a row: the sum over blocks, taps and depth of `values[starts[tap][row] + ..] * weights[..]`.
///
/// `weights` are one panel of [`super::pack::panels`]. The order of the additions does not depend on the rows.
///
/// # Panics
/// If a row reaches beyond `values`, or there are too few weights.
#[inline(always)]
pub fn sums<I: Isa, T: Stored, const ROWS: usize>(
    isa: I,
    values: &[f32],
    starts: &[[u32; ROWS]],
    walk: Walk,
    weights: &[T],
) -> [[I::V; 2]; ROWS] {
    let Walk { blocks, block_stride, depth } = walk;
    let furthest = starts.iter().flatten().copied().max().unwrap_or(0) as usize;
    assert!(blocks > 0 && furthest + (blocks - 1) * block_stride + depth <= values.len(), "rows lie inside the values");
    assert!(weights.len() >= blocks * starts.len() * depth * 2 * I::LANES, "a panel has weights for the whole walk");
    let mut sums = [[isa.splat(0.0); 2]; ROWS];
    let mut weight = weights.as_ptr();
    for block in 0..blocks {
        for starts in starts {
            // SAFETY: `furthest` is the largest start, and the first assertion holds for it; `weight` moves by two vectors
            // as often as the second assertion counts.
            unsafe {
                let rows = starts.map(|start| values.as_ptr().add(start as usize + block * block_stride));
                for step in 0..depth {
                    let pair = [T::read(isa, weight), T::read(isa, weight.add(I::LANES))];
                    weight = weight.add(2 * I::LANES);
                    for row in 0..ROWS {
                        let value = isa.splat(*rows[row].add(step));
                        sums[row][0] = isa.mul_add(value, pair[0], sums[row][0]);
                        sums[row][1] = isa.mul_add(value, pair[1], sums[row][1]);
                    }
                }
            }
        }
    }
    sums
}
