//! The inverse cosine transform of one block: the accurate integer one of libjpeg (`jidctint.c`, after Loeffler, Ligtenberg
//! and Moschytz), bit for bit, which browsers use too; and smaller ones that give the block at a half, quarter or eighth
//! of its size. Sums wrap: only damaged files come that far.

/// Fractional bits of the constants.
const CONST_BITS: u32 = 13;
/// Fractional bits kept between the two passes.
const PASS1_BITS: u32 = 2;

/// One number for each column (or row) of a block; loops over it become vector instructions.
type Lanes = [i32; 8];

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_add(b[i]))
}

#[inline(always)]
fn sub(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
}

#[inline(always)]
fn mul(a: Lanes, factor: i32) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_mul(factor))
}

#[inline(always)]
fn shift(a: Lanes, bits: u32) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_add(1 << (bits - 1)) >> bits)
}

/// The transform of eight columns at once; results are rounded to `bits` fewer bits.
#[inline(always)]
fn columns(x: &[Lanes; 8], bits: u32) -> [Lanes; 8] {
    // Even part.
    let z1 = mul(add(x[2], x[6]), 4433); // 0.541196100
    let low2 = add(z1, mul(x[6], -15137)); // 1.847759065
    let low3 = add(z1, mul(x[2], 6270)); // 0.765366865
    let low0 = mul(add(x[0], x[4]), 1 << CONST_BITS);
    let low1 = mul(sub(x[0], x[4]), 1 << CONST_BITS);
    let even = [add(low0, low3), add(low1, low2), sub(low1, low2), sub(low0, low3)];
    // Odd part.
    let z5 = mul(add(add(x[7], x[3]), add(x[5], x[1])), 9633); // 1.175875602
    let z1 = mul(add(x[7], x[1]), -7373); // 0.899976223
    let z2 = mul(add(x[5], x[3]), -20995); // 2.562915447
    let z3 = add(mul(add(x[7], x[3]), -16069), z5); // 1.961570560
    let z4 = add(mul(add(x[5], x[1]), -3196), z5); // 0.390180644
    let odd = [
        add(mul(x[1], 12299), add(z1, z4)), // 1.501321110
        add(mul(x[3], 25172), add(z2, z3)), // 3.072711026
        add(mul(x[5], 16819), add(z2, z4)), // 2.053119869
        add(mul(x[7], 2446), add(z1, z3)),  // 0.298631336
    ];
    std::array::from_fn(|i| {
        if i < 4 { shift(add(even[i], odd[i]), bits) } else { shift(sub(even[7 - i], odd[7 - i]), bits) }
    })
}

#[inline(always)]
fn transposed(x: &[Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|i| std::array::from_fn(|j| x[j][i]))
}

#[inline(always)]
fn sample(value: i32) -> u8 {
    value.wrapping_add(128).clamp(0, 255) as u8
}

/// Transforms a block of coefficients (row by row, not yet multiplied by their steps) into `size` x `size` samples, written
/// to `out` from its beginning, `stride` bytes a row. `size` is 8, or 4, 2 or 1 for a picture so much smaller.
#[inline]
pub(super) fn block(coefficients: &[i16; 64], steps: &[u16; 64], size: usize, out: &mut [u8], stride: usize) {
    let flat = coefficients[1..].iter().fold(0, |seen, &value| seen | value) == 0;
    if flat || size == 1 {
        let mean = i32::from(coefficients[0]).wrapping_mul(i32::from(steps[0]));
        let value = sample((mean + 4) >> 3);
        for row in out.chunks_mut(stride).take(size) {
            row[..size].fill(value);
        }
    } else if size == 8 {
        let scaled: [Lanes; 8] = std::array::from_fn(|y| {
            std::array::from_fn(|x| i32::from(coefficients[8 * y + x]) * i32::from(steps[8 * y + x]))
        });
        let half = columns(&scaled, CONST_BITS - PASS1_BITS);
        let done = transposed(&columns(&transposed(&half), CONST_BITS + PASS1_BITS + 3));
        for (row, values) in out.chunks_mut(stride).zip(&done) {
            let row: &mut [u8; 8] = (&mut row[..8]).try_into().expect("eight of at least eight");
            *row = values.map(sample);
        }
    } else {
        smaller(coefficients, steps, size, out, stride);
    }
}

/// Half of each cosine of the transforms of 4 and of 2 points, with [`CONST_BITS`] fractional bits: `[place][frequency]`.
const BASIS_4: [[i32; 4]; 4] =
    [[2896, 3784, 2896, 1567], [2896, 1567, -2896, -3784], [2896, -1567, -2896, 3784], [2896, -3784, 2896, -1567]];
const BASIS_2: [[i32; 4]; 2] = [[2896, 2896, 0, 0], [2896, -2896, 0, 0]];

/// The transform of the lowest `size` x `size` frequencies alone, which is the block at that size.
fn smaller(coefficients: &[i16; 64], steps: &[u16; 64], size: usize, out: &mut [u8], stride: usize) {
    let basis: &[[i32; 4]] = if size == 4 { &BASIS_4 } else { &BASIS_2 };
    let dot = |weights: &[i32; 4], value: &dyn Fn(usize) -> i32, bits: u32| {
        let sum = (0..size).fold(0i32, |sum, u| sum.wrapping_add(weights[u].wrapping_mul(value(u))));
        sum.wrapping_add(1 << (bits - 1)) >> bits
    };
    let mut half = [[0i32; 4]; 4];
    for (y, weights) in basis.iter().enumerate() {
        for (u, value) in half[y].iter_mut().enumerate().take(size) {
            let scaled = |v: usize| i32::from(coefficients[8 * v + u]) * i32::from(steps[8 * v + u]);
            *value = dot(weights, &scaled, CONST_BITS - PASS1_BITS);
        }
    }
    for (row, half) in out.chunks_mut(stride).zip(&half).take(size) {
        for (value, weights) in row.iter_mut().zip(basis) {
            *value = sample(dot(weights, &|u| half[u], CONST_BITS + PASS1_BITS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse cosine transform of the lowest `size` x `size` frequencies in double precision, before rounding: that of
    /// `size` points, scaled so that the mean stays.
    fn exact(coefficients: &[i16; 64], steps: &[u16; 64], size: usize) -> Vec<f64> {
        let wave = |place: usize, frequency: usize| {
            let scale = if frequency == 0 { 0.5f64.sqrt() } else { 1.0 };
            let angle = (2 * place + 1) as f64 * frequency as f64 * std::f64::consts::PI / (2 * size) as f64;
            scale * angle.cos()
        };
        let sample = |y: usize, x: usize| {
            let terms = (0..size * size).map(|at| {
                let (v, u) = (at / size, at % size);
                f64::from(coefficients[8 * v + u]) * f64::from(steps[8 * v + u]) * wave(y, v) * wave(x, u)
            });
            (128.0 + terms.sum::<f64>() / 4.0).clamp(0.0, 255.0)
        };
        (0..size * size).map(|at| sample(at / size, at % size)).collect()
    }

    /// Coefficients of a block, more of them at low frequencies, as pictures have them.
    fn coefficients(seed: u64) -> [i16; 64] {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        std::array::from_fn(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let range = 60 / (1 + at / 8 + at % 8) as i64;
            ((state >> 20) as i64 % (2 * range + 1) - range) as i16
        })
    }

    /// Largest distance from the exact transform at all four sizes, after `spoil`.
    fn distance(spoil: impl Fn(&mut [i16; 64])) -> f64 {
        let steps: [u16; 64] = std::array::from_fn(|at| 3 + at as u16 / 4);
        let mut largest = 0f64;
        for seed in 1..200 {
            let given = coefficients(seed);
            let mut spoilt = given;
            spoil(&mut spoilt);
            for size in [8, 4, 2, 1] {
                // Rows are longer than the block, and what lies behind it stays as it is.
                let mut out = [7u8; 8 * 11];
                block(&spoilt, &steps, size, &mut out, 11);
                let exact = exact(&given, &steps, size);
                for (at, value) in out.iter().enumerate() {
                    let (y, x) = (at / 11, at % 11);
                    if y < size && x < size {
                        largest = largest.max((f64::from(*value) - exact[y * size + x]).abs());
                    } else {
                        assert_eq!(*value, 7, "size {size} writes to {y}, {x}");
                    }
                }
            }
        }
        largest
    }

    #[test]
    fn every_size_is_the_exact_transform_within_a_level() {
        let largest = distance(|_| {});
        assert!(largest <= 1.0, "{largest}");
        assert!(distance(|spoilt| spoilt[1] += 3) > 1.0, "a changed coefficient is not noticed");
    }

    #[test]
    fn what_only_damaged_files_hold_does_not_overflow() {
        for value in [i16::MIN, i16::MAX] {
            for size in [8, 4, 2, 1] {
                let mut out = [0; 64];
                block(&[value; 64], &[u16::MAX; 64], size, &mut out, 8);
                block(&std::array::from_fn(|at| if at == 0 { value } else { 0 }), &[u16::MAX; 64], size, &mut out, 8);
                let flat = if value < 0 { 0 } else { 255 };
                assert!((0..size).all(|at| out[at] == flat), "{value} at size {size}: {out:?}");
            }
        }
    }
}
