//! Classes of a pack, training batches and examination sets of the comparison. All systems see the same pictures in the
//! same order: every draw depends on seed, step and slot alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;

use super::{Protocol, Task};
use crate::picture::Rgb8;
use crate::picture::crop::{self, CROP_MARGIN};
use crate::train::data::batch::Batch;
use crate::train::data::pack::{Entry, Pack};
use crate::train::data::table::{FAKE, REAL, Split};
use crate::train::looks::augment::AugmentConfig;
use crate::train::looks::degrade::Tier;
use crate::train::looks::forge;
use crate::train::measure::validate::{degraded_crop, draw};
use crate::train::rng::{Stream, at, pick};
use crate::{Error, ErrorKind, Result};

/// The classes of a task; class 0 is real.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// The task.
    pub task: Task,
    /// Their names.
    pub names: Vec<String>,
}

impl Classes {
    /// The classes of the training rows: real and fake, or real and every generator (where the table names none, the
    /// source of the fakes).
    ///
    /// # Errors
    /// `BadData` unless there are training rows of real pictures and of fakes.
    pub fn of(entries: &[Entry], task: Task) -> Result<Self> {
        let learnt = || entries.iter().filter(|entry| entry.packed() && entry.split == Split::Train);
        let kinds: BTreeSet<&str> = learnt().filter(|entry| entry.label == FAKE).map(Entry::maker).collect();
        if kinds.is_empty() || !learnt().any(|entry| entry.label == REAL) {
            let message = "expected training rows of real pictures and of fakes, found one kind at most";
            return Err(Error::new(ErrorKind::BadData, message));
        }
        let fakes: Vec<String> = match task {
            Task::Binary => vec!["fake".into()],
            Task::Multi => kinds.into_iter().map(String::from).collect(),
        };
        Ok(Classes { task, names: std::iter::once("real".to_string()).chain(fakes).collect() })
    }

    /// The class of a picture; none when its label is unknown or its generator was not learnt.
    pub fn class_of(&self, entry: &Entry) -> Option<usize> {
        match (entry.label, self.task) {
            (REAL, _) => Some(0),
            (FAKE, Task::Binary) => Some(1),
            (FAKE, Task::Multi) => self.names.iter().skip(1).position(|name| name == entry.maker()).map(|at| at + 1),
            _ => None,
        }
    }
}

/// Draws training batches: every class as often as the others, its pictures alike; flipped, turned and seen from another
/// point as in the paper, never degraded.
#[derive(Debug)]
pub struct Drawing {
    pack: Arc<Pack>,
    by_class: Vec<Vec<usize>>,
    augment: AugmentConfig,
    seed: u64,
    side_px: usize,
    makes_fakes: bool,
}

/// The paper's augmentation, with torchvision's defaults for what it leaves open.
fn augmentation() -> AugmentConfig {
    AugmentConfig {
        flip: 0.5,
        rotate: 1.0,
        rotate_degrees: 10.0,
        perspective: 0.5,
        perspective_strength: 0.5,
        jitter: 0.0,
        cut_out: 0.0,
        ..AugmentConfig::default()
    }
}

impl Drawing {
    /// Sorts the training rows into classes. `makes_fakes`: fakes are made from real pictures (FWA), those of the data are
    /// not used.
    ///
    /// # Errors
    /// `BadData` when a class has none.
    pub fn new(pack: Arc<Pack>, classes: &Classes, protocol: &Protocol, makes_fakes: bool) -> Result<Self> {
        let mut by_class = vec![Vec::new(); classes.names.len()];
        for (index, entry) in pack.entries().iter().enumerate() {
            if entry.packed()
                && entry.split == Split::Train
                && let Some(class) = classes.class_of(entry)
            {
                by_class[class].push(index);
            }
        }
        if let Some(class) = by_class.iter().position(Vec::is_empty) {
            let message = format!("expected training rows of class {}, found none", classes.names[class]);
            return Err(Error::new(ErrorKind::BadData, message));
        }
        let (seed, side_px) = (protocol.seed, protocol.side_px);
        Ok(Drawing { pack, by_class, augment: augmentation(), seed, side_px, makes_fakes })
    }

    /// Training rows.
    pub fn rows(&self) -> u64 {
        self.by_class.iter().map(|rows| rows.len() as u64).sum()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.by_class.len()
    }

    /// The batch of a step, its labels being classes.
    ///
    /// # Errors
    /// `Io` when the pack cannot be read.
    pub fn batch(&self, step: u64, count: usize) -> Result<Batch> {
        let made: Vec<(Rgb8, i32)> =
            (0..count as u64).into_par_iter().map(|slot| self.one(step, slot)).collect::<Result<_>>()?;
        let (crops, labels) = made.into_iter().unzip();
        Ok(Batch { step, crops, labels, maps: vec![None; count] })
    }

    fn one(&self, step: u64, slot: u64) -> Result<(Rgb8, i32)> {
        let rng = &mut at(self.seed, Stream::Sampling, step, slot);
        let indices: Vec<usize> = (0..self.by_class.len()).collect();
        let class = *pick(rng, &indices);
        let rows = if self.makes_fakes { &self.by_class[0] } else { &self.by_class[class] };
        let entry = &self.pack.entries()[*pick(rng, rows)];
        let mut crop = self.pack.crop(entry)?;
        if self.makes_fakes && class > 0 {
            crop = forge::coarse_face(&crop, &entry.place(), &mut at(self.seed, Stream::Forging, step, slot))?;
        }
        let moves = self.augment.draw(&mut at(self.seed, Stream::Looks, step, slot));
        let seen = moves.place(&crop, self.pack.share(entry, CROP_MARGIN));
        Ok((crop::resize(&seen, self.side_px, self.side_px)?, class as i32))
    }
}

/// Pictures to be judged, in one degradation.
#[derive(Debug)]
pub struct Exam {
    /// Crops at the input's size.
    pub crops: Vec<Rgb8>,
    /// Their rows in the pack.
    pub rows: Vec<usize>,
    /// Their classes.
    pub truth: Vec<usize>,
    /// The split.
    pub split: Split,
}

impl Exam {
    /// Draws at most as many rows of every source and label as the protocol allows for the split, and degrades them.
    ///
    /// # Errors
    /// `BadData` when the split has none, `Io` when the pack cannot be read.
    pub fn new(pack: &Pack, split: Split, tier: Tier, classes: &Classes, protocol: &Protocol) -> Result<Self> {
        let entries = pack.entries();
        let mut by_source: BTreeMap<(i8, &str), Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            if entry.packed() && entry.split == split && classes.class_of(entry).is_some() {
                by_source.entry((entry.label, &entry.source)).or_default().push(index);
            }
        }
        let most = if split == Split::Val { protocol.validation_per_source } else { protocol.per_source };
        let rows: Vec<usize> = by_source.into_values().flat_map(|rows| draw(rows, most)).collect();
        if rows.is_empty() {
            return Err(Error::new(ErrorKind::BadData, format!("expected rows of the split {split:?}, found none")));
        }
        let side_px = protocol.side_px;
        let crops = rows
            .par_iter()
            .map(|row| {
                let entry = &entries[*row];
                crop::resize(&degraded_crop(&pack.crop_at(entry, CROP_MARGIN)?, entry, tier, *row)?, side_px, side_px)
            })
            .collect::<Result<_>>()?;
        let truth = rows.iter().filter_map(|row| classes.class_of(&entries[*row])).collect();
        Ok(Exam { crops, rows, truth, split })
    }
}
