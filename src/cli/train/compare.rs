//! `grnet compare`: the paper's tables on one's own data.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use burn::tensor::backend::AutodiffBackend;
use clap::Args;
use indicatif::ProgressBar;

use super::{DeviceOption, commit, pack_of, read_text, say_how_to_go_on};
use crate::cli::{self, read};
use crate::train::backend::{TrainJob, train_on};
use crate::train::compare::system::System;
use crate::train::compare::{self, Budget, Entrant, Inputs, Outcome, Protocol, Setting, entrants, page, tables};
use crate::train::files::write_atomically;
use crate::train::looks::degrade::Tier;
use crate::{Error, ErrorKind, Result};

/// Options of `grnet compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Table of pictures, or the folder of a pack made by `grnet prepare`
    #[arg(long)]
    data: PathBuf,
    /// Other data, tested on only (Table 9)
    #[arg(long)]
    cross: Option<PathBuf>,
    /// Systems, or `all` of the tables
    #[arg(long, value_delimiter = ',', default_value = "all")]
    systems: Vec<String>,
    /// Tables of the paper: 1,2,3,4,5,9
    #[arg(long, value_delimiter = ',', default_value = "4,5")]
    tables: Vec<u8>,
    /// Settings: authors,common; the better one on the validation rows is reported
    #[arg(long, value_delimiter = ',', default_value = "authors,common")]
    settings: Vec<String>,
    /// How much each system may learn: 3epochs, 9600pictures or 5min
    #[arg(long, default_value = "3epochs")]
    budget: String,
    /// Folder of the comparison; what is complete there is not done again, what was stopped goes on
    #[arg(long)]
    out: PathBuf,
    /// Side of the input of all systems, in pixels
    #[arg(long, default_value_t = 128)]
    side: usize,
    /// Degradations of the test rows: raw,jp60,me5,web,hard,avatar
    #[arg(long, value_delimiter = ',', default_value = "raw,jp60,me5,web,hard,avatar")]
    degrade: Vec<String>,
    /// At most so many test rows of each source
    #[arg(long, default_value_t = 200)]
    per_source: usize,
    /// At most so many validation rows of each source; they are judged five times while a system learns
    #[arg(long, default_value_t = 50)]
    validation_per_source: usize,
    /// Only write the tables of what earlier calls left in the folder
    #[arg(long)]
    no_training: bool,
    /// ResNet-18 weights to start from (torchvision names, safetensors)
    #[arg(long)]
    init: Option<PathBuf>,
    /// What computes
    #[arg(long, value_enum, default_value_t = DeviceOption::Cpu)]
    device: DeviceOption,
    /// Seed of every draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that decode and move pictures
    #[arg(long, default_value_t = 1)]
    loader_threads: usize,
}

/// Runs `grnet compare`.
///
/// # Errors
/// `BadUsage` for unknown names, `BadData` for data that cannot be learnt from, `Cancelled` when stopped, `Io` for files.
pub fn run(args: &CompareArgs) -> Result<()> {
    let protocol = Protocol {
        side_px: args.side,
        budget: Budget::parse(&args.budget)?,
        seed: args.seed,
        tiers: args.degrade.iter().map(|name| Tier::named(name)).collect::<Result<_>>()?,
        per_source: args.per_source,
        validation_per_source: args.validation_per_source,
    };
    let settings = args.settings.iter().map(|name| Setting::named(name)).collect::<Result<Vec<_>>>()?;
    let systems = match &args.systems[..] {
        [all] if all == "all" => None,
        names => Some(names.iter().map(|name| System::named(name)).collect::<Result<Vec<_>>>()?),
    };
    let entrants = entrants(&args.tables, systems.as_deref(), &settings)?;
    if entrants.is_empty() {
        return Err(Error::new(ErrorKind::BadUsage, "expected systems of the chosen tables, found none"));
    }
    if args.no_training {
        let found = entrants.iter().map(|entrant| compare::earlier_outcome(*entrant, &args.out));
        let outcomes: Vec<Outcome> = found.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        if outcomes.is_empty() {
            let message = format!("expected outcomes of an earlier comparison in {}, found none", args.out.display());
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        return report(args, &outcomes);
    }
    let stop = cli::stop_on_ctrl_c("this step")?;
    let pack = pack_of(&args.data, &args.out.join("pack"), &stop)?;
    let cross = args.cross.as_ref().map(|data| pack_of(data, &args.out.join("pack-cross"), &stop)).transpose()?;
    let imagenet = args.init.as_deref().map(read).transpose()?;
    let opened = Inputs::open(&pack, cross.as_deref(), imagenet, &args.out)?;
    let inputs = Inputs { loader_threads: args.loader_threads, commit: commit(), ..opened };
    let mut outcomes = Vec::new();
    for (index, entrant) in entrants.iter().enumerate() {
        eprintln!("{} of {}: {}", index + 1, entrants.len(), describe(entrant));
        let job = Job { entrant: *entrant, protocol: &protocol, inputs: &inputs, stop: &stop };
        let outcome = train_on(args.device.into(), job)
            .inspect_err(|error| say_how_to_go_on(error, "the same command does what is left"))?;
        eprintln!("  {}", summary(&outcome));
        outcomes.push(outcome);
        // After every system, so that there is something to see early on.
        write_tables(args, &outcomes)?;
    }
    report(args, &outcomes)
}

/// Writes the tables and prints them.
fn report(args: &CompareArgs, outcomes: &[Outcome]) -> Result<()> {
    write_tables(args, outcomes)?;
    print!("{}", read_text(&args.out.join("tables.md"))?);
    Ok(())
}

fn describe(entrant: &Entrant) -> String {
    format!("{}, {}, {} settings", entrant.system.name(), entrant.task.name(), entrant.setting.name())
}

fn summary(outcome: &Outcome) -> String {
    let tiers: Vec<String> =
        outcome.test.iter().map(|(tier, figures)| format!("{tier} {:.2}", 100.0 * figures.acc)).collect();
    format!(
        "{} pictures in {:.0} s, validation {:.2} %, test {} %",
        outcome.pictures,
        outcome.seconds,
        100.0 * outcome.validation_acc,
        tiers.join(", ")
    )
}

/// The command line as it would be typed, whatever the path of the program.
fn command() -> String {
    std::iter::once("grnet".to_string()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

/// `tables.md`, `tables.json`, `table-N.csv` and `page.html`.
fn write_tables(args: &CompareArgs, outcomes: &[Outcome]) -> Result<()> {
    let tables = args.tables.iter().map(|number| tables::table(*number, outcomes)).collect::<Result<Vec<_>>>()?;
    let markdown: Vec<String> = tables.iter().map(|table| table.markdown()).collect();
    write_atomically(&args.out.join("tables.md"), markdown.join("\n").as_bytes())?;
    for table in &tables {
        write_atomically(&args.out.join(format!("table-{}.csv", table.number)), &table.csv()?)?;
    }
    write_atomically(&args.out.join("page.html"), page::page(&tables, outcomes, &command())?.as_bytes())?;
    let json = serde_json::to_string_pretty(&tables)
        .map_err(|e| Error::caused(ErrorKind::Internal, "the tables as JSON", e))?;
    write_atomically(&args.out.join("tables.json"), format!("{json}\n").as_bytes())
}

struct Job<'a> {
    entrant: Entrant,
    protocol: &'a Protocol,
    inputs: &'a Inputs,
    stop: &'a AtomicBool,
}

impl TrainJob for Job<'_> {
    type Out = Outcome;

    fn run<B: AutodiffBackend>(self, device: &B::Device) -> Result<Outcome> {
        let bar = ProgressBar::new(1000);
        bar.set_style(cli::bar_style("{bar:24} {percent} % {msg} {elapsed} gone, {eta} left"));
        let mut known = String::new();
        let outcome =
            compare::run::<B>(self.entrant, self.protocol, self.inputs, device, self.stop, &mut |done, loss, acc| {
                if let Some(acc) = acc {
                    known = format!(", validation {:.1} %", 100.0 * acc);
                }
                bar.set_position((1000.0 * done) as u64);
                bar.set_message(format!("loss {loss:.3}{known}"));
            });
        bar.finish_and_clear();
        outcome
    }
}
