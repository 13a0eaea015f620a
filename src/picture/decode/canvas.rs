//! Rows of a file, in its own colours and direction -> upright RGB8 pixels. One row at a time, so that no second copy of a
//! large picture is ever held.

use crate::picture::Rgb8;
use crate::picture::colour::ToSrgb;
use crate::report::Bounds;

/// What the values of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// C M Y K with 255 for no ink, as nearly all JPEG files have it.
    Cmyk,
}

impl Layout {
    pub(super) fn channels(self) -> usize {
        match self {
            Layout::Grey => 1,
            Layout::GreyAlpha => 2,
            Layout::Rgb => 3,
            Layout::Rgba | Layout::Cmyk => 4,
        }
    }
}

/// The grey of places to which no row came.
const NOTHING: u8 = 128;

pub(super) struct Canvas {
    layout: Layout,
    /// Size as rows come, divided by `shrink`.
    height: usize,
    width: usize,
    /// EXIF's number for how the picture is to be turned, 1..=8.
    orientation: u8,
    colour: Option<ToSrgb>,
    /// So many rows and columns become one.
    shrink: usize,
    sums: Vec<u32>,
    summed: usize,
    line: Vec<u8>,
    data: Vec<u8>,
}

impl Canvas {
    /// A canvas for `height` rows of `width` pixels, each side divided by `shrink` by averaging.
    pub(super) fn new(
        layout: Layout,
        (height, width): (usize, usize),
        shrink: usize,
        orientation: u8,
        colour: Option<ToSrgb>,
    ) -> Self {
        let (high, wide) = (height.div_ceil(shrink), width.div_ceil(shrink));
        Canvas {
            layout,
            height: high,
            width: wide,
            orientation,
            colour,
            shrink,
            sums: vec![0; if shrink > 1 { 4 * wide } else { 0 }],
            summed: 0,
            line: vec![0; width * 3],
            data: vec![NOTHING; high * wide * 3],
        }
    }

    /// Takes row `y` up; with averaging rows must come in order.
    pub(super) fn put(&mut self, y: usize, row: &[u8]) {
        let mut line = std::mem::take(&mut self.line);
        self.to_rgb(row, &mut line);
        if self.shrink == 1 {
            self.place(y, &line);
        } else {
            self.average(y, &line);
        }
        self.line = line;
    }

    fn to_rgb(&self, row: &[u8], line: &mut [u8]) {
        let pixels = line.as_chunks_mut::<3>().0;
        match self.layout {
            Layout::Grey => {
                for (pixel, &grey) in pixels.iter_mut().zip(row) {
                    *pixel = [grey; 3];
                }
            }
            Layout::GreyAlpha => {
                for (pixel, &[grey, _]) in pixels.iter_mut().zip(row.as_chunks::<2>().0) {
                    *pixel = [grey; 3];
                }
            }
            Layout::Rgb => pixels.as_flattened_mut().copy_from_slice(row),
            Layout::Rgba => {
                for (pixel, &[r, g, b, _]) in pixels.iter_mut().zip(row.as_chunks::<4>().0) {
                    *pixel = [r, g, b];
                }
            }
            Layout::Cmyk => match &self.colour {
                Some(ToSrgb::Inks(inks)) => inks.row(row, pixels),
                _ => {
                    for (pixel, &[c, m, y, k]) in pixels.iter_mut().zip(row.as_chunks::<4>().0) {
                        *pixel = [c, m, y].map(|ink| ((u32::from(ink) * u32::from(k) + 127) / 255) as u8);
                    }
                }
            },
        }
        if let Some(ToSrgb::Light(light)) = &self.colour {
            light.row(pixels);
        }
        let opacities: Option<(usize, &[u8])> = match self.layout {
            Layout::GreyAlpha => Some((2, row)),
            Layout::Rgba => Some((4, row)),
            _ => None,
        };
        if let Some((step, row)) = opacities {
            for (pixel, &opacity) in pixels.iter_mut().zip(row[step - 1..].iter().step_by(step)) {
                *pixel = pixel.map(|value| on_white(value, opacity));
            }
        }
    }

    fn average(&mut self, y: usize, line: &[u8]) {
        let (sums, shrink) = (self.sums.as_chunks_mut::<4>().0, self.shrink);
        for (sum, pixels) in sums.iter_mut().zip(line.as_chunks::<3>().0.chunks(shrink)) {
            for pixel in pixels {
                for (sum, value) in sum.iter_mut().zip([pixel[0], pixel[1], pixel[2], 1]) {
                    *sum += u32::from(value);
                }
            }
        }
        self.summed += 1;
        if self.summed == shrink {
            self.flush(y / shrink);
        }
    }

    /// Places the average of the rows that came since the last time.
    fn flush(&mut self, y: usize) {
        let sums = self.sums.as_chunks::<4>().0.iter();
        let row: Vec<u8> =
            sums.flat_map(|&[r, g, b, n]| [r, g, b].map(|sum| ((sum + n / 2) / n.max(1)) as u8)).collect();
        self.place(y, &row);
        self.sums.fill(0);
        self.summed = 0;
    }

    /// Puts a finished row where it belongs in the upright picture.
    fn place(&mut self, y: usize, row: &[u8]) {
        let (high, wide) = (self.height, self.width);
        // Where its first pixel goes, and the step to the next one, in pixels of the upright picture.
        let (start, step) = match self.orientation {
            2 => (y * wide + wide - 1, -1),
            3 => ((high - 1 - y) * wide + wide - 1, -1),
            4 => ((high - 1 - y) * wide, 1),
            5 => (y, high as isize),
            6 => (high - 1 - y, high as isize),
            7 => ((wide - 1) * high + high - 1 - y, -(high as isize)),
            8 => ((wide - 1) * high + y, -(high as isize)),
            _ => (y * wide, 1),
        };
        let pixels = self.data.as_chunks_mut::<3>().0;
        let row = row.as_chunks::<3>().0;
        if step == 1 {
            pixels[start..start + wide].copy_from_slice(&row[..wide]);
        } else {
            let mut at = start as isize;
            for &pixel in &row[..wide] {
                pixels[at as usize] = pixel;
                at += step;
            }
        }
    }

    /// Whether height and width change places.
    pub(super) fn is_turned(&self) -> bool {
        self.orientation >= 5
    }

    /// The part of the upright picture that its first `rows` rows fill, once averaged.
    pub(super) fn part(&self, rows: usize) -> Bounds {
        let (rows, high, wide) = (rows as f32, self.height as f32, self.width as f32);
        let (x, y, width, height) = match self.orientation {
            3 | 4 => (0.0, high - rows, wide, rows),
            5 | 8 => (0.0, 0.0, rows, wide),
            6 | 7 => (high - rows, 0.0, rows, wide),
            _ => (0.0, 0.0, wide, rows),
        };
        Bounds { x, y, width, height }
    }

    /// The picture, once all rows came that will.
    pub(super) fn finish(mut self) -> Rgb8 {
        if self.summed > 0 {
            // Fewer rows than usual, at the lower edge. Where rows are missing that is nobody's picture anyway.
            self.flush(self.height - 1);
        }
        let (height, width) = if self.is_turned() { (self.width, self.height) } else { (self.height, self.width) };
        Rgb8 { height, width, data: self.data }
    }
}

/// Over white, as browsers show a transparent picture.
fn on_white(value: u8, opacity: u8) -> u8 {
    let opacity = u32::from(opacity);
    ((u32::from(value) * opacity + 255 * (255 - opacity) + 127) / 255) as u8
}
