//! Packed crops: one file of raw RGB8 squares and a manifest beside it. Training reads crops by place, thousands of times;
//! decoding and face finding happen once, in [`super::prepare`].

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::checkpoint::write_atomically;
use super::table::{self, Row};
use crate::picture::Rgb8;
use crate::{Error, ErrorKind, Result};

/// The pixels, one crop after the other.
pub const CROPS_FILE: &str = "crops.rgb8";
/// The manifest; it is written last, so a folder that has one is complete.
pub const MANIFEST_FILE: &str = "manifest.csv";

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
    /// Estimated JPEG quality of the original file, where it is a JPEG.
    pub jpeg_quality: Option<u8>,
    /// Bytes of the original file.
    pub file_bytes: u64,
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
            jpeg_quality: None,
            file_bytes: 0,
            dhash: String::new(),
        }
    }

    /// What made a fake: its generator, or its source where the table names none.
    pub fn maker(&self) -> &str {
        if self.generator.is_empty() { &self.source } else { &self.generator }
    }

    /// Whether a crop is in the pack.
    pub fn packed(&self) -> bool {
        self.status == Status::Packed
    }
}

/// A complete pack, open for reading from any thread.
#[derive(Debug)]
pub struct Pack {
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
            let end = entry.offset + (entry.side_px * entry.side_px * 3) as u64;
            if entry.side_px == 0 || end > length {
                let message = format!("expected {} inside {length} bytes of crops, found its end at {end}", entry.path);
                return Err(Error::new(ErrorKind::BadData, message));
            }
        }
        Ok(Pack { entries, crops: Mutex::new(crops) })
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
pub(super) fn read_crop(crops: &mut File, entry: &Entry) -> Result<Rgb8> {
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
pub(super) fn write_manifest(folder: &Path, entries: &[Entry]) -> Result<()> {
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
