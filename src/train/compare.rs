//! The paper's comparison: any [`System`] trained and measured on one pack with one budget, and the paper's tables with its
//! numbers beside ours. [`data`] draws, [`learn`] trains, [`figures`] measures, [`tables`] and [`page`] write;
//! [`back_propagation`] shows what of a picture spoke for a decision.

pub mod back_propagation;
pub mod data;
pub mod examined;
pub mod figures;
pub mod learn;
pub mod page;
pub mod picture_grid;
pub mod system;
pub mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::module::Module;
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};

use crate::model::sha256_hex;
use crate::train::compare::system::{System, class_probabilities};
use crate::train::data::pack::{MANIFEST_FILE, Pack};
use crate::train::data::table::Split;
use crate::train::files::write_atomically;
use crate::train::looks::degrade::Tier;
use crate::{Error, ErrorKind, Result};
use data::{Classes, Drawing, Exam};
use figures::Figures;

/// What the classes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Real or fake.
    Binary,
    /// Real, or which generator.
    Multi,
}

impl Task {
    /// The name in folders and reports.
    pub fn name(self) -> &'static str {
        match self {
            Task::Binary => "binary",
            Task::Multi => "multi",
        }
    }
}

/// With which settings a system learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// Its authors', the schedule stretched over the budget.
    Authors,
    /// The same for all: Adam at 3e-4 along a cosine, 32 pictures a step.
    Common,
}

impl Setting {
    /// The name in options, folders and reports.
    pub fn name(self) -> &'static str {
        match self {
            Setting::Authors => "authors",
            Setting::Common => "common",
        }
    }

    /// The setting of that name.
    ///
    /// # Errors
    /// `BadUsage`, listing the names.
    pub fn named(name: &str) -> Result<Setting> {
        [Setting::Authors, Setting::Common].into_iter().find(|setting| setting.name() == name).ok_or_else(|| {
            Error::new(ErrorKind::BadUsage, format!("expected a setting out of authors, common, found {name}"))
        })
    }
}

/// How much each system may learn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// Passes over the training rows.
    Epochs(f64),
    /// Pictures seen, whatever the batch.
    Pictures(u64),
    /// Minutes of training.
    Minutes(f64),
}

impl Budget {
    /// Reads `3epochs`, `9600pictures` or `5min`.
    ///
    /// # Errors
    /// `BadUsage` for anything else and for budgets that are not positive.
    pub fn parse(text: &str) -> Result<Budget> {
        let number = |suffix: &str| text.strip_suffix(suffix).and_then(|number| number.trim().parse::<f64>().ok());
        let budget = number("epochs")
            .map(Budget::Epochs)
            .or_else(|| number("pictures").map(|count| Budget::Pictures(count as u64)))
            .or_else(|| number("min").map(Budget::Minutes));
        let positive = |budget: &Budget| match *budget {
            Budget::Epochs(value) | Budget::Minutes(value) => value.is_finite() && value > 0.0,
            Budget::Pictures(count) => count > 0,
        };
        budget.filter(positive).ok_or_else(|| {
            let message = format!("expected a budget such as 3epochs, 9600pictures or 5min, found {text}");
            Error::new(ErrorKind::BadUsage, message)
        })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Budget::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Budget::Pictures(count) => write!(f, "{count} pictures"),
            Budget::Minutes(minutes) => write!(f, "{minutes} min"),
        }
    }
}

/// What is the same for all systems of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Side of the input of all systems.
    pub side_px: usize,
    /// How much each may learn.
    pub budget: Budget,
    /// Decides every draw.
    pub seed: u64,
    /// Degradations of the test rows; training rows and validation rows are never degraded.
    pub tiers: Vec<Tier>,
    /// At most so many test rows of each source.
    pub per_source: usize,
    /// At most so many validation rows of each source.
    pub validation_per_source: usize,
}

/// One run: which system, on which task, with which settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entrant {
    /// The system.
    pub system: System,
    /// The task.
    pub task: Task,
    /// The settings.
    pub setting: Setting,
}

impl Entrant {
    /// The folder of the run below that of the comparison.
    pub fn folder(&self, out: &Path) -> PathBuf {
        out.join(self.task.name()).join(self.system.name()).join(self.setting.name())
    }
}

/// The files of a run.
const OUTCOME_FILE: &str = "outcome.json";
const MODEL_FILE: &str = "model.safetensors";

/// What came of a run; `outcome.json` in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Name of the system.
    pub system: String,
    /// The task.
    pub task: Task,
    /// The settings.
    pub setting: Setting,
    /// The protocol.
    pub protocol: Protocol,
    /// SHA-256 of the manifests of the data (and of the other data, when there are some).
    pub data_sha256: Vec<String>,
    /// Whether it started from ImageNet weights; what can have them and did not is marked in the tables.
    pub pretrained: bool,
    /// Commit of this program.
    pub commit: String,
    /// Numbers that the network holds, running statistics included.
    pub parameters: usize,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Pictures learnt from.
    pub pictures: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Best accuracy on the validation rows; the network at that moment is the one that was tested.
    pub validation_acc: f64,
    /// Figures on the test rows, by degradation.
    pub test: BTreeMap<String, Figures>,
    /// Figures on the test rows of the other data, not degraded.
    pub cross: Option<Figures>,
}

/// Data and files of a comparison.
#[derive(Debug)]
pub struct Inputs {
    /// The pack that is learnt from and tested on.
    pub pack: Arc<Pack>,
    /// A pack that is only tested on.
    pub cross: Option<Arc<Pack>>,
    /// SHA-256 of their manifests.
    pub data_sha256: Vec<String>,
    /// A torchvision ResNet-18.
    pub imagenet: Option<Vec<u8>>,
    /// Folder of the comparison.
    pub out: PathBuf,
    /// Threads that draw pictures.
    pub loader_threads: usize,
    /// Commit of this program.
    pub commit: String,
}

impl Inputs {
    /// Opens the packs.
    ///
    /// # Errors
    /// As [`Pack::open`].
    pub fn open(pack: &Path, cross: Option<&Path>, imagenet: Option<Vec<u8>>, out: &Path) -> Result<Self> {
        let digest = |folder: &Path| {
            let path = folder.join(MANIFEST_FILE);
            let bytes = fs::read(&path)
                .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
            Ok::<String, Error>(sha256_hex(&bytes))
        };
        Ok(Inputs {
            pack: Arc::new(Pack::open(pack)?),
            cross: cross.map(|folder| Pack::open(folder).map(Arc::new)).transpose()?,
            data_sha256: [Some(pack), cross].into_iter().flatten().map(digest).collect::<Result<_>>()?,
            imagenet,
            out: out.to_path_buf(),
            loader_threads: 1,
            commit: String::new(),
        })
    }
}

/// What a run tells whoever watches it: share done, last loss, last accuracy on the validation rows.
pub type Watch<'a> = dyn FnMut(f64, f64, Option<f64>) + 'a;

/// Trains and measures one entrant, or reads what an earlier call left; goes on where that was stopped.
///
/// # Errors
/// `BadData` for data that cannot be learnt from, `BadUsage` for a side the system cannot have or a folder with an outcome or
/// a checkpoint of another protocol or other data, `Cancelled` when stopped (a checkpoint was written), `Io` for files.
pub fn run<B: AutodiffBackend>(
    entrant: Entrant,
    protocol: &Protocol,
    inputs: &Inputs,
    device: &B::Device,
    stop: &AtomicBool,
    watch: &mut Watch,
) -> Result<Outcome> {
    let folder = entrant.folder(&inputs.out);
    let path = folder.join(OUTCOME_FILE);
    if let Some(outcome) = earlier_outcome(entrant, &inputs.out)? {
        let same = outcome.protocol == *protocol && outcome.data_sha256 == inputs.data_sha256;
        let message = || format!("expected the outcome of this protocol and data, found another in {}", path.display());
        return if same { Ok(outcome) } else { Err(Error::new(ErrorKind::BadUsage, message())) };
    }
    fs::create_dir_all(&folder)
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot make {}", folder.display()), e))?;
    let classes = Classes::of(inputs.pack.entries(), entrant.task)?;
    let validation = Exam::new(&inputs.pack, Split::Val, Tier::Raw, &classes, protocol)?;
    let drawing = Drawing::new(inputs.pack.clone(), &classes, protocol, entrant.system.makes_its_fakes())?;
    let learnt = learn::learn::<B>(entrant, protocol, Arc::new(drawing), &validation, inputs, device, stop, watch)?;
    let judged = learnt.competitor.clone().folded();
    let judge = |pack: &Pack, tier: Tier| {
        let exam = Exam::new(pack, Split::Test, tier, &classes, protocol)?;
        let rows = class_probabilities(&judged, &exam.crops, learn::JUDGED_TOGETHER, device);
        Ok::<Figures, Error>(Figures::of(&exam, pack, &rows, &classes))
    };
    let mut test = BTreeMap::new();
    for tier in &protocol.tiers {
        test.insert(tier.name().to_string(), judge(&inputs.pack, *tier)?);
    }
    let cross = match inputs.cross.as_deref().filter(|_| entrant.task == Task::Binary) {
        Some(pack) => Some(judge(pack, Tier::Raw)?),
        None => None,
    };
    let outcome = Outcome {
        system: entrant.system.name(),
        task: entrant.task,
        setting: entrant.setting,
        protocol: protocol.clone(),
        data_sha256: inputs.data_sha256.clone(),
        pretrained: learnt.pretrained,
        commit: inputs.commit.clone(),
        parameters: learnt.competitor.network.num_params(),
        classes: classes.names.clone(),
        pictures: learnt.pictures,
        seconds: learnt.seconds,
        validation_acc: learnt.validation_acc,
        test,
        cross,
    };
    write_atomically(&folder.join(MODEL_FILE), &learnt.competitor.to_bytes(&classes.names, protocol.side_px)?)?;
    let text = serde_json::to_string_pretty(&outcome)
        .map_err(|e| Error::caused(ErrorKind::Internal, "an outcome as JSON", e))?;
    // Last, so that a folder with an outcome is complete.
    write_atomically(&path, format!("{text}\n").as_bytes())?;
    let checkpoint = learn::checkpoint_path(&entrant, &inputs.out);
    if checkpoint.exists() {
        fs::remove_file(&checkpoint)
            .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot remove {}", checkpoint.display()), e))?;
    }
    Ok(outcome)
}

/// What earlier calls left of an entrant, whatever its protocol.
///
/// # Errors
/// `Io` for a file that cannot be read, `BadData` for an outcome that is none.
pub fn earlier_outcome(entrant: Entrant, out: &Path) -> Result<Option<Outcome>> {
    let path = entrant.folder(out).join(OUTCOME_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)
        .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
    let outcome = serde_json::from_str(&text)
        .map_err(|e| Error::caused(ErrorKind::BadData, format!("expected an outcome in {}", path.display()), e))?;
    Ok(Some(outcome))
}

/// A model that a comparison kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What came of its run.
    pub outcome: Outcome,
    /// Its file.
    pub bytes: Vec<u8>,
}

impl Kept {
    /// System, task and settings, for people.
    pub fn describe(&self) -> String {
        let Outcome { system, task, setting, .. } = &self.outcome;
        format!("{system}, {}, {} settings", task.name(), setting.name())
    }
}

/// The models that a comparison kept in the folder `out`: of each system the one that did better on the validation rows,
/// of several classes where there is one, else of two. Systems without a complete run are left out.
///
/// # Errors
/// `Io` for files that cannot be read, `BadData` for an outcome that is none.
pub fn kept_models(out: &Path, systems: &[System]) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for system in systems {
        for task in [Task::Multi, Task::Binary] {
            let mut found = Vec::new();
            for setting in [Setting::Authors, Setting::Common] {
                let entrant = Entrant { system: *system, task, setting };
                found.extend(earlier_outcome(entrant, out)?.map(|outcome| (outcome, entrant.folder(out))));
            }
            let better = found.into_iter().max_by(|a, b| a.0.validation_acc.total_cmp(&b.0.validation_acc));
            if let Some((outcome, folder)) = better {
                let path = folder.join(MODEL_FILE);
                let bytes = fs::read(&path)
                    .map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
                kept.push(Kept { outcome, bytes });
                break;
            }
        }
    }
    Ok(kept)
}

/// The entrants that the tables need, each once, in the order of the tables; `systems` (if any) restricts them.
///
/// # Errors
/// `BadUsage` for a table that is not 1, 2, 3, 4, 5 or 9.
pub fn entrants(tables: &[u8], systems: Option<&[System]>, settings: &[Setting]) -> Result<Vec<Entrant>> {
    let mut found: Vec<Entrant> = Vec::new();
    for table in tables {
        let (task, listed) = tables::systems_of(*table)?;
        for system in listed.into_iter().filter(|system| systems.is_none_or(|wanted| wanted.contains(system))) {
            for setting in settings {
                let entrant = Entrant { system, task, setting: *setting };
                if !found.contains(&entrant) {
                    found.push(entrant);
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        assert_eq!(Budget::parse("3epochs").unwrap(), Budget::Epochs(3.0));
        assert_eq!(Budget::parse("9600 pictures").unwrap(), Budget::Pictures(9600));
        assert_eq!(Budget::parse("0.5min").unwrap(), Budget::Minutes(0.5));
        assert_eq!(Budget::Epochs(2.5).to_string(), "2.5 epochs");
        for wrong in ["3", "-1min", "0pictures", "manyepochs"] {
            assert_eq!(Budget::parse(wrong).unwrap_err().kind(), ErrorKind::BadUsage, "{wrong}");
        }
    }

    #[test]
    fn tables_share_their_runs() {
        let both = entrants(&[1, 3, 4], None, &[Setting::Authors]).unwrap();
        let name = |entrant: &Entrant| (entrant.system.name(), entrant.task);
        assert_eq!(both.iter().filter(|e| name(e) == ("grnet".into(), Task::Multi)).count(), 1);
        // Table I has 4 rows, III adds max, concat, min and the printed form, IV seven detectors.
        assert_eq!(both.len(), 4 + 4 + 7);
        let only = entrants(&[4, 5], Some(&[System::Meso4]), &[Setting::Authors, Setting::Common]).unwrap();
        assert_eq!(only.len(), 4);
        assert_eq!(entrants(&[6], None, &[Setting::Authors]).unwrap_err().kind(), ErrorKind::BadUsage);
    }
}
