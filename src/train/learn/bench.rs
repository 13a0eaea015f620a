//! The leave-out bench: small runs of a recipe and of its variants, with whole families of pictures kept out of training,
//! several seeds each, measured on what was kept out. A change of the recipe is kept when it is better than the spread.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::backend::AutodiffBackend;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::run::{Ending, Event, Inputs, RunFolder, train};
use super::start::Start;
use crate::model::ModelFile;
use crate::picture::Rgb8;
use crate::train::config::TrainConfig;
use crate::train::data::pack::{Entry, Pack};
use crate::train::data::sampler::leaves_out;
use crate::train::data::table::{FAKE, REAL, Split};
use crate::train::files::write_atomically;
use crate::train::looks::degrade::Tier;
use crate::train::measure::validate::{draw, score, seen};
use crate::train::metrics::weighted_auc;
use crate::{Error, ErrorKind, Result};

/// What a bench runs, as a TOML file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// File of the recipe that variants change, beside the bench's own.
    pub config: PathBuf,
    /// Seeds that every run is made with.
    pub seeds: Vec<u64>,
    /// What is kept out together: families, sources or generators.
    pub leave_out: Vec<Vec<String>>,
    /// Pictures of each source that are measured on.
    #[serde(default = "per_source")]
    pub per_source: usize,
    /// Changes of the recipe, by name, in the form of the recipe's file. The recipe itself is always run.
    #[serde(default)]
    pub variants: BTreeMap<String, toml::Table>,
}

fn per_source() -> usize {
    60
}

/// Name of the recipe without changes.
pub const RECIPE: &str = "recipe";

/// One run of a bench.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The variant's name.
    pub variant: String,
    /// What is kept out.
    pub left_out: Vec<String>,
    /// The whole configuration.
    pub config: TrainConfig,
}

impl Planned {
    /// Its folder under that of the bench.
    pub fn folder(&self, bench: &Path) -> PathBuf {
        bench.join(&self.variant).join(self.column()).join(self.config.seed.to_string())
    }

    fn column(&self) -> String {
        self.left_out.join("+")
    }
}

/// What one run reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The variant's name.
    pub variant: String,
    /// What was kept out.
    pub left_out: String,
    /// The seed.
    pub seed: u64,
    /// Area under the curve on what was kept out, by degradation; sources weigh the same.
    pub auc: BTreeMap<String, f64>,
}

impl Reached {
    fn mean(&self) -> f64 {
        self.auc.values().sum::<f64>() / self.auc.len().max(1) as f64
    }
}

impl Bench {
    /// Reads a bench's file.
    ///
    /// # Errors
    /// `BadUsage` for unknown names, wrong types, and where nothing is kept out or no seed is named.
    pub fn parse(text: &str) -> Result<Self> {
        let bench: Bench =
            toml::from_str(text).map_err(|e| Error::caused(ErrorKind::BadUsage, "expected a bench in TOML", e))?;
        if bench.seeds.is_empty() || bench.leave_out.is_empty() || bench.leave_out.iter().any(Vec::is_empty) {
            let message = "expected seeds and names to leave out, found none";
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        if bench.variants.contains_key(RECIPE) {
            let message =
                format!("expected another name for a variant than {RECIPE}, which is the one without changes");
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        Ok(bench)
    }

    /// All runs, the recipe's own first; `recipe` is the text of its file.
    ///
    /// # Errors
    /// `BadUsage` when the recipe or a variant of it is none.
    pub fn runs(&self, recipe: &str) -> Result<Vec<Planned>> {
        let base: toml::Table = toml::from_str(recipe)
            .map_err(|e| Error::caused(ErrorKind::BadUsage, "expected a training configuration in TOML", e))?;
        let empty = toml::Table::new();
        let variants =
            std::iter::once((RECIPE, &empty)).chain(self.variants.iter().map(|(name, t)| (name.as_str(), t)));
        let mut runs = Vec::new();
        for (variant, changes) in variants {
            let mut table = base.clone();
            merge(&mut table, changes);
            let text = toml::to_string(&table)
                .map_err(|e| Error::caused(ErrorKind::Internal, "a variant of the configuration", e))?;
            let plain = TrainConfig::parse(&text).map_err(|e| {
                Error::caused(ErrorKind::BadUsage, format!("expected a recipe in variant {variant}"), e)
            })?;
            for left_out in &self.leave_out {
                for seed in &self.seeds {
                    let mut config = TrainConfig { seed: *seed, ..plain.clone() };
                    config.sampling.leave_out.extend(left_out.iter().cloned());
                    runs.push(Planned { variant: variant.into(), left_out: left_out.clone(), config });
                }
            }
        }
        Ok(runs)
    }
}

/// Tables are merged, anything else is replaced.
fn merge(table: &mut toml::Table, changes: &toml::Table) {
    for (key, value) in changes {
        match (table.get_mut(key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

/// What all runs of a bench share.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Folder of a complete pack.
    pub pack: &'a Path,
    /// Folder of the bench.
    pub out: &'a Path,
    /// Weights to start from: none that have seen what is kept out.
    pub start: Option<&'a Start>,
    /// Threads of the loader.
    pub loader_threads: usize,
    /// The commit of this program, for the record.
    pub commit: &'a str,
    /// Pictures of each source that are measured on.
    pub per_source: usize,
}

const RESULT_FILE: &str = "bench.json";

/// Runs what is not there yet; what a run reached lies in its folder. `tell` is told before each run and after it.
///
/// # Errors
/// As [`train`]; `BadData` where what is kept out has no pictures.
pub fn run<B: AutodiffBackend>(
    runs: &[Planned],
    setting: &Setting,
    device: &B::Device,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Event),
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Reached>> {
    let pack = Pack::open(setting.pack)?;
    let mut reached = Vec::new();
    for (index, planned) in runs.iter().enumerate() {
        let folder = planned.folder(setting.out);
        let file = folder.join(RESULT_FILE);
        if let Ok(bytes) = fs::read(&file) {
            let found = serde_json::from_slice(&bytes).map_err(|e| {
                Error::caused(ErrorKind::BadData, format!("expected what a run reached in {}", file.display()), e)
            })?;
            reached.push(found);
            continue;
        }
        let exam = Exam::new(&pack, planned, setting.per_source)?;
        let name = format!("{} without {}, seed {}", planned.variant, planned.column(), planned.config.seed);
        tell(&format!("run {} of {}: {name}", index + 1, runs.len()));
        let inputs = Inputs {
            pack: setting.pack.into(),
            folder: RunFolder(folder),
            start: setting.start.cloned(),
            resume: RunFolder(planned.folder(setting.out)).checkpoint().exists(),
            loader_threads: setting.loader_threads,
            commit: setting.commit.into(),
        };
        if train::<B>(&planned.config, &inputs, device, stop, watch)? == Ending::Stopped || stop.load(Ordering::Relaxed)
        {
            let message = format!("stopped at run {} of {}; the same command goes on", index + 1, runs.len());
            return Err(Error::new(ErrorKind::Cancelled, message));
        }
        let path = inputs.folder.last();
        let model =
            fs::read(&path).map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
        let found = Reached {
            variant: planned.variant.clone(),
            left_out: planned.column(),
            seed: planned.config.seed,
            auc: exam.measure::<B::InnerBackend>(&ModelFile::parse(&model)?, device)?,
        };
        let json = serde_json::to_vec_pretty(&found)
            .map_err(|e| Error::caused(ErrorKind::Internal, "what a run reached, as JSON", e))?;
        write_atomically(&file, &json)?;
        tell(&format!("{name}: {:.4}", found.mean()));
        reached.push(found);
    }
    Ok(reached)
}

/// Pictures of what was kept out, and of the other class from sources that are for validation.
struct Exam<'a> {
    pack: &'a Pack,
    rows: Vec<usize>,
    crops: Vec<(Tier, Vec<Rgb8>)>,
}

impl<'a> Exam<'a> {
    fn new(pack: &'a Pack, planned: &Planned, per_source: usize) -> Result<Self> {
        let sampling = &planned.config.sampling;
        let kept_out = |entry: &Entry| leaves_out(sampling, entry);
        let labels: Vec<i8> = pack.entries().iter().filter(|e| e.packed() && kept_out(e)).map(|e| e.label).collect();
        let mut by_source: BTreeMap<(i8, &str), Vec<usize>> = BTreeMap::new();
        for (index, entry) in pack.entries().iter().enumerate().filter(|(_, entry)| entry.packed()) {
            // Both classes may be kept out; then each is the other's counterpart, beside validation rows.
            let opponent = entry.split == Split::Val && labels.iter().any(|label| *label != entry.label);
            if (kept_out(entry) || opponent) && [REAL, FAKE].contains(&entry.label) {
                by_source.entry((entry.label, &entry.source)).or_default().push(index);
            }
        }
        if [REAL, FAKE].iter().any(|label| !by_source.keys().any(|(found, _)| found == label)) {
            let message = format!(
                "expected pictures of {} and of the other class for validation, found none of one",
                planned.column()
            );
            return Err(Error::new(ErrorKind::BadData, message));
        }
        let rows: Vec<usize> = by_source.into_values().flat_map(|rows| draw(rows, per_source)).collect();
        let crops = planned.config.validate.tiers.iter().map(|tier| {
            let crops = rows.par_iter().map(|row| seen(pack, *row, *tier, &planned.config)).collect::<Result<_>>()?;
            Ok((*tier, crops))
        });
        Ok(Exam { pack, crops: crops.collect::<Result<_>>()?, rows })
    }

    fn measure<I: burn::tensor::backend::Backend>(
        &self,
        model: &ModelFile,
        device: &I::Device,
    ) -> Result<BTreeMap<String, f64>> {
        let network = model.module::<I>(device)?;
        let mut counts: BTreeMap<(i8, &str), f64> = BTreeMap::new();
        let entry = |row: &usize| &self.pack.entries()[*row];
        self.rows.iter().map(entry).for_each(|e| *counts.entry((e.label, &e.source)).or_default() += 1.0);
        let mut found = BTreeMap::new();
        for (tier, crops) in &self.crops {
            let scores = score(&network, &model.meta.network, &model.meta.mte, crops, device);
            let weighted: Vec<(f32, bool, f64)> = self
                .rows
                .iter()
                .map(entry)
                .zip(&scores)
                .map(|(e, s)| (s.fused, e.label == FAKE, 1.0 / counts[&(e.label, e.source.as_str())]))
                .collect();
            found.extend(weighted_auc(&weighted).map(|auc| (tier.name().to_string(), auc)));
        }
        Ok(found)
    }
}

/// Mean and standard deviation (of a sample).
fn spread(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, variance.sqrt())
}

/// One Markdown table: a line for each variant, a column for each thing that was kept out, mean and spread over the seeds; the
/// last column says whether the mean over all of it differs from the recipe's by more than the spread.
pub fn table(reached: &[Reached]) -> String {
    let mut variants: Vec<&str> = Vec::new();
    let mut columns: Vec<&str> = Vec::new();
    for found in reached {
        if !variants.contains(&found.variant.as_str()) {
            variants.push(&found.variant);
        }
        if !columns.contains(&found.left_out.as_str()) {
            columns.push(&found.left_out);
        }
    }
    // Seeds are paired: the mean over columns is taken seed by seed.
    let by_seed = |variant: &str| -> Vec<f64> {
        let mut seeds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for found in reached.iter().filter(|found| found.variant == variant) {
            seeds.entry(found.seed).or_default().push(found.mean());
        }
        seeds.into_values().map(|means| spread(&means).0).collect()
    };
    let mut text = format!("| AUC on what was left out | {} | all | against the recipe |\n", columns.join(" | "));
    text += &format!("|{}\n", "---|".repeat(columns.len() + 3));
    let (recipe, recipe_spread) = spread(&by_seed(RECIPE));
    for variant in variants {
        text += &format!("| {variant} |");
        for column in &columns {
            let own = reached.iter().filter(|found| found.variant == variant && found.left_out == *column);
            let (mean, deviation) = spread(&own.map(Reached::mean).collect::<Vec<_>>());
            text += &format!(" {mean:.3} ± {deviation:.3} |");
        }
        let (mean, deviation) = spread(&by_seed(variant));
        let change = mean - recipe;
        let verdict = match change {
            _ if variant == RECIPE => String::new(),
            change if change > recipe_spread.max(deviation) => format!("{change:+.3}, better"),
            change if -change > recipe_spread.max(deviation) => format!("{change:+.3}, worse"),
            change => format!("{change:+.3}, within the spread"),
        };
        text += &format!(" {mean:.3} ± {deviation:.3} | {verdict} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "config = \"recipe.toml\"\nseeds = [1, 2, 3]\nleave_out = [[\"gan\"], [\"closed\", \"sdxl\"]]\n\
        [variants.maps.learn]\nmap_loss = 0.3\n";
    const RECIPE_FILE: &str = "steps = 50\n[learn]\nrate = 1e-4\n[sampling]\nself_blended = 0.2\n";

    #[test]
    fn a_bench_runs_the_recipe_and_each_variant_with_each_seed_and_each_thing_left_out() {
        let bench = Bench::parse(FILE).unwrap();
        let runs = bench.runs(RECIPE_FILE).unwrap();
        assert_eq!(runs.len(), 2 * 2 * 3);
        let last = &runs[11];
        assert_eq!((last.variant.as_str(), last.config.seed, last.config.steps), ("maps", 3, 50));
        assert_eq!((last.config.learn.map_loss, last.config.learn.rate), (0.3, 1e-4));
        assert_eq!(last.config.sampling.leave_out, ["closed", "sdxl"]);
        assert_eq!(runs[0].config.learn.map_loss, 0.0);
        assert_eq!(last.folder(Path::new("b")), Path::new("b/maps/closed+sdxl/3"));
    }

    #[test]
    fn what_is_no_bench_is_refused() {
        for (text, word) in [
            ("config = \"a\"\nseeds = []\nleave_out = [[\"gan\"]]", "seeds"),
            ("config = \"a\"\nseeds = [1]\nleave_out = [[]]", "leave out"),
            ("config = \"a\"\nseeds = [1]\nleave_out = [[\"gan\"]]\n[variants.recipe]\nsteps = 1", "another name"),
            ("config = \"a\"\nseeds = [1]\nleave_out = [[\"gan\"]]\nvariant = 1", "variant"),
        ] {
            let error = Bench::parse(text).expect_err(text);
            assert!(error.full_message().contains(word), "{}", error.full_message());
        }
        let wrong = Bench::parse(&FILE.replace("map_loss", "mop_loss")).unwrap().runs(RECIPE_FILE).unwrap_err();
        assert!(wrong.full_message().contains("maps") && wrong.full_message().contains("mop_loss"));
    }

    #[test]
    fn a_variant_is_better_only_when_it_beats_the_spread() {
        let mut reached = Vec::new();
        for (variant, means) in
            [(RECIPE, [0.80, 0.82, 0.84]), ("luck", [0.82, 0.83, 0.84]), ("gain", [0.90, 0.91, 0.92])]
        {
            for (seed, mean) in means.into_iter().enumerate() {
                for left_out in ["gan", "closed"] {
                    let auc = [("raw".to_string(), mean + 0.01), ("web".to_string(), mean - 0.01)].into();
                    reached.push(Reached {
                        variant: variant.into(),
                        left_out: left_out.into(),
                        seed: seed as u64,
                        auc,
                    });
                }
            }
        }
        let text = table(&reached);
        assert!(text.contains("| recipe | 0.820 ± 0.020 | 0.820 ± 0.020 | 0.820 ± 0.020 |  |"), "{text}");
        assert!(text.contains("+0.010, within the spread") && text.contains("+0.090, better"), "{text}");
    }
}
