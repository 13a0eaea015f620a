//! `grnet reconstruct`: options and progress.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::backend::AutodiffBackend;
use clap::Args;
use indicatif::ProgressBar;

use super::DeviceOption;
use crate::Result;
use crate::cli::{self, read};
use crate::train::backend::{TrainJob, train_on};
use crate::train::reconstruct::{self, Alignment, Event, Length, Maker, Plan, Taef2Files};

/// Options of `grnet reconstruct`.
#[derive(Debug, Args)]
pub struct ReconstructArgs {
    /// Folder of a pack made by `grnet prepare`
    #[arg(long)]
    data: PathBuf,
    /// Folder of the new pack: the old one and the reconstructions
    #[arg(long)]
    out: PathBuf,
    /// Auto-encoders: nearest, bilinear, transposed, shuffle (trained here first) and taef2; each picture goes through one
    #[arg(long, value_delimiter = ',', default_value = "nearest,bilinear,transposed,shuffle")]
    makers: Vec<String>,
    /// Folder with taef2_encoder.safetensors and taef2_decoder.safetensors
    #[arg(long)]
    taef2: Option<PathBuf>,
    /// Real sources to rebuild [default: all]
    #[arg(long, value_delimiter = ',')]
    sources: Vec<String>,
    /// At most so many pictures of each source
    #[arg(long, default_value_t = 500)]
    per_source: usize,
    /// Share of the pictures that are rebuilt in a soft region of the face only
    #[arg(long, default_value_t = 0.3)]
    partial: f32,
    /// Share of the pictures that are mixed with their original by pixels, and by coefficients of blocks
    #[arg(long, num_args = 2, value_names = ["PIXELS", "COEFFICIENTS"], default_values_t = [0.2, 0.2])]
    mix: Vec<f32>,
    /// Largest part of the reconstruction in such a mix
    #[arg(long, default_value_t = 0.8)]
    mix_most: f32,
    /// Share of the pictures that are compressed as their original was, on its own grid of blocks
    #[arg(long, default_value_t = 0.5)]
    compress: f32,
    /// Minutes that each auto-encoder learns
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// At most so many steps
    #[arg(long, default_value_t = 100_000)]
    steps: u64,
    /// Seed of every draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What computes
    #[arg(long, value_enum, default_value_t = DeviceOption::Cpu)]
    device: DeviceOption,
}

/// Runs `grnet reconstruct`.
///
/// # Errors
/// As [`reconstruct::reconstruct`].
pub fn run(args: &ReconstructArgs) -> Result<()> {
    let plan = Plan {
        makers: args.makers.iter().map(|name| Maker::named(name)).collect::<Result<_>>()?,
        sources: args.sources.clone(),
        per_source: args.per_source,
        partial: args.partial,
        alignment: Alignment {
            pixels: args.mix[0],
            coefficients: args.mix[1],
            most: args.mix_most,
            compress: args.compress,
        },
        length: Length { minutes: args.minutes, steps: args.steps },
        seed: args.seed,
    };
    let taef2 = |folder: &PathBuf| -> Result<Taef2Files> {
        let file = |part: &str| read(&folder.join(format!("taef2_{part}.safetensors")));
        Ok(Taef2Files { encoder: file("encoder")?, decoder: file("decoder")? })
    };
    let files = args.taef2.as_ref().map(taef2).transpose()?;
    let stop = cli::stop_on_ctrl_c("this step")?;
    train_on(args.device.into(), Job { args, plan: &plan, files: files.as_ref(), stop: &stop })
}

struct Job<'a> {
    args: &'a ReconstructArgs,
    plan: &'a Plan,
    files: Option<&'a Taef2Files>,
    stop: &'a AtomicBool,
}

impl TrainJob for Job<'_> {
    type Out = ();

    fn run<B: AutodiffBackend>(self, device: &B::Device) -> Result<()> {
        let mut view = View::new();
        let mut tell = |event| {
            view.show(event);
            !self.stop.load(Ordering::Relaxed)
        };
        let ReconstructArgs { data, out, .. } = self.args;
        reconstruct::reconstruct::<B>(data, out, self.plan, self.files, &mut tell, device)?;
        view.bar.finish_and_clear();
        Ok(())
    }
}

/// A bar for each stage; a line every tenth of it when the output is no terminal.
struct View {
    bar: ProgressBar,
    live: bool,
    stage: String,
    tenths: u64,
}

impl View {
    fn new() -> Self {
        let bar = ProgressBar::new(1000);
        bar.set_style(cli::bar_style("{msg} {wide_bar} {percent} %, {elapsed} gone, {eta} left"));
        View { bar, live: std::io::stderr().is_terminal(), stage: String::new(), tenths: 0 }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Learning(maker, share, loss) => {
                self.at(format!("{} learns", maker.name()), share, &format!(", loss {loss:.4}"));
            }
            Event::Rebuilding(done, all) => {
                self.at("rebuilding faces".into(), done as f64 / all as f64, &format!(", {done} of {all}"));
            }
            Event::Made(maker, count, psnr) => {
                self.bar.suspend(|| eprintln!("{count:>7}  {:<20} {psnr:.1} dB against the originals", maker.source()))
            }
        }
    }

    fn at(&mut self, stage: String, share: f64, detail: &str) {
        if stage != self.stage {
            self.bar.reset();
            self.tenths = 0;
            self.stage = stage;
        }
        self.bar.set_position((1000.0 * share) as u64);
        self.bar.set_message(format!("{}{detail}", self.stage));
        let tenths = (10.0 * share) as u64;
        if !self.live && tenths > self.tenths {
            self.tenths = tenths;
            eprintln!("{:.0} % {}{detail}", 100.0 * share, self.stage);
        }
    }
}
