//! `grnet prepare`, `grnet reconstruct`, `grnet train`, `grnet eval`, `grnet export`, `grnet compare` and `grnet figure`: options, progress on the terminal, Ctrl-C.

pub mod bench;
pub mod compare;
pub mod eval;
pub mod figure;
pub mod reconstruct;

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::backend::AutodiffBackend;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;

use crate::model::{Manifest, Precision};
use crate::train::backend::{TrainDevice, TrainJob, train_on};
use crate::train::config::TrainConfig;
use crate::train::data::audit;
use crate::train::data::landmarks::LandmarkNet;
use crate::train::data::layout::{self, Dataset, Layout};
use crate::train::data::pack::{MANIFEST_FILE, Pack, Status};
use crate::train::data::prepare::{self, PrepareConfig};
use crate::train::files::write_atomically;
use crate::train::formats::export::{convert, mixed, precision_named, to_onnx};
use crate::train::formats::onnx::ResidualPlace;
use crate::train::learn::run::{self, Ending, Event, Inputs, RunFolder, StepLine};
use crate::train::learn::start::Start;
use crate::train::measure::validate::Validation;
use crate::{Error, ErrorKind, Result, cli};

/// The subcommands of training.
#[derive(Debug, Subcommand)]
pub enum TrainCommand {
    /// Cut the faces of a table of pictures into a pack for training
    Prepare(PrepareArgs),
    /// Add fakes to a pack that auto-encoders make from its real training faces
    Reconstruct(reconstruct::ReconstructArgs),
    /// Train a model
    Train(TrainArgs),
    /// Measure a model on labelled pictures
    Eval(eval::EvalArgs),
    /// Write a trained model at another precision, with its manifest, or as ONNX
    Export(ExportArgs),
    /// Train and measure the systems of the paper's tables on the same data with the same budget
    Compare(compare::CompareArgs),
    /// Draw the paper's pictures of residuals and of what front ends let through
    Figure(figure::FigureArgs),
}

/// Runs one of them.
///
/// # Errors
/// As the subcommand.
pub fn run_command(command: &TrainCommand) -> Result<()> {
    match command {
        TrainCommand::Prepare(args) => run_prepare(args),
        TrainCommand::Reconstruct(args) => reconstruct::run(args),
        TrainCommand::Train(args) => run_train(args),
        TrainCommand::Eval(args) => eval::run(args),
        TrainCommand::Export(args) => run_export(args),
        TrainCommand::Compare(args) => compare::run(args),
        TrainCommand::Figure(args) => figure::run(args),
    }
}

/// Options of `grnet prepare`.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    /// Table of pictures (path,label,source,generator,group,split and, if known, crop; paths relative to it), or the folder of a data set
    #[arg(long)]
    pub data: PathBuf,
    /// How the folder is laid out: auto, csv, folders, faceforensics, dfdc, celebdf, hff
    #[arg(long, default_value = "auto")]
    pub layout: String,
    /// Folder of the pack
    #[arg(long)]
    pub out: PathBuf,
    /// Largest side of a crop in pixels
    #[arg(long, default_value_t = 256)]
    pub side: usize,
    /// Side of a crop in sides of the face's box: training draws narrower ones from it
    #[arg(long, default_value_t = 1.9)]
    pub margin: f32,
    /// The pictures are face crops already: take them whole
    #[arg(long)]
    pub cropped: bool,
    /// Keep pictures that are nearly equal to another of the same source and label
    #[arg(long)]
    pub keep_duplicates: bool,
    /// Folder with the 68-point network of face-api.js (face_landmark_68_model-*): self-blending then follows each face's own
    /// outline
    #[arg(long, value_name = "FOLDER")]
    pub landmarks: Option<PathBuf>,
}

/// Options of `grnet train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Configuration (TOML); defaults for whatever it does not name
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Table of pictures, folder of a data set, or the folder of a pack made by `grnet prepare`
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the run: checkpoints, models, metrics
    #[arg(long)]
    pub out: PathBuf,
    /// What computes
    #[arg(long, value_enum, default_value_t = DeviceOption::Cpu)]
    pub device: DeviceOption,
    /// Weights to start from: an earlier model, or torchvision's ResNet-18 for both streams (safetensors or .pth)
    #[arg(long)]
    pub init: Option<PathBuf>,
    /// End after so many minutes
    #[arg(long)]
    pub minutes: Option<f64>,
    /// End after so many steps
    #[arg(long)]
    pub steps: Option<u64>,
    /// Seed of every draw
    #[arg(long)]
    pub seed: Option<u64>,
    /// Families, sources or generators that are kept out of training, to see how unseen ones fare
    #[arg(long, value_delimiter = ',')]
    pub leave_out: Vec<String>,
    /// Instead of one run make those of this bench (TOML): a recipe and variants of it without whole families, several seeds
    /// each, one table
    #[arg(long, value_name = "FILE")]
    pub bench: Option<PathBuf>,
    /// Go on from the checkpoint in the folder of the run
    #[arg(long)]
    pub resume: bool,
    /// Threads that decode and degrade pictures
    #[arg(long, default_value_t = 1)]
    pub loader_threads: usize,
}

/// Options of `grnet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Model file, or the folder of a run (its best model)
    #[arg(long)]
    pub model: PathBuf,
    /// File to write; `.json` beside a model file becomes its manifest
    #[arg(long)]
    pub out: PathBuf,
    /// Model file or ONNX [default: by the ending of --out]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// f32, f16 or int8 [default: f16; ONNX is always f32]
    #[arg(long)]
    pub precision: Option<String>,
    /// ONNX: where the guided residual is computed
    #[arg(long, value_enum, default_value_t = ResidualPlace::Inside)]
    pub residual: ResidualPlace,
    /// A new name for the model
    #[arg(long)]
    pub name: Option<String>,
    /// Another model, whose weights are averaged with those of the first; settle the result by `grnet train --init` for a step
    #[arg(long, value_name = "MODEL")]
    pub mix: Option<PathBuf>,
    /// How much the other one weighs
    #[arg(long, default_value_t = 0.5, requires = "mix")]
    pub share: f64,
    /// Fit calibration and thresholds on the validation rows of this table of pictures
    #[arg(long, value_name = "CSV")]
    pub calibrate: Option<PathBuf>,
    /// Pictures of each source that calibration looks at
    #[arg(long, default_value_t = 60)]
    pub per_source: usize,
}

/// What `grnet export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A model file of grnet
    Safetensors,
    /// A graph for other runtimes
    Onnx,
}

impl Format {
    /// By the ending of a file's name: ONNX for `.onnx`, else a model file.
    fn of(path: &Path) -> Self {
        let onnx = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"));
        if onnx { Format::Onnx } else { Format::Safetensors }
    }
}

/// What computes in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceOption {
    /// Plain Rust on the CPU; repeats exactly.
    Cpu,
    /// LibTorch on the CPU, several times as fast (feature `libtorch`).
    Libtorch,
    /// Any GPU through WebGPU (feature `train-gpu`).
    Gpu,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
}

impl From<DeviceOption> for TrainDevice {
    fn from(option: DeviceOption) -> Self {
        match option {
            DeviceOption::Cpu => TrainDevice::Cpu,
            DeviceOption::Libtorch => TrainDevice::Libtorch,
            DeviceOption::Gpu => TrainDevice::Gpu,
            DeviceOption::Cuda => TrainDevice::Cuda,
        }
    }
}

/// `grnet prepare`.
///
/// # Errors
/// As [`prepare::prepare`].
pub fn run_prepare(args: &PrepareArgs) -> Result<()> {
    let config = PrepareConfig {
        side_px: args.side,
        margin: args.margin,
        cropped: args.cropped,
        keep_duplicates: args.keep_duplicates,
        landmarks: args.landmarks.as_deref().map(LandmarkNet::read).transpose()?,
        ..PrepareConfig::default()
    };
    let stop = cli::stop_on_ctrl_c("this step")?;
    let data = layout::read(&args.data, Layout::named(&args.layout)?)?;
    make_pack(&data, &args.out, &config, &stop)?;
    let audits = audit::audit(&Pack::open(&args.out)?, &TrainConfig::default())?;
    eprintln!(
        "\nmakers of fakes: what a classifier that sees the border alone makes of their pairs (chance: 0.5), and fine detail"
    );
    eprint!("{}", audit::makers_text(&audit::makers(&Pack::open(&args.out)?, &TrainConfig::default())?));
    eprintln!("\nshort cuts: how often a decision tree that never sees a face tells fakes from reals (chance: 50 %)");
    eprint!("{}", audit::text(&audits));
    Ok(())
}

/// Refuses a table none of whose pictures could be read: that is a wrong folder, not bad luck with some files.
fn readable(data: &Dataset, none: bool) -> Result<()> {
    let Some(first) = data.rows.first().filter(|_| none) else { return Ok(()) };
    let (count, path) = (data.rows.len(), data.base.join(&first.path));
    let message = format!(
        "expected pictures that can be read, found none in {count} rows; the first is {}: paths are relative to the table",
        cli::shown(&path)
    );
    Err(Error::new(ErrorKind::BadData, message))
}

/// Says how to go on after an error that leaves what was done where it is: a stop, a full disk.
fn say_how_to_go_on(error: &Error, words: &str) {
    if matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Io) {
        eprintln!("{words}");
    }
}

fn make_pack(data: &Dataset, folder: &Path, config: &PrepareConfig, stop: &AtomicBool) -> Result<()> {
    for (reason, count) in &data.left_out {
        eprintln!("{count:>9}  left out     {reason}");
    }
    let bar = ProgressBar::new(0);
    bar.set_style(cli::bar_style("{msg} {wide_bar} {pos}/{len} {per_sec}, {eta} left"));
    bar.set_message("cutting faces");
    let counts = prepare::prepare(data, folder, config, stop, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })
    .inspect_err(|error| say_how_to_go_on(error, "the same command goes on with the pictures that are left"))?;
    bar.finish_and_clear();
    eprintln!("{:>9}  {:<11} source", "pictures", "what became");
    for ((status, source), count) in &counts {
        eprintln!("{count:>9}  {:<11} {source}", status.words());
    }
    readable(data, counts.keys().all(|(status, _)| *status == Status::Unreadable))
}

/// `data` if it is a pack already; otherwise the pack of that table, made in `folder` (or left there by an earlier call).
fn pack_of(data: &Path, folder: &Path, stop: &AtomicBool) -> Result<PathBuf> {
    if data.join(MANIFEST_FILE).exists() {
        return Ok(data.to_path_buf());
    }
    make_pack(&layout::read(data, Layout::Auto)?, folder, &PrepareConfig::default(), stop)?;
    Ok(folder.to_path_buf())
}

/// `grnet train`.
///
/// # Errors
/// As [`run::train`]; `Unsupported` when this build lacks the device.
pub fn run_train(args: &TrainArgs) -> Result<()> {
    if let Some(file) = &args.bench {
        return bench::run(args, file);
    }
    let mut config = match &args.config {
        Some(path) => TrainConfig::parse(&read_text(path)?)?,
        None => TrainConfig::default(),
    };
    config.seed = args.seed.unwrap_or(config.seed);
    config.minutes = args.minutes.unwrap_or(config.minutes);
    config.sampling.leave_out.extend(args.leave_out.iter().cloned());
    match (args.steps, args.minutes) {
        (Some(steps), _) => config.steps = steps,
        // Minutes alone decide then; TOML holds no larger number than i64's.
        (None, Some(_)) => config.steps = i64::MAX as u64,
        (None, None) => {}
    }
    let start = args.init.as_ref().map(|path| cli::read(path).and_then(|bytes| Start::parse(&bytes))).transpose()?;
    let stop = cli::stop_on_ctrl_c("this step")?;
    let pack = pack_of(&args.data, &args.out.join("pack"), &stop)?;
    let inputs = Inputs {
        pack,
        folder: RunFolder(args.out.clone()),
        start,
        resume: args.resume,
        loader_threads: args.loader_threads,
        commit: commit(),
    };
    let folder = inputs.folder.0.display();
    let ending =
        train_on(args.device.into(), Job { config: &config, inputs: &inputs, stop: &stop }).inspect_err(|error| {
            if inputs.folder.checkpoint().exists() {
                say_how_to_go_on(error, &format!("its last checkpoint is whole; go on with --resume --out {folder}"));
            }
        })?;
    match ending {
        Ending::Finished => eprintln!("finished; models are in {folder}"),
        Ending::NoProgress => eprintln!("ended: no progress on the validation split; models are in {folder}"),
        Ending::Stopped => eprintln!("stopped; go on with --resume --out {folder}"),
    }
    Ok(())
}

struct Job<'a> {
    config: &'a TrainConfig,
    inputs: &'a Inputs,
    stop: &'a AtomicBool,
}

impl TrainJob for Job<'_> {
    type Out = Ending;

    fn run<B: AutodiffBackend>(self, device: &B::Device) -> Result<Ending> {
        let mut view = View::new();
        let ending = run::train::<B>(self.config, self.inputs, device, self.stop, &mut |event| view.show(event))?;
        view.bar.finish_and_clear();
        Ok(ending)
    }
}

/// The live line of a run; plain lines when the output is no terminal.
struct View {
    bar: ProgressBar,
    live: bool,
    auc: Option<f64>,
    lines: u64,
}

impl View {
    fn new() -> Self {
        let live = std::io::stderr().is_terminal();
        let bar = if live { ProgressBar::new(1000) } else { ProgressBar::hidden() };
        bar.set_style(cli::bar_style("{bar:24} {percent} % {msg} {elapsed} gone, {eta} left"));
        View { bar, live, auc: None, lines: 0 }
    }

    fn print(&self, text: &str) {
        if self.live {
            self.bar.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Notice(text) => self.print(&text),
            Event::Step { progress, line } => {
                self.bar.set_position((progress * 1000.0) as u64);
                let text = self.line(line);
                self.bar.set_message(text.clone());
                self.lines += 1;
                if !self.live && self.lines.is_multiple_of(2) {
                    eprintln!("{:.1} % {text}", 100.0 * progress);
                }
            }
            Event::Validation { step, figures, best } => {
                self.auc = Some(figures.worst_tier);
                self.print(&describe(step, figures, best));
            }
        }
    }

    fn line(&self, line: &StepLine) -> String {
        let auc = self.auc.map_or(String::new(), |auc| format!(" auc {auc:.3}"));
        format!(
            "step {} loss {:.3} (spatial {:.3}, residual {:.3}){auc}, {:.1} pictures/s at {} px, loader {:.0} %",
            line.step,
            line.loss_fused,
            line.loss_spatial,
            line.loss_residual,
            line.pictures_per_s,
            line.side_px,
            100.0 * line.loader_share
        )
    }
}

fn describe(step: u64, figures: &Validation, best: bool) -> String {
    let mut text = format!(
        "validation at step {step}: worst tier {:.4}, worst source {:.3}, spatial alone {:.3}, residual alone {:.3}{}\n",
        figures.worst_tier,
        figures.worst_source,
        figures.spatial,
        figures.residual,
        if best { " (best)" } else { "" }
    );
    for (tier, families) in &figures.families {
        let families: Vec<String> = families.iter().map(|(family, auc)| format!("{family} {auc:.2}")).collect();
        text += &format!("  {tier:<7} by family: {}\n", families.join(", "));
    }
    for (tier, by_source) in &figures.sources {
        let sources: Vec<String> = by_source.iter().map(|(source, auc)| format!("{source} {auc:.2}")).collect();
        text += &format!("  {tier:<7} {:.3}: {}\n", figures.tiers[tier], sources.join(", "));
    }
    let flagged: Vec<String> =
        figures.flagged_reals.iter().map(|(s, share)| format!("{s} {:.0} %", 100.0 * share)).collect();
    text + &format!("  reals flagged at 0.5: {}", flagged.join(", "))
}

/// `grnet export`.
///
/// # Errors
/// `Io` for files, `BadWeights` for what is no model.
pub fn run_export(args: &ExportArgs) -> Result<()> {
    let format = args.format.unwrap_or_else(|| Format::of(&args.out));
    let precision = match (format, args.precision.as_deref()) {
        (Format::Onnx, None | Some("f32")) => Precision::F32,
        (Format::Onnx, Some(other)) => {
            let message = format!("expected precision f32 for ONNX, found {other}");
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        (Format::Safetensors, name) => precision_named(name.unwrap_or("f16"))?,
    };
    let open =
        |model: &PathBuf| cli::read(&if model.is_dir() { RunFolder(model.clone()).best() } else { model.clone() });
    let bytes = match &args.mix {
        Some(other) => mixed(&open(&args.model)?, &open(other)?, args.share)?,
        None => open(&args.model)?,
    };
    let calibrated =
        args.calibrate.as_ref().map(|table| eval::calibrated(&bytes, table, args.per_source)).transpose()?;
    let exported = convert(&bytes, precision, |meta| {
        if let Some(calibrated) = calibrated {
            *meta = calibrated;
        }
        if let Some(name) = &args.name {
            meta.name = name.clone();
        }
    })?;
    let exported = match format {
        Format::Onnx => to_onnx(&exported, args.residual)?,
        Format::Safetensors => exported,
    };
    write_atomically(&args.out, &exported)?;
    let file = args.out.file_name().unwrap_or_default().to_string_lossy();
    let manifest = Manifest::of(&file, &exported);
    // An ONNX file has none: it would displace that of the model file of the same name.
    if format == Format::Safetensors {
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| Error::caused(ErrorKind::Internal, "the manifest as JSON", e))?;
        write_atomically(&args.out.with_extension("json"), format!("{text}\n").as_bytes())?;
    }
    println!("{}  {:.1} MB  {}", args.out.display(), exported.len() as f64 / 1e6, manifest.sha256);
    Ok(())
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| cannot_read(path, e))
}

fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), error)
}

/// The commit of the working tree that this was started in, for the record; empty where there is none.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    output.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_string()).unwrap_or_default()
}
