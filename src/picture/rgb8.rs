//! The one form in which pictures go through the program.

use std::borrow::Borrow;

use crate::error::{Error, ErrorKind, Result};

/// An RGB picture, 8 bits a channel, rows from the top, interleaved (HWC).
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width * 3` bytes, R G B.
    pub data: Vec<u8>,
}

impl Rgb8 {
    /// A picture from its bytes.
    ///
    /// # Errors
    /// `BadImage` when a side is 0 or `data` does not hold `height * width * 3` bytes.
    pub fn new(height: usize, width: usize, data: Vec<u8>) -> Result<Self> {
        let expected = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(3));
        if height == 0 || width == 0 || expected != Some(data.len()) {
            return Err(Error::new(
                ErrorKind::BadImage,
                format!(
                    "expected height x width x 3 bytes and no empty side, found {height} x {width} and {} bytes",
                    data.len()
                ),
            ));
        }
        Ok(Rgb8 { height, width, data })
    }

    /// R, G and B of one pixel.
    ///
    /// # Panics
    /// When `y` or `x` lies outside the picture.
    pub fn pixel(&self, y: usize, x: usize) -> [u8; 3] {
        assert!(y < self.height && x < self.width, "pixel ({y}, {x}) of a {} x {} picture", self.height, self.width);
        let start = (y * self.width + x) * 3;
        [self.data[start], self.data[start + 1], self.data[start + 2]]
    }

    /// Brightness of each pixel, 0..=255, by the BT.601 weights in whole numbers, so that every machine gets the same.
    pub fn luma(&self) -> Vec<u8> {
        // 77 + 150 + 29 = 256: white stays white, and the largest sum fits 16 bits.
        let weigh = |p: &[u8]| (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]) + 128) >> 8;
        self.data.chunks_exact(3).map(|pixel| weigh(pixel) as u8).collect()
    }
}

impl std::fmt::Debug for Rgb8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgb8({} x {})", self.height, self.width)
    }
}

/// The channels of pictures of one size as planes of 0..1, one picture after the other: `[n, 3, height, width]`.
///
/// # Panics
/// When the sizes differ.
pub fn planes<P: Borrow<Rgb8>>(pictures: &[P]) -> Vec<f32> {
    let size = |picture: &Rgb8| (picture.height, picture.width);
    let mut values = Vec::with_capacity(pictures.iter().map(|picture| picture.borrow().data.len()).sum());
    for picture in pictures {
        let picture = picture.borrow();
        assert_eq!(size(picture), size(pictures[0].borrow()), "pictures of a batch share one size");
        for channel in 0..3 {
            values.extend(picture.data.iter().skip(channel).step_by(3).map(|&value| f32::from(value) / 255.0));
        }
    }
    values
}
