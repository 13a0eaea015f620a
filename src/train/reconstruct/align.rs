//! Bringing a reconstruction as near to its original as the decoder's traces allow, as in dual data alignment (Chen et al. 2025):
//! detectors that learnt such pairs find unseen generators more often. Some reconstructions are mixed with the original, by
//! pixels or by the coefficients of 8 x 8 blocks, and half of them are compressed as the original's file was, on the same grid
//! of blocks: a reconstruction without those steps would be told by their absence.

use rand::Rng;

use crate::Result;
use crate::picture::{Limits, Rgb8, decode, encode_jpeg};
use crate::train::data::pack::Entry;
use crate::train::looks::forge;
use crate::train::looks::pixels::{self, Plane, reflect};
use crate::train::rng::{TrainRng, between, chance};

/// How often reconstructions are brought nearer to their originals. Shares are probabilities 0..1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alignment {
    /// Share mixed with the original pixel by pixel.
    pub pixels: f32,
    /// Share mixed by coefficients: some come from the original, all over the picture.
    pub coefficients: f32,
    /// Largest part of the reconstruction in a mix.
    pub most: f32,
    /// Share compressed as the original was, where that is known.
    pub compress: f32,
}

impl Default for Alignment {
    fn default() -> Self {
        Alignment { pixels: 0.2, coefficients: 0.2, most: 0.8, compress: 0.5 }
    }
}

/// Side of a block.
const BLOCK: usize = 8;

impl Alignment {
    /// None of it.
    pub const NONE: Alignment = Alignment { pixels: 0.0, coefficients: 0.0, most: 0.0, compress: 0.0 };

    /// `made`, a reconstruction of `original`, nearer to it.
    ///
    /// # Errors
    /// `Internal` when the pictures differ in size or an encoder refuses.
    pub fn apply(&self, made: Rgb8, original: &Rgb8, entry: &Entry, rng: &mut TrainRng) -> Result<Rgb8> {
        let draw: f32 = rng.random();
        let part = between(rng, 0.0, self.most);
        let mixed = if draw < self.pixels {
            forge::blend(original, &made, &Plane::filled(made.height, made.width, 1.0), part)?
        } else if draw < self.pixels + self.coefficients {
            mixed_coefficients(&made, original, part, rng)?
        } else {
            made
        };
        match entry.blocks {
            Some(offset) if chance(rng, self.compress) => {
                let quality = entry.jpeg_quality.unwrap_or(90);
                compressed(&mixed, offset.0.map(usize::from), quality, entry.chroma == "4:4:4")
            }
            _ => Ok(mixed),
        }
    }
}

/// Blocks of `original` with a `part` of their coefficients, the same ones everywhere, taken from `made`.
fn mixed_coefficients(made: &Rgb8, original: &Rgb8, part: f32, rng: &mut TrainRng) -> Result<Rgb8> {
    let taken: [bool; BLOCK * BLOCK] = std::array::from_fn(|_| chance(rng, part));
    let basis = basis();
    let (made, mut mixed) = (pixels::planes(made), pixels::planes(original));
    for (made, mixed) in made.iter().zip(&mut mixed) {
        let whole = |side: usize| side / BLOCK * BLOCK;
        for top in (0..whole(mixed.height)).step_by(BLOCK) {
            for left in (0..whole(mixed.width)).step_by(BLOCK) {
                let at = |i: usize| (top + i / BLOCK) * mixed.width + left + i % BLOCK;
                // Only what differs has to be transformed.
                let mut block = std::array::from_fn(|i| made.data[at(i)] - mixed.data[at(i)]);
                block = transformed(&basis, &block, false);
                block.iter_mut().zip(taken).filter(|(_, taken)| !taken).for_each(|(value, _)| *value = 0.0);
                block = transformed(&basis, &block, true);
                (0..BLOCK * BLOCK).for_each(|i| mixed.data[at(i)] += block[i]);
            }
        }
    }
    pixels::from_planes(&mixed)
}

/// The cosines of a block's transform, one coefficient a row.
fn basis() -> [[f32; BLOCK]; BLOCK] {
    std::array::from_fn(|k| {
        let scale = if k == 0 { (1.0 / BLOCK as f32).sqrt() } else { (2.0 / BLOCK as f32).sqrt() };
        std::array::from_fn(|n| {
            scale * (std::f32::consts::PI * (2 * n + 1) as f32 * k as f32 / (2 * BLOCK) as f32).cos()
        })
    })
}

/// A block's coefficients, or back from them.
fn transformed(basis: &[[f32; BLOCK]; BLOCK], block: &[f32; BLOCK * BLOCK], back: bool) -> [f32; BLOCK * BLOCK] {
    let weight = |to: usize, from: usize| if back { basis[from][to] } else { basis[to][from] };
    let rows: [f32; BLOCK * BLOCK] =
        std::array::from_fn(|i| (0..BLOCK).map(|n| weight(i % BLOCK, n) * block[i / BLOCK * BLOCK + n]).sum());
    std::array::from_fn(|i| (0..BLOCK).map(|n| weight(i / BLOCK, n) * rows[n * BLOCK + i % BLOCK]).sum())
}

/// The picture after JPEG whose blocks begin `offset` (down, across) before its upper left pixel.
fn compressed(picture: &Rgb8, offset: [usize; 2], quality: u8, full_chroma: bool) -> Result<Rgb8> {
    let (height, width) = (picture.height + offset[0], picture.width + offset[1]);
    let mut data = Vec::with_capacity(height * width * 3);
    for row in 0..height {
        for column in 0..width {
            let place = |index: usize, axis: usize, side: usize| reflect(index as isize - offset[axis] as isize, side);
            data.extend(picture.pixel(place(row, 0, picture.height), place(column, 1, picture.width)));
        }
    }
    let file = encode_jpeg(&Rgb8::new(height, width, data)?, quality, full_chroma)?;
    pixels::trimmed(&decode(&file, &Limits::default())?.pixels, offset[0], offset[1], picture.height, picture.width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::pack::{Blocks, Status};
    use crate::train::data::table::parse_table;
    use crate::train::looks::ring::tests::textured;
    use crate::train::rng::{Stream, at};

    fn entry() -> Entry {
        let rows = parse_table("path,label,source\na.jpg,0,s\n".as_bytes(), "table").unwrap();
        Entry { jpeg_quality: Some(60), ..Entry::without_crop(&rows[0], Status::Packed) }
    }

    fn apart(a: &Rgb8, b: &Rgb8) -> f64 {
        a.data.iter().zip(&b.data).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.data.len() as f64
    }

    #[test]
    fn a_mix_lies_between_and_no_part_of_the_reconstruction_is_the_original() {
        let (original, made) = (textured(40, 1), textured(40, 2));
        let rng = &mut at(1, Stream::Forging, 3, 0);
        assert_eq!(apart(&mixed_coefficients(&made, &original, 0.0, rng).unwrap(), &original), 0.0);
        assert!(apart(&mixed_coefficients(&made, &original, 1.0, rng).unwrap(), &made) < 0.01);
        for (pixels, coefficients) in [(1.0, 0.0), (0.0, 1.0)] {
            let alignment = Alignment { pixels, coefficients, most: 0.8, compress: 0.0 };
            let mixed = alignment.apply(made.clone(), &original, &entry(), rng).unwrap();
            assert!(mixed != made && mixed != original);
            assert!(apart(&mixed, &original) < apart(&made, &original), "{pixels} {coefficients}");
        }
        assert_eq!(Alignment::NONE.apply(made.clone(), &original, &entry(), rng).unwrap(), made);
    }

    #[test]
    fn a_reconstruction_is_compressed_on_the_grid_of_its_original() {
        // A file of 96 px, and a crop that begins 21 down and 10 across.
        let photo = textured(96, 3);
        let file = decode(&encode_jpeg(&photo, 60, false).unwrap(), &Limits::default()).unwrap().pixels;
        let crop = |picture: &Rgb8| pixels::trimmed(picture, 21, 10, 48, 48).unwrap();
        let seen = |offset| compressed(&crop(&photo), offset, 60, false).unwrap();
        let offset = Blocks::of([21, 10]).0;
        assert_eq!(offset, [5, 10]);
        let inner = |picture: &Rgb8| pixels::trimmed(picture, 16, 16, 16, 16).unwrap();
        let (right, wrong) = (seen(offset.map(usize::from)), seen([0, 0]));
        let off = |picture: &Rgb8| apart(&inner(picture), &inner(&crop(&file)));
        assert!(off(&right) < 0.2 * off(&wrong), "{} and {}", off(&right), off(&wrong));
        let alignment = Alignment { compress: 1.0, ..Alignment::NONE };
        let rng = &mut at(1, Stream::Forging, 3, 1);
        let known = Entry { blocks: Some(Blocks(offset)), ..entry() };
        assert_eq!(alignment.apply(crop(&photo), &crop(&file), &known, rng).unwrap(), right);
        // Where the grid was lost in shrinking nothing is compressed.
        assert_eq!(alignment.apply(crop(&photo), &crop(&file), &entry(), rng).unwrap(), crop(&photo));
    }
}
