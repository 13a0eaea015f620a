//! Coefficients, a row of units at a time -> rows of pixels: transform, upsampling of the coarser components, colour. As
//! libjpeg does it (`jdsample.c`, `jdcolor.c`). Rows come one unit late, because smooth upsampling looks at the next.

use super::frame::{Colours, Frame};
use super::idct;
use super::scan::Store;

/// The samples of a component: those of one row of units, and one row above and one below.
struct Strip {
    stride: usize,
    /// Rows of samples a row of units.
    high: usize,
    /// Size of the component without what fills the last unit.
    real_width: usize,
    real_height: usize,
    /// Row 0 is the last of the unit above, row `high + 1` the first of that below.
    samples: Vec<u8>,
}

impl Strip {
    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.stride..(row + 1) * self.stride]
    }
}

/// The assembly of rows.
pub(super) struct Rows<'a> {
    frame: &'a Frame,
    /// Side of a transformed block.
    size: usize,
    height: usize,
    width: usize,
    strips: Vec<Strip>,
    /// The row of units that waits for the one below it.
    waiting: Option<usize>,
    /// The next one, as it is transformed.
    next: Vec<Vec<u8>>,
    lines: Vec<Vec<u8>>,
    pixels: Vec<u8>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(frame: &'a Frame, shrink: usize) -> Self {
        let size = 8 / shrink;
        let (height, width) = frame.size(shrink);
        let strips: Vec<Strip> = frame
            .components
            .iter()
            .map(|component| {
                let (stride, high) = (frame.units_wide * component.h * size, component.v * size);
                Strip {
                    stride,
                    high,
                    real_width: (width * component.h).div_ceil(frame.h_max),
                    real_height: (height * component.v).div_ceil(frame.v_max),
                    samples: vec![0; stride * (high + 2)],
                }
            })
            .collect();
        let next = strips.iter().map(|strip| vec![0; strip.stride * strip.high]).collect();
        let lines = vec![vec![0; frame.units_wide * frame.h_max * size]; strips.len()];
        let pixels = vec![0; width * strips.len()];
        Rows { frame, size, height, width, strips, waiting: None, next, lines, pixels }
    }

    /// Takes up a row of units, and gives out the one above it.
    pub(super) fn add(&mut self, row: usize, store: &Store, steps: &[[u16; 64]], emit: &mut dyn FnMut(usize, &[u8])) {
        for (place, component) in self.frame.components.iter().enumerate() {
            let stride = self.strips[place].stride;
            for v in 0..component.v {
                let out = &mut self.next[place][v * self.size * stride..];
                for (column, block) in store.row(place, component.v, row * component.v + v).iter().enumerate() {
                    idct::block(block, &steps[place], self.size, &mut out[column * self.size..], stride);
                }
            }
        }
        for (strip, next) in self.strips.iter_mut().zip(&self.next) {
            let below = (strip.high + 1) * strip.stride;
            strip.samples[below..].copy_from_slice(&next[..strip.stride]);
        }
        self.give_out(emit);
        for (strip, next) in self.strips.iter_mut().zip(&self.next) {
            // The last row of what was given out becomes the row above.
            strip.samples.copy_within(strip.high * strip.stride..(strip.high + 1) * strip.stride, 0);
            strip.samples[strip.stride..strip.stride + next.len()].copy_from_slice(next);
        }
        self.waiting = Some(row);
    }

    /// Gives out the last row of units.
    pub(super) fn finish(&mut self, emit: &mut dyn FnMut(usize, &[u8])) {
        self.give_out(emit);
        self.waiting = None;
    }

    fn give_out(&mut self, emit: &mut dyn FnMut(usize, &[u8])) {
        let Some(unit) = self.waiting else { return };
        let high = self.frame.v_max * self.size;
        for y in unit * high..((unit + 1) * high).min(self.height) {
            for (place, component) in self.frame.components.iter().enumerate() {
                let ratio = (self.frame.h_max, component.h, self.frame.v_max, component.v);
                upsample(&self.strips[place], unit, y, ratio, &mut self.lines[place]);
            }
            colour(self.frame.colours, &self.lines, self.width, &mut self.pixels);
            emit(y, &self.pixels);
        }
    }
}

/// One row of the picture's width from a component. `ratio`: samples a unit across, of the finest component and of this
/// one, and the same down.
fn upsample(strip: &Strip, unit: usize, y: usize, ratio: (usize, usize, usize, usize), line: &mut [u8]) {
    let (h_max, h, v_max, v) = ratio;
    let first = unit * strip.high;
    // Rows beyond the component's last one repeat it; so does the one above the first.
    let row = |row: usize| strip.row(row.min(strip.real_height - 1) + 1 - first);
    let own = y * v / v_max;
    let (across, down) = ((h_max, h) == (2 * h, h), (v_max, v) == (2 * v, v));
    // libjpeg smoothes no component that is narrower.
    let across = across && strip.real_width > 2;
    if (h_max == h || across) && down {
        let other = if y % 2 == 1 {
            row(own + 1)
        } else if own == 0 {
            row(0)
        } else {
            strip.row(own - first)
        };
        let near = row(own);
        if across {
            double_both(&near[..strip.real_width], &other[..strip.real_width], line);
        } else {
            // Rounded up and down in turn.
            let bias = 1 + (y % 2) as u16;
            for ((out, &a), &b) in line.iter_mut().zip(near).zip(other) {
                *out = ((3 * u16::from(a) + u16::from(b) + bias) >> 2) as u8;
            }
        }
    } else if across && v_max == v {
        double(&row(own)[..strip.real_width], line);
    } else if h_max == h {
        let near = row(own);
        line[..near.len()].copy_from_slice(near);
    } else {
        let near = row(own);
        for (x, out) in line.iter_mut().enumerate() {
            *out = near[x * h / h_max];
        }
    }
}

/// Twice as wide: three parts of the nearer sample, one of the farther.
fn double(row: &[u8], line: &mut [u8]) {
    let last = row.len() - 1;
    for (x, pair) in line.as_chunks_mut::<2>().0.iter_mut().enumerate().take(row.len()) {
        let own = 3 * u16::from(row[x]);
        pair[0] = if x == 0 { row[0] } else { ((own + u16::from(row[x - 1]) + 1) >> 2) as u8 };
        pair[1] = if x == last { row[last] } else { ((own + u16::from(row[x + 1]) + 2) >> 2) as u8 };
    }
}

/// Twice as wide, and a row between `near` and `other`.
fn double_both(near: &[u8], other: &[u8], line: &mut [u8]) {
    let sum = |x: usize| 3 * u16::from(near[x]) + u16::from(other[x]);
    let last = near.len() - 1;
    let pairs = line.as_chunks_mut::<2>().0;
    pairs[0] = [((4 * sum(0) + 8) >> 4) as u8, ((3 * sum(0) + sum(1) + 7) >> 4) as u8];
    for (x, pair) in pairs.iter_mut().enumerate().take(last).skip(1) {
        let own = 3 * sum(x);
        *pair = [((own + sum(x - 1) + 8) >> 4) as u8, ((own + sum(x + 1) + 7) >> 4) as u8];
    }
    pairs[last] = [((3 * sum(last) + sum(last - 1) + 8) >> 4) as u8, ((4 * sum(last) + 7) >> 4) as u8];
}

/// The lines of the components -> pixels, as [`Frame::channels`](super::Frame::channels) says.
fn colour(colours: Colours, lines: &[Vec<u8>], width: usize, pixels: &mut [u8]) {
    match (colours, lines) {
        (Colours::Grey, [grey, ..]) => pixels.copy_from_slice(&grey[..width]),
        (Colours::Rgb, [r, g, b]) => {
            for (((pixel, &r), &g), &b) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(r).zip(g).zip(b) {
                *pixel = [r, g, b];
            }
        }
        (Colours::YCbCr, [y, cb, cr]) => {
            for (((pixel, &y), &cb), &cr) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr) {
                *pixel = rgb(y, cb, cr);
            }
        }
        (_, [y, cb, cr, k]) => {
            let pixels = pixels.as_chunks_mut::<4>().0.iter_mut();
            for ((((pixel, &y), &cb), &cr), &k) in pixels.zip(y).zip(cb).zip(cr).zip(k) {
                let [c, m, y] =
                    if colours == Colours::Ycck { rgb(y, cb, cr).map(|value| 255 - value) } else { [y, cb, cr] };
                *pixel = [c, m, y, k];
            }
        }
        _ => unreachable!("a frame has as many lines as its colours have channels"),
    }
}

/// YCbCr -> RGB with 16 fractional bits, rounded as libjpeg rounds.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91_881 * cr + HALF) >> 16);
    let green = y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}
