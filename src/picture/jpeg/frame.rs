//! JPEG files -> rows of pixels, and how many of those rows are really there. Baseline, extended and progressive files of
//! Huffman codes and 8 bits a sample, with every sampling and every order of scans, to the very numbers of libjpeg (accurate
//! transform, smooth upsampling), which is what browsers show. Large pictures can be had at a half, quarter or eighth of their size.
//!
//! An own decoder, because those to be had either decode some layouts to garbage without a word, or do not tell a whole
//! picture from one of which half is made up. What the metadata of a file says is not read here.

use super::bits::{self, Huffman};
use super::rows::Rows;
use super::scan::{self, NATURAL, ScanHead, Store, Tables};
use crate::error::Result;
use crate::picture::decode::bad;

const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const HUFFMAN_TABLES: u8 = 0xc4;
const STEPS: u8 = 0xdb;
const RESTART_INTERVAL: u8 = 0xdd;
const ADOBE: u8 = 0xee;
/// More scans than any encoder makes; each costs a walk over all blocks.
const MAX_SCANS: usize = 200;

/// The colours that a file's samples stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

pub(super) struct Component {
    id: u8,
    /// Blocks a unit, across and down.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Which table of steps.
    table: usize,
    /// Blocks that the picture needs, without those that fill the last unit.
    pub(super) blocks_wide: usize,
    pub(super) blocks_high: usize,
}

/// What the headers say of the picture.
pub(crate) struct Frame {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) colours: Colours,
    pub(super) h_max: usize,
    pub(super) v_max: usize,
    pub(super) units_wide: usize,
    pub(super) units_high: usize,
    /// Whether the first scan holds all components, so that a file that is not progressive needs no more scans.
    one_scan: bool,
}

/// What decoding found.
pub(crate) struct Outcome {
    /// Rows from the top, at full size, that are there and can be trusted; all of them in a whole file.
    pub(crate) rows: usize,
    /// Whether the file ends with its end mark.
    pub(crate) ended: bool,
}

impl Frame {
    /// Reads the headers.
    ///
    /// # Errors
    /// `BadImage` when they are broken, or of a kind that is not read; the message says which.
    pub(crate) fn read(bytes: &[u8]) -> Result<Frame> {
        let mut adobe = None;
        let (mut jfif, mut frame) = (false, None::<Frame>);
        for segment in super::jpeg_segments(bytes) {
            match (segment.marker, segment.body) {
                (0xe0, body) if body.starts_with(b"JFIF\0") => jfif = true,
                (ADOBE, body) if body.starts_with(b"Adobe") => adobe = body.get(11).copied().or(adobe),
                (0xc0..=0xcf, body) if ![HUFFMAN_TABLES, 0xc8, 0xcc].contains(&segment.marker) && frame.is_none() => {
                    frame = Some(Frame::parse(segment.marker, body)?);
                }
                (START_OF_SCAN, body) => {
                    let Some(mut frame) = frame else { break };
                    frame.one_scan = !frame.progressive && body.first() == Some(&(frame.components.len() as u8));
                    frame.colours = frame.colours_by(jfif, adobe)?;
                    return Ok(frame);
                }
                _ => {}
            }
        }
        Err(bad("expected a JPEG file with a picture, found none behind its headers: it is cut off or damaged".into()))
    }

    fn parse(marker: u8, body: &[u8]) -> Result<Frame> {
        let coding = match marker {
            0xc0..=0xc2 => None,
            0xc3 => Some("lossless"),
            0xc5..=0xc7 => Some("hierarchical"),
            0xcb => Some("lossless, arithmetic coding"),
            0xc9 | 0xca => Some("arithmetic coding"),
            _ => Some("hierarchical, arithmetic coding"),
        };
        if let Some(coding) = coding {
            return Err(bad(format!("expected baseline or progressive JPEG with Huffman codes, found {coding}")));
        }
        let broken = || bad("expected the head of a JPEG picture, found one that is cut short".into());
        let [precision, h1, h0, w1, w0, count, rest @ ..] = body else { return Err(broken()) };
        if *precision != 8 {
            return Err(bad(format!("expected a JPEG of 8 bits a sample, found {precision} bits")));
        }
        let [height, width] = [[*h1, *h0], [*w1, *w0]].map(|side| usize::from(u16::from_be_bytes(side)));
        let count = usize::from(*count);
        if height == 0 || width == 0 {
            return Err(bad(format!("expected a picture with pixels, found {width} x {height}")));
        }
        if ![1, 3, 4].contains(&count) {
            return Err(bad(format!("expected a JPEG of 1, 3 or 4 colour components, found {count}")));
        }
        let heads = rest.get(..3 * count).ok_or_else(broken)?.as_chunks::<3>().0;
        let mut components: Vec<Component> = Vec::with_capacity(count);
        for &[id, sampling, table] in heads {
            let (h, v) = if count == 1 { (1, 1) } else { (usize::from(sampling >> 4), usize::from(sampling & 15)) };
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
                return Err(bad(format!(
                    "expected JPEG sampling of 1 to 4 and table 0 to 3, found {h} x {v}, {table}"
                )));
            }
            components.push(Component { id, h, v, table: usize::from(table), blocks_wide: 0, blocks_high: 0 });
        }
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        for component in &mut components {
            component.blocks_wide = (width * component.h).div_ceil(8 * h_max);
            component.blocks_high = (height * component.v).div_ceil(8 * v_max);
        }
        Ok(Frame {
            height,
            width,
            progressive: marker == 0xc2,
            components,
            colours: Colours::Grey,
            h_max,
            v_max,
            units_wide: width.div_ceil(8 * h_max),
            units_high: height.div_ceil(8 * v_max),
            one_scan: false,
        })
    }

    /// As libjpeg decides: by the Adobe segment, the JFIF segment, the names of the components.
    fn colours_by(&self, jfif: bool, adobe: Option<u8>) -> Result<Colours> {
        let names: Vec<u8> = self.components.iter().map(|c| c.id).collect();
        Ok(match (names.len(), adobe) {
            (1, _) => Colours::Grey,
            (3, Some(0)) if !jfif => Colours::Rgb,
            (3, None) if !jfif && names == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::YCbCr,
            (_, Some(2)) => Colours::Ycck,
            _ => Colours::Cmyk,
        })
    }

    /// Bytes a pixel of the rows that [`Frame::decode`] gives: 1 is grey, 3 is R G B, 4 is C M Y K with 255 for no ink.
    pub(crate) fn channels(&self) -> usize {
        self.components.len()
    }

    /// Height and width at a size divided by `shrink`.
    pub(crate) fn size(&self, shrink: usize) -> (usize, usize) {
        (self.height.div_ceil(shrink), self.width.div_ceil(shrink))
    }

    /// Bytes that decoding holds beside the pixels it gives: the coefficients of files that tell a block in several scans.
    pub(crate) fn scratch_bytes(&self) -> u64 {
        let units = self.units_wide as u64 * if self.one_scan { 1 } else { self.units_high as u64 };
        let blocks: u64 = self.components.iter().map(|c| (c.h * c.v) as u64).sum();
        units * blocks * 128
    }

    /// Decodes to rows of pixels at a size divided by `shrink` (1, 2, 4 or 8), given to `emit` in order with their number. Rows
    /// that are not there are not given.
    ///
    /// # Errors
    /// `BadImage` when the headers contradict the data. Data that is missing or damaged is no error.
    pub(crate) fn decode(&self, bytes: &[u8], shrink: usize, emit: &mut dyn FnMut(usize, &[u8])) -> Result<Outcome> {
        let mut state = State::new(self);
        let mut store = Store::new(self, !self.one_scan);
        let mut rows = Rows::new(self, shrink);
        let mut at = 2;
        let mut scans = 0;
        let mut ended = false;
        while let Some(marker_at) = bits::next_marker(bytes, at) {
            let marker = bytes[marker_at + 1];
            at = marker_at + 2;
            match marker {
                END_OF_IMAGE => ended = true,
                // Without length and body.
                0x01 | 0xd0..=0xd7 => continue,
                _ => {}
            }
            // Another picture begins where this one has no end.
            if ended || marker == START_OF_IMAGE {
                break;
            }
            let Some(body) = segment_body(bytes, at) else { break };
            at += 2 + body.len();
            match marker {
                HUFFMAN_TABLES => state.huffman_tables(body)?,
                STEPS => state.steps(body)?,
                RESTART_INTERVAL => {
                    let interval = body.first_chunk::<2>().map(|pair| u16::from_be_bytes(*pair));
                    state.restart_interval = usize::from(interval.unwrap_or(0));
                }
                START_OF_SCAN if self.one_scan && scans > 0 => {}
                START_OF_SCAN => {
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(bad(format!("expected at most {MAX_SCANS} scans in a JPEG, found more")));
                    }
                    let head = self.scan_head(body)?;
                    let steps = state.latch_steps(&head)?;
                    let dc_steps: Vec<i32> = steps.iter().map(|table| i32::from(table[0])).collect();
                    let tables = Tables {
                        dc: &state.dc,
                        ac: &state.ac,
                        restart_interval: state.restart_interval,
                        dc_steps: &dc_steps,
                    };
                    let one_scan = self.one_scan;
                    let end = scan::decode(bytes, at, self, &head, &tables, &mut store, |row, store| {
                        if one_scan {
                            rows.add(row, store, &steps, emit);
                        }
                    });
                    at = end.marker;
                    state.note(&head, &end);
                    if !end.whole {
                        // What follows a scan that is not whole cannot mend it.
                        break;
                    }
                }
                _ => {}
            }
        }
        let complete = state.complete_rows();
        if !self.one_scan && complete > 0 {
            let steps = state.all_steps();
            for row in 0..self.units_high {
                rows.add(row, &store, &steps, emit);
            }
        }
        rows.finish(emit);
        // The row of units above a gap is smoothed with what is not there.
        let whole = complete >= self.height;
        let rows = if whole { self.height } else { complete.saturating_sub(self.v_max) };
        Ok(Outcome { rows, ended })
    }

    fn scan_head(&self, body: &[u8]) -> Result<ScanHead> {
        let broken = |what: &str| bad(format!("expected a JPEG scan that fits the picture, found {what}"));
        let count = usize::from(*body.first().ok_or_else(|| broken("none"))?);
        let (Some(parts), Some(&[first, last, approximation])) =
            (body.get(1..1 + 2 * count), body.get(1 + 2 * count..).and_then(|rest| rest.first_chunk::<3>()))
        else {
            return Err(broken("a head that is cut short"));
        };
        let mut found = Vec::with_capacity(count);
        for &[id, tables] in parts.as_chunks::<2>().0 {
            let place = self.components.iter().position(|c| c.id == id).ok_or_else(|| broken("another component"))?;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if dc > 3 || ac > 3 || found.iter().any(|&(known, _, _)| known == place) {
                return Err(broken("a component twice, or a table beyond the fourth"));
            }
            found.push((place, dc, ac));
        }
        let (band, approximation) = if self.progressive {
            let band = (usize::from(first), usize::from(last));
            (band, (u32::from(approximation >> 4), u32::from(approximation & 15)))
        } else {
            ((0, 63), (0, 0))
        };
        let dc_alone = !self.progressive || band.0 > 0 || band.1 == 0;
        if found.is_empty() || band.0 > band.1 || band.1 > 63 || !dc_alone || (band.0 > 0 && count > 1) {
            return Err(broken("coefficients in an order that the standard forbids"));
        }
        if approximation.1 > 13 {
            return Err(broken("coefficients of more than 13 bits"));
        }
        Ok(ScanHead { parts: found, band, approximation })
    }
}

/// The body of the segment whose length field stands at `at`.
fn segment_body(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?));
    bytes.get(at + 2..at + length)
}

/// Tables so far, and what of every coefficient is there.
struct State<'a> {
    frame: &'a Frame,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    steps: [Option<[u16; 64]>; 4],
    /// The steps of each component as they were at its first scan.
    latched: Vec<Option<[u16; 64]>>,
    restart_interval: usize,
    /// Rows of pixels to which no scan of a component fails.
    sound: Vec<usize>,
    /// Whether the last bit of each coefficient of each component came.
    full: Vec<[bool; 64]>,
}

impl<'a> State<'a> {
    fn new(frame: &'a Frame) -> Self {
        let count = frame.components.len();
        State {
            frame,
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            steps: [None; 4],
            latched: vec![None; count],
            restart_interval: 0,
            sound: vec![frame.height; count],
            full: vec![[false; 64]; count],
        }
    }

    fn huffman_tables(&mut self, mut body: &[u8]) -> Result<()> {
        let broken = || bad("expected a Huffman table, found one that contradicts itself".into());
        while let Some((&head, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(broken)?;
            let total: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or_else(broken)?;
            let table = Huffman::new(counts, symbols).ok_or_else(broken)?;
            let place = usize::from(head & 15);
            let class = if head >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *class.get_mut(place).ok_or_else(broken)? = Some(table);
            body = rest;
        }
        Ok(())
    }

    fn steps(&mut self, mut body: &[u8]) -> Result<()> {
        let broken = || bad("expected a quantisation table, found one that is cut short".into());
        while let Some((&head, rest)) = body.split_first() {
            let wide = head >> 4 != 0;
            let (values, rest) = rest.split_at_checked(if wide { 128 } else { 64 }).ok_or_else(broken)?;
            let mut table = [0; 64];
            for (place, natural) in NATURAL.iter().enumerate() {
                let value = if wide {
                    u16::from_be_bytes([values[2 * place], values[2 * place + 1]])
                } else {
                    u16::from(values[place])
                };
                table[usize::from(*natural)] = value;
            }
            *self.steps.get_mut(usize::from(head & 15)).ok_or_else(broken)? = Some(table);
            body = rest;
        }
        Ok(())
    }

    /// The steps of all components; those of this scan must be there.
    fn latch_steps(&mut self, head: &ScanHead) -> Result<Vec<[u16; 64]>> {
        for &(place, _, _) in &head.parts {
            let table = self.frame.components[place].table;
            if self.latched[place].is_none() {
                let missing = || bad(format!("expected quantisation table {table} before the picture, found none"));
                self.latched[place] = Some(self.steps[table].ok_or_else(missing)?);
            }
        }
        Ok(self.all_steps())
    }

    fn all_steps(&self) -> Vec<[u16; 64]> {
        self.latched.iter().map(|table| table.unwrap_or([0; 64])).collect()
    }

    fn note(&mut self, head: &ScanHead, end: &scan::ScanEnd) {
        for &(place, _, _) in &head.parts {
            let component = &self.frame.components[place];
            // A scan of one component counts its own blocks, others units.
            let blocks = if head.parts.len() == 1 { end.rows } else { end.rows * component.v };
            let rows = if end.whole { self.frame.height } else { blocks * 8 * self.frame.v_max / component.v };
            self.sound[place] = self.sound[place].min(rows);
            if head.approximation.1 == 0 {
                for &natural in &NATURAL[head.band.0..=head.band.1] {
                    self.full[place][usize::from(natural)] = true;
                }
            }
        }
    }

    /// Rows of pixels of which everything is there.
    fn complete_rows(&self) -> usize {
        let all = self.full.iter().flatten().all(|&full| full);
        if all { self.sound.iter().copied().min().unwrap_or(0) } else { 0 }
    }
}
