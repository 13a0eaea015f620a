//! `grnet prepare`: a table of pictures -> a pack of face crops. The same decoding, face finding and cropping as `detect`.
//! Nothing is dropped in silence: every row of the table has a line in the manifest that says what became of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::pack::{CROPS_FILE, Entry, MANIFEST_FILE, Status, read_manifest};
use super::pixels::{self, Kernel};
use super::table::{self, Crop, Row};
use crate::face::{FaceFinder, SeetaFinder};
use crate::input;
use crate::photo::{self, Limits, Rgb8};
use crate::{Error, ErrorKind, Result};

/// How crops are made.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareConfig {
    /// Crops larger than this are brought down to it.
    pub side_px: usize,
    /// Take every picture whole, whatever the table says: the data is already cropped.
    pub cropped: bool,
    /// Leave out rows of the test split: what is not in the pack cannot be trained on by mistake.
    pub skip_test: bool,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        PrepareConfig { side_px: 224, cropped: false, skip_test: false }
    }
}

/// Rows between two writes: what an interruption can cost.
const CHUNK: usize = 256;

/// Counts of what became of the rows, by status and source.
pub type Counts = BTreeMap<(Status, String), usize>;

/// Cuts the faces of all rows of `table` into `folder`. A folder that is already complete is left as it is; an interrupted
/// one is continued. `progress` is told (done, all) after every chunk; `stop` ends it at the next chunk.
///
/// # Errors
/// `BadData` for a bad table, `Io` when files cannot be written, `Cancelled` when stopped.
pub fn prepare(
    table: &Path,
    folder: &Path,
    config: &PrepareConfig,
    stop: &AtomicBool,
    mut progress: impl FnMut(usize, usize),
) -> Result<Counts> {
    let mut rows = table::read_table(table)?;
    if config.skip_test {
        rows.retain(|row| row.split != table::Split::Test);
    }
    let base = table.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
    let manifest = folder.join(MANIFEST_FILE);
    if manifest.exists() {
        return Ok(count(&read_manifest(BufReader::new(File::open(&manifest).map_err(|e| io(&manifest, e))?))?));
    }
    let mut unfinished = Unfinished::open(folder, &rows)?;
    while unfinished.entries.len() < rows.len() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Cancelled, format!("stopped after {} rows", unfinished.entries.len())));
        }
        let done = unfinished.entries.len();
        let chunk = &rows[done..(done + CHUNK).min(rows.len())];
        // A finder a thread: it keeps scratch memory between pictures.
        let cut = chunk.par_iter().map_init(SeetaFinder::new, |finder, row| match finder {
            Ok(finder) => Ok(cut_row(base, row, finder, config)),
            Err(e) => Err(Error::new(ErrorKind::Internal, e.full_message())),
        });
        unfinished.append(cut.collect::<Result<Vec<_>>>()?)?;
        progress(unfinished.entries.len(), rows.len());
    }
    let counts = count(&unfinished.entries);
    unfinished.finish(folder)?;
    Ok(counts)
}

fn count(entries: &[Entry]) -> Counts {
    let mut counts = Counts::new();
    for entry in entries {
        *counts.entry((entry.status, entry.source.clone())).or_default() += 1;
    }
    counts
}

fn io(path: &Path, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Io, format!("cannot write {}", path.display()), error)
}

/// A pack in the making: both files carry `.part` until the end.
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
        let (crops_path, manifest_path) =
            (folder.join(format!("{CROPS_FILE}.part")), folder.join(format!("{MANIFEST_FILE}.part")));
        let mut open = OpenOptions::new();
        open.create(true).truncate(false).read(true).write(true);
        let mut crops = open.open(&crops_path).map_err(|e| io(&crops_path, e))?;
        let length = crops.metadata().map_err(|e| io(&crops_path, e))?.len();
        let mut entries: Vec<Entry> = match File::open(&manifest_path) {
            // The last line may be half written: lines are taken up to the first bad one.
            Ok(file) => csv::Reader::from_reader(BufReader::new(file)).deserialize().map_while(|l| l.ok()).collect(),
            Err(_) => Vec::new(),
        };
        let end = |entry: &Entry| entry.offset + (entry.side_px * entry.side_px * 3) as u64;
        let whole =
            entries.iter().zip(rows).take_while(|(entry, row)| entry.path == row.path && end(entry) <= length).count();
        entries.truncate(whole);
        let offset = entries.iter().map(end).max().unwrap_or(0);
        crops.set_len(offset).map_err(|e| io(&crops_path, e))?;
        crops.seek(SeekFrom::End(0)).map_err(|e| io(&crops_path, e))?;
        let file = File::create(&manifest_path).map_err(|e| io(&manifest_path, e))?;
        let mut manifest = csv::Writer::from_writer(file);
        for entry in &entries {
            manifest.serialize(entry).map_err(|e| Error::caused(ErrorKind::Io, "cannot write the manifest", e))?;
        }
        Ok(Unfinished { entries, crops, crops_path, offset, manifest, manifest_path })
    }

    fn append(&mut self, cut: Vec<(Entry, Option<Rgb8>)>) -> Result<()> {
        let mut bytes = Vec::new();
        for (mut entry, crop) in cut {
            if let Some(crop) = crop {
                entry.offset = self.offset + bytes.len() as u64;
                bytes.extend_from_slice(&crop.data);
            }
            self.entries.push(entry.clone());
            self.manifest
                .serialize(&entry)
                .map_err(|e| Error::caused(ErrorKind::Io, "cannot write the manifest", e))?;
        }
        self.crops.write_all(&bytes).map_err(|e| io(&self.crops_path, e))?;
        self.offset += bytes.len() as u64;
        self.manifest.flush().map_err(|e| io(&self.manifest_path, e))
    }

    /// Both files get their names, the manifest last.
    fn finish(mut self, folder: &Path) -> Result<()> {
        self.manifest.flush().map_err(|e| io(&self.manifest_path, e))?;
        self.crops.sync_all().map_err(|e| io(&self.crops_path, e))?;
        let crops = folder.join(CROPS_FILE);
        fs::rename(&self.crops_path, &crops).map_err(|e| io(&crops, e))?;
        let manifest = folder.join(MANIFEST_FILE);
        fs::rename(&self.manifest_path, &manifest).map_err(|e| io(&manifest, e))
    }
}

fn cut_row(base: &Path, row: &Row, finder: &mut SeetaFinder, config: &PrepareConfig) -> (Entry, Option<Rgb8>) {
    let failed = |status| (Entry::without_crop(row, status), None);
    let Ok(bytes) = fs::read(base.join(&row.path)) else { return failed(Status::Unreadable) };
    let Ok(photo) = photo::decode(&bytes, &Limits::default()) else { return failed(Status::Unreadable) };
    let pixels = &photo.pixels;
    let (square, face_px) = if config.cropped || row.crop == Crop::Whole {
        // As in `detector::prepare`: the whole square counts as the face.
        let square = input::whole_square(pixels);
        let face_px = pixels.height.min(pixels.width) as f32;
        (square, face_px)
    } else {
        let faces = finder.find(pixels);
        let Some(face) = faces.first() else { return failed(Status::NoFace) };
        (input::crop_square(pixels, &face.bounds, input::CROP_MARGIN), face.bounds.width.max(face.bounds.height))
    };
    if (face_px.round() as u32) < input::MIN_FACE_PX {
        return failed(Status::TooSmall);
    }
    // Area averaging: no ringing, and the same for every source.
    let Ok(crop) = pixels::shrink_to(&square, config.side_px, Kernel::Box) else { return failed(Status::Unreadable) };
    let entry = Entry {
        side_px: crop.height,
        face_px: face_px.round() as u32,
        square_px: square.height as u32,
        picture_px: pixels.height.max(pixels.width) as u32,
        jpeg_quality: photo.jpeg_quality,
        file_bytes: bytes.len() as u64,
        dhash: dhash(&crop).map(|hash| format!("{hash:016x}")).unwrap_or_default(),
        ..Entry::without_crop(row, Status::Packed)
    };
    (entry, Some(crop))
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
