//! Packed crops: one file of raw RGB8 squares and a manifest beside it. Training reads crops by place, thousands of times;
//! decoding and face finding happen once, in [`super::prepare`].

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::table::{self, Row};
use crate::picture::Rgb8;
use crate::picture::crop::CROP_MARGIN;
use crate::train::files::write_atomically;
use crate::train::looks::hull::{Landmarks, Place};
use crate::train::looks::pixels;
use crate::{Error, ErrorKind, Result};

/// The pixels, one crop after the other.
pub const CROPS_FILE: &str = "crops.rgb8";
/// The manifest; it is written last, so a folder that has one is complete.
pub const MANIFEST_FILE: &str = "manifest.csv";

/// What holds for the whole pack, beside the manifest; absent in packs of format 1.
pub const INFO_FILE: &str = "pack.json";
/// Value of [`PackInfo::format`]: crops with a margin of their own, and the points of faces.
pub const FORMAT: &str = "grnet.pack/2";

/// What holds for the whole pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackInfo {
    /// Always [`FORMAT`].
    pub format: String,
    /// Side of the crops in sides of the face's box: wider than any that training draws.
    pub margin: f32,
}

impl PackInfo {
    /// Of a pack with crops of this margin.
    pub fn new(margin: f32) -> Self {
        PackInfo { format: FORMAT.into(), margin }
    }

    /// Reads it; packs of format 1 have none, and crops as the first models wanted them.
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(INFO_FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(PackInfo::new(CROP_MARGIN)),
            other => other.map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?,
        };
        let fail = |found: String| {
            Error::new(ErrorKind::BadData, format!("expected a pack of format {FORMAT}, found {found}"))
        };
        let info: PackInfo = serde_json::from_slice(&bytes).map_err(|e| fail(format!("{}: {e}", path.display())))?;
        if info.format != FORMAT {
            return Err(fail(info.format));
        }
        if !(1.0..=4.0).contains(&info.margin) {
            return Err(fail(format!("a margin of {}", info.margin)));
        }
        Ok(info)
    }

    /// Writes it; before the manifest, which makes the pack complete.
    ///
    /// # Errors
    /// `Io` when the file cannot be written.
    pub(in crate::train) fn write(&self, folder: &Path) -> Result<()> {
        let text =
            serde_json::to_vec(self).map_err(|e| Error::caused(ErrorKind::Internal, "a pack's description", e))?;
        write_atomically(&folder.join(INFO_FILE), &text)
    }
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A crop is in the pack.
    Packed,
    /// No face was found.
    NoFace,
    /// The face is smaller than the model may judge.
    TooSmall,
    /// The file is missing or cannot be decoded.
    Unreadable,
    /// Nearly the same picture is already in the pack.
    Duplicate,
}

impl Status {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Status::Packed => "packed",
            Status::NoFace => "no face",
            Status::TooSmall => "too small",
            Status::Unreadable => "unreadable",
            Status::Duplicate => "duplicate",
        }
    }
}

/// How far before the first pixel of a crop (down, across) a unit of 16 px of its JPEG file begins; written as `5 10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Blocks(pub [u8; 2]);

impl Blocks {
    /// Side of the smallest unit of a JPEG file with halved chroma.
    pub const UNIT: usize = 16;

    /// Of a crop that begins at `first` (down, across) of its picture.
    pub fn of(first: [i64; 2]) -> Self {
        Blocks(first.map(|place| place.rem_euclid(Self::UNIT as i64) as u8))
    }
}

impl From<Blocks> for String {
    fn from(Blocks([down, across]): Blocks) -> String {
        format!("{down} {across}")
    }
}

impl TryFrom<String> for Blocks {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let parts: Vec<u8> = text.split(' ').filter_map(|part| part.parse().ok()).filter(|part| *part < 16).collect();
        match parts[..] {
            [down, across] => Ok(Blocks([down, across])),
            _ => Err(Error::new(ErrorKind::BadData, format!("expected two numbers below 16, found {text}"))),
        }
    }
}

/// One line of the manifest: the row of the table and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As in the table.
    pub path: String,
    /// As in the table.
    pub label: i8,
    /// As in the table.
    pub source: String,
    /// As in the table.
    pub generator: String,
    /// As in the table.
    pub group: String,
    /// As in the table.
    pub split: table::Split,
    /// As in the table.
    pub crop: table::Crop,
    /// What became of it; only `packed` rows have a crop.
    pub status: Status,
    /// First byte of the crop in [`CROPS_FILE`].
    pub offset: u64,
    /// Side of the crop; 0 when there is none.
    pub side_px: usize,
    /// Longer side of the face box in the original picture.
    pub face_px: u32,
    /// Side of the crop's square in the original picture, before it was brought down to the pack's largest side.
    pub square_px: u32,
    /// Longer side of the original picture.
    pub picture_px: u32,
    /// Height of the original picture.
    #[serde(default)]
    pub picture_height: u32,
    /// Its width.
    #[serde(default)]
    pub picture_width: u32,
    /// Chroma subsampling of the original file, as `4:2:0`; empty where it is no JPEG.
    #[serde(default)]
    pub chroma: String,
    /// Where the blocks of the original file lie in the crop; absent where it is no JPEG or the crop was shrunk.
    #[serde(default)]
    pub blocks: Option<Blocks>,
    /// Estimated JPEG quality of the original file, where it is a JPEG.
    pub jpeg_quality: Option<u8>,
    /// Bytes of the original file.
    pub file_bytes: u64,
    /// As in the table: the kind of pictures that the source has.
    #[serde(default)]
    pub set: String,
    /// The points of the face in the crop, where they were looked for; none in packs of format 1.
    #[serde(default)]
    pub points: Option<Landmarks>,
    /// Perceptual hash of the crop (difference hash, 64 bits, hexadecimal); empty when there is none.
    pub dhash: String,
}

impl Entry {
    /// The entry of `row` without a crop.
    pub fn without_crop(row: &Row, status: Status) -> Self {
        Entry {
            path: row.path.clone(),
            label: row.label,
            source: row.source.clone(),
            generator: row.generator.clone(),
            group: row.group.clone(),
            split: row.split,
            crop: row.crop,
            status,
            offset: 0,
            side_px: 0,
            face_px: 0,
            square_px: 0,
            picture_px: 0,
            picture_height: 0,
            picture_width: 0,
            chroma: String::new(),
            blocks: None,
            jpeg_quality: None,
            file_bytes: 0,
            set: row.set.clone(),
            points: None,
            dhash: String::new(),
        }
    }

    /// Where the face lies in the crop.
    pub fn place(&self) -> Place<'_> {
        // A picture that was taken whole counts as all face, though few are cut that tightly.
        let margin = match self.crop {
            table::Crop::Whole => CROP_MARGIN,
            table::Crop::Find => self.square_px as f32 / self.face_px.max(1) as f32,
        };
        Place { points: self.points.as_ref(), margin }
    }

    /// What made a fake: its generator, or its source where the table names none.
    pub fn maker(&self) -> &str {
        if self.generator.is_empty() { &self.source } else { &self.generator }
    }

    /// The first byte after its crop in [`CROPS_FILE`]; 0 where it has none.
    pub fn end(&self) -> u64 {
        self.offset + (self.side_px * self.side_px * 3) as u64
    }

    /// Whether a crop is in the pack.
    pub fn packed(&self) -> bool {
        self.status == Status::Packed
    }
}

/// A complete pack, open for reading from any thread.
#[derive(Debug)]
pub struct Pack {
    info: PackInfo,
    entries: Vec<Entry>,
    crops: Mutex<File>,
}

impl Pack {
    /// Opens the pack in `folder` and checks that every crop lies inside the file.
    ///
    /// # Errors
    /// `Io` when a file is missing, `BadData` when the manifest cannot be read or points outside the crops.
    pub fn open(folder: &Path) -> Result<Self> {
        let open = |name: &str| {
            let path = folder.join(name);
            File::open(&path)
                .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot open the pack's {}", path.display()), e))
        };
        let entries = read_manifest(BufReader::new(open(MANIFEST_FILE)?))?;
        let crops = open(CROPS_FILE)?;
        let length =
            crops.metadata().map_err(|e| Error::caused(ErrorKind::Io, "cannot read the pack's size", e))?.len();
        for entry in entries.iter().filter(|entry| entry.packed()) {
            let end = entry.end();
            if entry.side_px == 0 || end > length {
                let message = format!(
                    "expected {} inside {length} bytes of crops, found its end at {end}; `grnet prepare` mends a cut pack",
                    entry.path
                );
                return Err(Error::new(ErrorKind::BadData, message));
            }
        }
        Ok(Pack { info: PackInfo::read(folder)?, entries, crops: Mutex::new(crops) })
    }

    /// What holds for all crops.
    pub fn info(&self) -> &PackInfo {
        &self.info
    }

    /// How much of an entry's crop a crop of `margin` sides of the face's box takes up; 1 for pictures that were taken whole.
    pub fn share(&self, entry: &Entry, margin: f32) -> f32 {
        match entry.crop {
            table::Crop::Whole => 1.0,
            table::Crop::Find => margin / self.info.margin,
        }
    }

    /// The crop of a packed entry with another margin: its middle, or continued by its mirror image.
    ///
    /// # Errors
    /// As [`Pack::crop`].
    pub fn crop_at(&self, entry: &Entry, margin: f32) -> Result<Rgb8> {
        Ok(pixels::middle(&self.crop(entry)?, self.share(entry, margin)))
    }

    /// All rows, those without a crop included.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The crop of a packed entry.
    ///
    /// # Errors
    /// `Io` when reading fails, `BadData` when the entry has no crop.
    pub fn crop(&self, entry: &Entry) -> Result<Rgb8> {
        if !entry.packed() {
            return Err(Error::new(
                ErrorKind::BadData,
                format!("expected a packed crop, found {} without", entry.path),
            ));
        }
        let mut file = self.crops.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        read_crop(&mut file, entry)
    }
}

/// The pixels of a packed entry out of the file of crops.
///
/// # Errors
/// `Io` when reading fails.
pub(in crate::train) fn read_crop(crops: &mut File, entry: &Entry) -> Result<Rgb8> {
    let mut data = vec![0; entry.side_px * entry.side_px * 3];
    crops
        .seek(SeekFrom::Start(entry.offset))
        .and_then(|_| crops.read_exact(&mut data))
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read the crop of {}", entry.path), e))?;
    Rgb8::new(entry.side_px, entry.side_px, data)
}

/// Writes the manifest of a pack, which makes it complete.
///
/// # Errors
/// `Io` when the file cannot be written.
pub(in crate::train) fn write_manifest(folder: &Path, entries: &[Entry]) -> Result<()> {
    let fail = |e: csv::Error| Error::caused(ErrorKind::Io, "cannot write the manifest", e);
    let mut text = csv::Writer::from_writer(Vec::new());
    for entry in entries {
        text.serialize(entry).map_err(fail)?;
    }
    let text = text.into_inner().map_err(|e| Error::caused(ErrorKind::Io, "cannot write the manifest", e))?;
    write_atomically(&folder.join(MANIFEST_FILE), &text)
}

/// Reads the lines of a manifest.
///
/// # Errors
/// `BadData`, naming the line.
pub fn read_manifest(reader: impl Read) -> Result<Vec<Entry>> {
    csv::Reader::from_reader(reader)
        .deserialize()
        .enumerate()
        .map(|(index, line)| {
            line.map_err(|e| {
                Error::caused(ErrorKind::BadData, format!("expected a packed row in line {}", index + 2), e)
            })
        })
        .collect()
}
