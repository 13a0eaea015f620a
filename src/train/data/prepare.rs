//! `grnet prepare`: a data set -> a pack of face crops. The same decoding, face finding and cropping as `detect`.
//! Nothing is dropped in silence: every row of the table has a line in the manifest that says what became of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::landmarks::LandmarkNet;
use super::layout::Dataset;
use super::pack::{self, Blocks, CROPS_FILE, Entry, MANIFEST_FILE, PackInfo, Status, read_manifest};
use super::table::{Crop, Row, Split};
use crate::picture::crop;
use crate::picture::face::{FaceFinder, Finder};
use crate::picture::quality;
use crate::picture::{self, Limits, Rgb8};
use crate::report::Bounds;
use crate::train::looks::pixels::{self, Kernel};
use crate::{Error, ErrorKind, Result};

/// How crops are made.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareConfig {
    /// Crops larger than this are brought down to it.
    pub side_px: usize,
    /// Side of the crops in sides of the face's box, wider than any that training draws.
    pub margin: f32,
    /// Take every picture whole, whatever the table says: the data is already cropped.
    pub cropped: bool,
    /// Leave out rows of the test split: what is not in the pack cannot be trained on by mistake.
    pub skip_test: bool,
    /// Keep pictures that are nearly equal to another of the same source and label.
    pub keep_duplicates: bool,
    /// Finds the points of faces; without it the pack has none, and masks are drawn.
    pub landmarks: Option<LandmarkNet>,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        PrepareConfig {
            side_px: 256,
            margin: 1.9,
            cropped: false,
            skip_test: false,
            keep_duplicates: false,
            landmarks: None,
        }
    }
}

/// Rows between two writes: what an interruption can cost.
const CHUNK: usize = 256;

/// Counts of what became of the rows, by status and source.
pub type Counts = BTreeMap<(Status, String), usize>;

/// Cuts the faces of all rows of `data` into `folder`. A folder that is already complete is left as it is; an interrupted
/// one is continued, and so is one whose crops were cut off. `progress` is told (done, all) after every chunk; `stop` ends
/// it at the next chunk.
///
/// # Errors
/// `Io` when files cannot be written, `Cancelled` when stopped.
pub fn prepare(
    data: &Dataset,
    folder: &Path,
    config: &PrepareConfig,
    stop: &AtomicBool,
    mut progress: impl FnMut(usize, usize),
) -> Result<Counts> {
    let mut rows = data.rows.clone();
    if config.skip_test {
        rows.retain(|row| row.split != Split::Test);
    }
    let base = &data.base;
    fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
    let manifest = folder.join(MANIFEST_FILE);
    if manifest.exists() {
        let entries = read_manifest(BufReader::new(File::open(&manifest).map_err(|e| io(&manifest, e))?))?;
        let crops = folder.join(CROPS_FILE);
        let length = fs::metadata(&crops).map_or(0, |file| file.len());
        if entries.iter().all(|entry| entry.end() <= length) {
            return Ok(count(&entries));
        }
        // Cut, or its crops are gone: unfinished again. The manifest first, which makes a pack complete.
        let [crops_unfinished, manifest_unfinished] = unfinished_files(folder);
        fs::rename(&manifest, &manifest_unfinished).map_err(|e| io(&manifest_unfinished, e))?;
        if crops.exists() {
            fs::rename(&crops, &crops_unfinished).map_err(|e| io(&crops_unfinished, e))?;
        }
    }
    let mut unfinished = Unfinished::open(folder, &rows)?;
    while unfinished.entries.len() < rows.len() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, format!("stopped after {} rows", unfinished.entries.len())));
        }
        let done = unfinished.entries.len();
        let chunk = &rows[done..(done + CHUNK).min(rows.len())];
        // A finder a thread: it keeps scratch memory between pictures.
        let cut = chunk.par_iter().map_init(Finder::new, |finder, row| match finder {
            Ok(finder) => Ok(cut_row(base, row, finder, config)),
            Err(e) => Err(Error::new(ErrorKind::Internal, e.full_message())),
        });
        unfinished.append(cut.collect::<Result<Vec<_>>>()?)?;
        progress(unfinished.entries.len(), rows.len());
    }
    unfinished.finish(folder, config)
}

fn count(entries: &[Entry]) -> Counts {
    let mut counts = Counts::new();
    for entry in entries {
        *counts.entry((entry.status, entry.source.clone())).or_default() += 1;
    }
    counts
}

/// What is said of a file of a pack that cannot be written.
pub(in crate::train) fn io(path: &Path, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Io, format!("cannot write {}", path.display()), error)
}

/// The files of a pack in the making: crops and manifest.
fn unfinished_files(folder: &Path) -> [PathBuf; 2] {
    [CROPS_FILE, MANIFEST_FILE].map(|name| folder.join(format!("{name}.unfinished")))
}

/// A pack in the making: both files carry `.unfinished` until the end.
struct Unfinished {
    entries: Vec<Entry>,
    crops: File,
    crops_path: PathBuf,
    offset: u64,
    manifest: csv::Writer<File>,
    manifest_path: PathBuf,
}

impl Unfinished {
    /// Starts anew, or goes on after the last row that is whole in both files.
    fn open(folder: &Path, rows: &[Row]) -> Result<Self> {
        let [crops_path, manifest_path] = unfinished_files(folder);
        let named = folder.join(CROPS_FILE);
        if named.exists() && !crops_path.exists() {
            // Ended while the files got their names, before the manifest had its own.
            fs::rename(&named, &crops_path).map_err(|e| io(&crops_path, e))?;
        }
        let mut open = OpenOptions::new();
        open.create(true).truncate(false).read(true).write(true);
        let mut crops = open.open(&crops_path).map_err(|e| io(&crops_path, e))?;
        let length = crops.metadata().map_err(|e| io(&crops_path, e))?.len();
        let mut manifest = open.open(&manifest_path).map_err(|e| io(&manifest_path, e))?;
        let mut text = Vec::new();
        manifest.read_to_end(&mut text).map_err(|e| io(&manifest_path, e))?;
        let (entries, kept) = whole_lines(&text, |entry, index| {
            rows.get(index).is_some_and(|row| entry.path == row.path) && entry.end() <= length
        });
        let offset = entries.iter().map(Entry::end).max().unwrap_or(0);
        for (file, path, length) in [(&mut crops, &crops_path, offset), (&mut manifest, &manifest_path, kept)] {
            file.set_len(length).and_then(|()| file.seek(SeekFrom::End(0))).map_err(|e| io(path, e))?;
        }
        let manifest = csv::WriterBuilder::new().has_headers(kept == 0).from_writer(manifest);
        Ok(Unfinished { entries, crops, crops_path, offset, manifest, manifest_path })
    }

    fn append(&mut self, cut: Vec<(Entry, Option<Rgb8>)>) -> Result<()> {
        let mut bytes = Vec::new();
        let first = self.entries.len();
        for (mut entry, crop) in cut {
            if let Some(crop) = crop {
                entry.offset = self.offset + bytes.len() as u64;
                bytes.extend_from_slice(&crop.data);
            }
            self.entries.push(entry);
        }
        if let Err(error) = self.crops.write_all(&bytes) {
            // On a full disk half a crop would take the room of other files.
            let _ = self.crops.set_len(self.offset);
            return Err(io(&self.crops_path, error));
        }
        self.offset += bytes.len() as u64;
        for entry in &self.entries[first..] {
            self.manifest.serialize(entry).map_err(|e| io(&self.manifest_path, e.into()))?;
        }
        self.manifest.flush().map_err(|e| io(&self.manifest_path, e))
    }

    /// Marks near-duplicates, then both files get their names, the manifest last.
    fn finish(mut self, folder: &Path, config: &PrepareConfig) -> Result<Counts> {
        self.manifest.flush().map_err(|e| io(&self.manifest_path, e))?;
        self.crops.sync_all().map_err(|e| io(&self.crops_path, e))?;
        if !config.keep_duplicates {
            mark_duplicates(&mut self.entries, |entry| pack::read_crop(&mut self.crops, entry))?;
        }
        let crops = folder.join(CROPS_FILE);
        fs::rename(&self.crops_path, &crops).map_err(|e| io(&crops, e))?;
        PackInfo::new(config.margin).write(folder)?;
        pack::write_manifest(folder, &self.entries)?;
        // Left over when this fails, it is merely never looked at again.
        let _ = fs::remove_file(&self.manifest_path);
        Ok(count(&self.entries))
    }
}

/// The entries of a manifest that may have been cut off anywhere, up to the first that is not whole or not `good`, and the
/// bytes that they take. A line without its end is not whole, whatever it holds.
fn whole_lines(text: &[u8], good: impl Fn(&Entry, usize) -> bool) -> (Vec<Entry>, u64) {
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut lines = csv::Reader::from_reader(&text[..end]).into_deserialize::<Entry>();
    let (mut entries, mut kept) = (Vec::new(), 0);
    while let Some(Ok(entry)) = lines.next().filter(|line| line.as_ref().is_ok_and(|entry| good(entry, entries.len())))
    {
        entries.push(entry);
        kept = lines.reader().position().byte();
    }
    (entries, kept)
}

/// Bits in which the difference hashes of near-duplicates may differ; more needs more than the four bands below.
const DUPLICATE_BITS: u32 = 3;
/// Root mean square difference of two small grey pictures (0..255), up to which they are the same picture.
const DUPLICATE_RMS: f32 = 8.0;
const BANDS: u32 = 4;

/// Marks every packed picture that is nearly equal to another one of its source and label. Aligned faces of different
/// people can share a hash, so candidates are compared by their pixels. Of two the one in the test split is kept, then
/// validation, then training, then the earlier row: what was measured on must not have been learnt from.
fn mark_duplicates(entries: &mut [Entry], mut crop: impl FnMut(&Entry) -> Result<Rgb8>) -> Result<()> {
    let mut order: Vec<usize> = (0..entries.len()).filter(|&index| entries[index].packed()).collect();
    let rank = |split| [Split::Test, Split::Val, Split::Train].iter().position(|s| *s == split);
    order.sort_by_key(|&index| (rank(entries[index].split), index));
    // With at most three differing bits, one of four bands is equal: only those are compared.
    let mut kept: HashMap<(String, i8, u32, u16), Vec<usize>> = HashMap::new();
    for index in order {
        let Ok(hash) = u64::from_str_radix(&entries[index].dhash, 16) else { continue };
        let keys = (0..BANDS).map(|band| {
            let entry = &entries[index];
            (entry.source.clone(), entry.label, band, (hash >> (16 * band)) as u16)
        });
        let keys: Vec<_> = keys.collect();
        let mut near: Vec<usize> = keys.iter().filter_map(|key| kept.get(key)).flatten().copied().collect();
        near.sort_unstable();
        near.dedup();
        let mut duplicate = false;
        for other in near {
            let other_hash = u64::from_str_radix(&entries[other].dhash, 16).unwrap_or(!hash);
            let close = (hash ^ other_hash).count_ones() <= DUPLICATE_BITS;
            if close && nearly_equal(&crop(&entries[index])?, &crop(&entries[other])?)? {
                duplicate = true;
                break;
            }
        }
        if duplicate {
            entries[index].status = Status::Duplicate;
        } else {
            keys.into_iter().for_each(|key| kept.entry(key).or_default().push(index));
        }
    }
    Ok(())
}

/// Whether two pictures look the same at 32 x 32 pixels.
fn nearly_equal(a: &Rgb8, b: &Rgb8) -> Result<bool> {
    const SIDE: usize = 32;
    let [a, b] = [a, b].map(|picture| pixels::resize_with(picture, SIDE, SIDE, Kernel::Box).map(|small| small.luma()));
    let sum: f32 = a?.iter().zip(&b?).map(|(a, b)| (f32::from(*a) - f32::from(*b)).powi(2)).sum();
    Ok((sum / (SIDE * SIDE) as f32).sqrt() <= DUPLICATE_RMS)
}

fn cut_row(base: &Path, row: &Row, finder: &mut Finder, config: &PrepareConfig) -> (Entry, Option<Rgb8>) {
    let failed = |status| (Entry::without_crop(row, status), None);
    let Ok(bytes) = fs::read(base.join(&row.path)) else { return failed(Status::Unreadable) };
    let Ok(photo) = picture::decode(&bytes, &Limits::default()) else { return failed(Status::Unreadable) };
    let pixels = &photo.pixels;
    let (square, face_px, first) = if config.cropped || row.crop == Crop::Whole {
        // As in `detector::prepare`: the whole square counts as the face.
        let square = crop::whole_square(pixels);
        let face_px = pixels.height.min(pixels.width) as f32;
        let first = [pixels.height, pixels.width].map(|side| ((side - square.height.min(side)) / 2) as i64);
        (square, face_px, Some(first))
    } else {
        let faces = finder.find(pixels);
        let Some(face) = faces.first() else { return failed(Status::NoFace) };
        let face_px = face.bounds.width.max(face.bounds.height);
        let first = first_pixel(&face.bounds, face_px * config.margin);
        (face.upright_crop(pixels, config.margin), face_px, (face.quarter_turns == 0).then_some(first))
    };
    if (face_px.round() as u32) < crop::MIN_FACE_PX {
        return failed(Status::TooSmall);
    }
    // Area averaging: no ringing, and the same for every source.
    let Ok(crop) = pixels::shrink_to(&square, config.side_px, Kernel::Box) else { return failed(Status::Unreadable) };
    let share = face_px / square.height as f32;
    let as_it_was = crop.height == square.height && photo.jpeg_quality.is_some();
    let first = first.filter(|_| as_it_was);
    let points = config.landmarks.as_ref().and_then(|net| net.landmarks(&crop, share.min(1.0)).ok());
    let entry = Entry {
        points,
        blocks: first.map(Blocks::of),
        side_px: crop.height,
        face_px: face_px.round() as u32,
        square_px: square.height as u32,
        picture_px: pixels.height.max(pixels.width) as u32,
        picture_height: pixels.height as u32,
        picture_width: pixels.width as u32,
        chroma: quality::jpeg_chroma(&bytes).unwrap_or_default(),
        jpeg_quality: photo.jpeg_quality,
        file_bytes: bytes.len() as u64,
        dhash: dhash(&crop).map(|hash| format!("{hash:016x}")).unwrap_or_default(),
        ..Entry::without_crop(row, Status::Packed)
    };
    (entry, Some(crop))
}

/// Where a square of `side` round the middle of `bounds` begins, (down, across); as [`crop::crop_square`] cuts it.
fn first_pixel(bounds: &Bounds, side: f32) -> [i64; 2] {
    let first = |start: f32, extent: f32| (f64::from(start + extent / 2.0) - f64::from(side) / 2.0).round() as i64;
    [first(bounds.y, bounds.height), first(bounds.x, bounds.width)]
}

/// Difference hash: is each of 8x8 areas brighter than its right neighbour?
///
/// # Errors
/// As [`pixels::resize_with`].
pub fn dhash(picture: &Rgb8) -> Result<u64> {
    let small = pixels::resize_with(picture, 8, 9, Kernel::Box)?;
    let luma = small.luma();
    Ok((0..64).fold(0, |hash, bit| {
        let index = bit / 8 * 9 + bit % 8;
        hash << 1 | u64::from(luma[index] > luma[index + 1])
    }))
}
