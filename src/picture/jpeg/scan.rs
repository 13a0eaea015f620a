//! One scan of a JPEG file -> coefficients (T.81, annexes F and G), and how much of it can be trusted: data that ends too
//! early, that does not end where it should, or that no encoder writes.

use super::bits::{Bits, Huffman};
use super::frame::{Component, Frame};

/// Unread bytes at the end of a scan that are put up with: some writers pad.
const SPARE_BYTES: usize = 16;
/// So many equal bytes in a row are no picture where the rest of the data does not fit either, but a hole in the file.
const HOLE_BYTES: usize = 64;
/// Largest brightness of a block that is believed, in sample steps round the middle; encoders stay within 128.
const MAX_MEAN: i32 = 192;
/// Zigzag order -> row by row.
#[rustfmt::skip]
pub(super) const NATURAL: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The head of a scan.
pub(super) struct ScanHead {
    /// Of each component of the scan: its place in the frame, and its DC and AC table.
    pub(super) parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient, in zigzag order.
    pub(super) band: (usize, usize),
    /// Bits of precision left out before this scan, 0 for the first one, and after it.
    pub(super) approximation: (u32, u32),
}

/// Coefficients of all components, block by block, row by row: of the whole picture, or of one row of units at a time.
pub(super) struct Store {
    whole: bool,
    planes: Vec<(usize, Vec<i16>)>,
}

impl Store {
    /// Room for the coefficients of a picture, or of one row of its units.
    pub(super) fn new(frame: &Frame, whole: bool) -> Self {
        let plane = |c: &Component| {
            let rows = if whole { frame.units_high * c.v } else { c.v };
            let wide = frame.units_wide * c.h;
            (wide, vec![0; wide * rows * 64])
        };
        Store { whole, planes: frame.components.iter().map(plane).collect() }
    }

    /// The row of blocks with this number of a component, `v` blocks high a row of units.
    pub(super) fn row(&self, component: usize, v: usize, row: usize) -> &[[i16; 64]] {
        let (wide, blocks) = &self.planes[component];
        let row = if self.whole { row } else { row % v };
        blocks[row * wide * 64..(row + 1) * wide * 64].as_chunks().0
    }

    #[inline]
    fn block(&mut self, component: usize, v: usize, row: usize, column: usize) -> &mut [i16; 64] {
        let (wide, blocks) = &mut self.planes[component];
        let row = if self.whole { row } else { row % v };
        let start = (row * *wide + column) * 64;
        (&mut blocks[start..start + 64]).try_into().expect("64 coefficients")
    }

    fn clear(&mut self) {
        for (_, blocks) in &mut self.planes {
            blocks.fill(0);
        }
    }
}

/// How a scan came out.
pub(super) struct ScanEnd {
    /// Rows of units from the top (rows of blocks in a scan of one component) that can be trusted.
    pub(super) rows: usize,
    /// Whether that is all of them.
    pub(super) whole: bool,
    /// The marker behind its data.
    pub(super) marker: usize,
}

/// What decoding needs beside the data.
pub(super) struct Tables<'a> {
    pub(super) dc: &'a [Option<Huffman>; 4],
    pub(super) ac: &'a [Option<Huffman>; 4],
    /// Units between two restart markers; 0 where there are none.
    pub(super) restart_interval: usize,
    /// The step of the DC coefficient of each component of the frame.
    pub(super) dc_steps: &'a [i32],
}

/// Decodes the scan whose data begins at `at`. `row_done` is told each row of units once it is there; where the store holds
/// one row only, it is emptied for the next.
pub(super) fn decode(
    data: &[u8],
    at: usize,
    frame: &Frame,
    head: &ScanHead,
    tables: &Tables<'_>,
    store: &mut Store,
    mut row_done: impl FnMut(usize, &Store),
) -> ScanEnd {
    let alone = head.parts.len() == 1;
    let (wide, high) = if alone {
        let component = &frame.components[head.parts[0].0];
        (component.blocks_wide, component.blocks_high)
    } else {
        (frame.units_wide, frame.units_high)
    };
    let mut bits = Bits::new(data, at);
    let mut coder = Coder { frame, head, tables, predictors: [0; 4], end_of_band_run: 0 };
    // Where rows and restart intervals begin: place in the file, and units before it.
    let mut marks = vec![(at, 0)];
    let mut interval = (at, 0);
    let mut next_restart = 0u8;
    let mut trusted = None;
    'units: for row in 0..high {
        if !store.whole {
            store.clear();
        }
        marks.push((bits.position(), row * wide));
        for column in 0..wide {
            let done = row * wide + column;
            if tables.restart_interval > 0 && done > 0 && done.is_multiple_of(tables.restart_interval) {
                let (marker, spare) = bits.rest();
                let expected = data.get(marker + 1) == Some(&(0xd0 + next_restart));
                if !expected || spare > SPARE_BYTES {
                    // Where the marker is missing but the data before it fitted, the file ends here.
                    let fits = spare <= SPARE_BYTES;
                    trusted = Some(if fits { done } else { before_hole(data, interval, marker, &marks) });
                    break 'units;
                }
                bits.restart(marker + 2);
                interval = (marker + 2, done);
                marks.push(interval);
                next_restart = (next_restart + 1) % 8;
                coder.predictors = [0; 4];
                coder.end_of_band_run = 0;
            }
            let sound = if alone {
                coder.block(&mut bits, store, 0, row, column)
            } else {
                coder.unit(&mut bits, store, row, column)
            };
            if sound.is_none() {
                trusted = Some(before_hole(data, interval, bits.position(), &marks));
                break 'units;
            }
            if bits.overrun() {
                trusted = Some(done);
                break 'units;
            }
        }
        row_done(row, store);
    }
    let (marker, spare) = bits.rest();
    if trusted.is_none() && spare > SPARE_BYTES && !padding(&data[bits.position()..marker], &data[..bits.position()]) {
        trusted = Some(before_hole(data, interval, marker, &marks));
    }
    if let Some(hole) = zeros(&data[at..bits.position()]).filter(|_| !coder.zeros_are_flat()) {
        let units = units_before(at + hole, &marks);
        trusted = Some(trusted.map_or(units, |known| known.min(units)));
    }
    ScanEnd { rows: trusted.map_or(high, |units| units / wide), whole: trusted.is_none(), marker }
}

/// Where the first long run of zero bytes begins.
fn zeros(bytes: &[u8]) -> Option<usize> {
    // Of a run that long every stride hits one byte with half of it ahead.
    const STRIDE: usize = HOLE_BYTES / 2;
    (0..bytes.len()).step_by(STRIDE).find_map(|at| {
        let before = bytes[..at].iter().rev().take(STRIDE).take_while(|&&byte| byte == 0).count();
        let after = bytes[at..].iter().take(HOLE_BYTES).take_while(|&&byte| byte == 0).count();
        (after > 0 && before + after >= HOLE_BYTES).then_some(at - before)
    })
}

/// Whether what lies behind the data is filling that began there, and no hole that the data itself fell into.
fn padding(spare: &[u8], read: &[u8]) -> bool {
    let fill = spare[spare.len() - 1];
    let same = |bytes: &[u8]| bytes.iter().rev().take_while(|&&byte| byte == fill).count();
    same(spare) + SPARE_BYTES >= spare.len() && same(read) < HOLE_BYTES
}

/// Units that can be trusted of a restart interval whose data does not fit: those before the first hole in it, where there is
/// one; else none, because wrong data is noticed long after it began.
fn before_hole(data: &[u8], interval: (usize, usize), end: usize, marks: &[(usize, usize)]) -> usize {
    let bytes = &data[interval.0..end.max(interval.0)];
    let hole = bytes.chunk_by(|a, b| a == b).scan(interval.0, |place, run| {
        let start = *place;
        *place += run.len();
        Some((start, run.len()))
    });
    let Some((hole, _)) = hole.into_iter().find(|&(_, length)| length >= HOLE_BYTES) else { return interval.1 };
    units_before(hole, marks).max(interval.1)
}

/// Units whose data lies before this place for sure.
fn units_before(place: usize, marks: &[(usize, usize)]) -> usize {
    marks.iter().rev().find(|(mark, _)| mark + SPARE_BYTES <= place).map_or(0, |&(_, units)| units)
}

/// What one scan's decoding remembers from block to block.
struct Coder<'a> {
    frame: &'a Frame,
    head: &'a ScanHead,
    tables: &'a Tables<'a>,
    predictors: [i32; 4],
    end_of_band_run: u32,
}

impl Coder<'_> {
    /// Whether zero bits are how this scan tells flat areas, so that many of them are no hole.
    fn zeros_are_flat(&self) -> bool {
        let nothing = |table: &Option<Huffman>, end_of_band: bool| {
            table
                .as_ref()
                .and_then(Huffman::zero)
                .is_some_and(|symbol| symbol == 0 || end_of_band && symbol & 15 == 0 && symbol < 0xf0)
        };
        let (first, last) = self.head.band;
        let refines_dc = self.head.approximation.0 > 0 && first == 0;
        refines_dc
            || self.head.parts.iter().all(|&(_, dc, ac)| {
                (first > 0 || nothing(&self.tables.dc[dc], false)) && (last == 0 || nothing(&self.tables.ac[ac], true))
            })
    }

    /// One unit of a scan of several components; nothing when no encoder writes such data.
    #[inline]
    fn unit(&mut self, bits: &mut Bits<'_>, store: &mut Store, row: usize, column: usize) -> Option<()> {
        for part in 0..self.head.parts.len() {
            let component = &self.frame.components[self.head.parts[part].0];
            let (h, v) = (component.h, component.v);
            for y in 0..v {
                for x in 0..h {
                    self.block(bits, store, part, row * v + y, column * h + x)?;
                }
            }
        }
        Some(())
    }

    #[inline]
    fn block(&mut self, bits: &mut Bits<'_>, store: &mut Store, part: usize, row: usize, column: usize) -> Option<()> {
        let (component, dc, ac) = self.head.parts[part];
        let v = self.frame.components[component].v;
        let block = store.block(component, v, row, column);
        let (high, low) = self.head.approximation;
        if !self.frame.progressive {
            self.dc(bits, block, component, dc, 0)?;
            return self.ac(bits, block, ac);
        }
        match (self.head.band.0, high) {
            (0, 0) => self.dc(bits, block, component, dc, low),
            (0, _) => {
                if bits.filled_number(1) == 1 {
                    block[0] |= 1 << low;
                }
                Some(())
            }
            (_, 0) => self.ac_first(bits, block, ac, low),
            _ => self.ac_refine(bits, block, ac, low),
        }
    }

    #[inline]
    fn dc(
        &mut self,
        bits: &mut Bits<'_>,
        block: &mut [i16; 64],
        component: usize,
        table: usize,
        low: u32,
    ) -> Option<()> {
        let length = u32::from(bits.symbol(self.tables.dc[table].as_ref()?)?);
        if length > 15 {
            return None;
        }
        let value = self.predictors[component].wrapping_add(bits.signed(length));
        self.predictors[component] = value;
        let (full, step) = (i64::from(value) << low, i64::from(self.tables.dc_steps[component]));
        // An encoder rounds by at most half a step, so that a whole one is room enough.
        if full.abs() * step > i64::from(8 * MAX_MEAN) + step {
            return None;
        }
        block[0] = full as i16;
        Some(())
    }

    #[inline]
    fn ac(&mut self, bits: &mut Bits<'_>, block: &mut [i16; 64], table: usize) -> Option<()> {
        let table = self.tables.ac[table].as_ref()?;
        let mut k = 1;
        while k < 64 {
            let symbol = bits.symbol(table)?;
            let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if length == 0 {
                if run != 15 {
                    return Some(());
                }
                k += 16;
                continue;
            }
            k += run;
            let place = *NATURAL.get(k)?;
            block[usize::from(place)] = bits.signed(length) as i16;
            k += 1;
        }
        // Sixteen zeros may end exactly behind the block, as some writers have it.
        (k == 64).then_some(())
    }

    fn ac_first(&mut self, bits: &mut Bits<'_>, block: &mut [i16; 64], table: usize, low: u32) -> Option<()> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Some(());
        }
        let table = self.tables.ac[table].as_ref()?;
        let (mut k, last) = self.head.band;
        while k <= last {
            let symbol = bits.symbol(table)?;
            let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if length == 0 {
                if run < 15 {
                    self.end_of_band_run = (1 << run) - 1 + bits.number(run as u32);
                    return Some(());
                }
                k += 16;
                continue;
            }
            k += run;
            if k > last {
                return None;
            }
            block[usize::from(NATURAL[k])] = (bits.signed(length) << low) as i16;
            k += 1;
        }
        Some(())
    }

    fn ac_refine(&mut self, bits: &mut Bits<'_>, block: &mut [i16; 64], table: usize, low: u32) -> Option<()> {
        let table = self.tables.ac[table].as_ref()?;
        let (mut k, last) = self.head.band;
        let step = 1i16 << low;
        // One more bit of a coefficient that is not zero so far.
        let refine = |bits: &mut Bits<'_>, value: &mut i16| {
            if bits.filled_number(1) == 1 && *value & step == 0 {
                *value = if *value > 0 { value.wrapping_add(step) } else { value.wrapping_sub(step) };
            }
        };
        if self.end_of_band_run == 0 {
            while k <= last {
                let symbol = bits.symbol(table)?;
                let (mut run, length) = (usize::from(symbol >> 4), symbol & 15);
                let mut new = 0;
                match length {
                    0 if run < 15 => {
                        self.end_of_band_run = (1 << run) + bits.number(run as u32);
                        break;
                    }
                    0 => {}
                    1 => new = if bits.number(1) == 1 { step } else { -step },
                    _ => return None,
                }
                // Passes `run` coefficients that stay zero, and refines the others on the way.
                while k <= last {
                    let value = &mut block[usize::from(NATURAL[k])];
                    k += 1;
                    if *value != 0 {
                        refine(bits, value);
                    } else if run == 0 {
                        *value = new;
                        new = 0;
                        break;
                    } else {
                        run -= 1;
                    }
                }
                if new != 0 {
                    return None;
                }
            }
        }
        if self.end_of_band_run > 0 {
            for place in &NATURAL[k..=last] {
                let value = &mut block[usize::from(*place)];
                if *value != 0 {
                    refine(bits, value);
                }
            }
            self.end_of_band_run -= 1;
        }
        Some(())
    }
}
