//! `grnet train --bench FILE`: progress of many small runs, and their table.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::tensor::backend::AutodiffBackend;

use super::{TrainArgs, View, commit, pack_of, read_text};
use crate::cli;
use crate::train::backend::{TrainJob, train_on};
use crate::train::files::write_atomically;
use crate::train::learn::bench::{self, Bench, Planned, Reached, Setting};
use crate::train::learn::start::Start;
use crate::{Error, ErrorKind, Result};

/// Name of the table in the bench's folder.
const TABLE: &str = "table.md";

/// Runs the bench in `file`; what is there already is not run again.
///
/// # Errors
/// As [`bench::run`]; `BadUsage` for options that a bench's file decides.
pub fn run(args: &TrainArgs, file: &Path) -> Result<()> {
    let decided = [
        ("--config", args.config.is_some()),
        ("--seed", args.seed.is_some()),
        ("--leave-out", !args.leave_out.is_empty()),
        ("--resume", args.resume),
    ];
    if let Some((name, _)) = decided.iter().find(|(_, given)| *given) {
        let message = format!("expected {name} in the bench's file or not at all, found it as an option");
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    let bench = Bench::parse(&read_text(file)?)?;
    let mut runs = bench.runs(&read_text(&file.with_file_name(&bench.config))?)?;
    for planned in &mut runs {
        planned.config.steps = args.steps.unwrap_or(planned.config.steps);
        planned.config.minutes = args.minutes.unwrap_or(planned.config.minutes);
    }
    let start = args.init.as_ref().map(|path| cli::read(path).and_then(|bytes| Start::parse(&bytes))).transpose()?;
    let stop = cli::stop_on_ctrl_c("this step")?;
    let pack = pack_of(&args.data, &args.out.join("pack"), &stop)?;
    let commit = commit();
    let setting = Setting {
        pack: &pack,
        out: &args.out,
        start: start.as_ref(),
        loader_threads: args.loader_threads,
        commit: &commit,
        per_source: bench.per_source,
    };
    let reached = train_on(args.device.into(), Job { runs: &runs, setting: &setting, stop: &stop })?;
    let table = bench::table(&reached);
    print!("{table}");
    write_atomically(&args.out.join(TABLE), table.as_bytes())
}

struct Job<'a> {
    runs: &'a [Planned],
    setting: &'a Setting<'a>,
    stop: &'a AtomicBool,
}

impl TrainJob for Job<'_> {
    type Out = Vec<Reached>;

    fn run<B: AutodiffBackend>(self, device: &B::Device) -> Result<Vec<Reached>> {
        let mut view = View::new();
        let bar = view.bar.clone();
        let mut watch = |event: crate::train::learn::run::Event| view.show(event);
        let mut tell = |line: &str| bar.suspend(|| eprintln!("{line}"));
        let reached = bench::run::<B>(self.runs, self.setting, device, self.stop, &mut watch, &mut tell)?;
        bar.finish_and_clear();
        Ok(reached)
    }
}
