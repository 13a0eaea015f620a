//! `grnet detect`: photos in, one report each out, in the order of the files; on the output, or with `--out` into a file that a
//! later run can go on with.

mod output;
mod progress;
mod search;
mod workers;

use std::collections::HashSet;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;

use self::output::{Before, Made, Output};
use self::progress::{Progress, Total};
use self::search::{Search, Selection, Shard};
use self::workers::{Flow, Work};
use crate::cli::{self, DONE, Device, FAILED, UNFINISHED};
use crate::detector::{Detector, DeviceChoice, PrepareConfig, Prepared, WhyNotGpu};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::Rgb8;
use crate::report::evidence::{self, FacePictures, HEAT_OPACITY, RESIDUAL_GAIN};
use crate::report::words;
use crate::report::{Band, Face, Reason, Report, Settings};

/// Check photos: does a face in them show traces of generation or manipulation?
///
/// Exit code: 0 when every file was judged or declared not assessable, 1 when any could not be read or is damaged (the others
/// are reported all the same), 2 for wrong usage, 3 when a run with --out did not come to its end.
#[derive(Debug, Args)]
pub struct DetectArgs {
    /// Photos, and folders to search for them (JPEG, PNG, WebP, GIF, BMP; by content where the name does not say so)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Model file [default: the shipped weights/grnet.safetensors]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// Take each picture whole as a face crop, instead of looking for faces
    #[arg(long)]
    cropped: bool,
    /// Write one JSON report (schema grnet.report/1) a line
    #[arg(long)]
    json: bool,
    /// Score each face also under gentle changes; a verdict that does not survive them becomes "cannot tell"
    #[arg(long)]
    stability: bool,
    /// Write a printable report of each photo, with pictures and the JSON, as HTML files into this folder
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
    /// Write crop, residual and heat map of each face as PNG files into this folder
    #[arg(long, value_name = "DIR")]
    map: Option<PathBuf>,
    /// Write one JSON report a line into this new file, *.jsonl, for long lists: --resume goes on where a run was stopped
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "html", "map"])]
    out: Option<PathBuf>,
    /// Go on with --out: what it holds already is not judged again
    #[arg(long, requires = "out")]
    resume: bool,
    /// Judge one part of the files only, for example 2/8: together the parts 1/8 to 8/8 are all files, each once
    #[arg(long, value_name = "NUMBER/COUNT")]
    shard: Option<Shard>,
    /// Cores to use [default: all]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
}

/// From so many files on there is a progress bar.
const LONG_LIST: usize = 4;
/// Bytes of a file's name that are kept in the names of files written for it; file systems take 255.
const MAX_STEM_BYTES: usize = 180;

/// Runs `grnet detect`; returns the exit code.
///
/// # Errors
/// What keeps it from judging anything: no picture, no model, no such device, an output that cannot be written. Unreadable
/// photos are no error but reports with the reason `unreadable`.
pub fn run(args: &DetectArgs) -> Result<u8> {
    match run_to_end(args) {
        // Whoever starts many of these must not take it for a list with unreadable files.
        Err(error) if args.out.is_some() && error.kind() != ErrorKind::BadUsage => {
            tell!("grnet: {}", error.full_message());
            Ok(UNFINISHED)
        }
        ended => ended,
    }
}

fn run_to_end(args: &DetectArgs) -> Result<u8> {
    let cores = cores(args.threads)?;
    let mut search = Search::new(&args.paths);
    let found = search.look_ahead(cores.max(LONG_LIST));
    if found == 0 {
        let mut message = "expected a picture (JPEG, PNG, WebP, GIF or BMP), found none".to_string();
        for line in search.passed_over() {
            message += &format!("; {line}");
        }
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    let mut output = args.out.as_deref().map(|path| Output::open(path, args.resume)).transpose()?;
    let model = cli::read_model(args.model.as_deref())?;
    let detector = pollster::block_on(open(args.device.into(), &model))?;
    let config = PrepareConfig { whole: args.cropped, stability: args.stability, ..detector.prepare_config() };
    for folder in args.html.iter().chain(&args.map) {
        cli::make_folder(folder)?;
    }
    let settings = Settings { whole: args.cropped, stability: args.stability };
    let made = Made { model: detector.model_info(), settings, shard: args.shard };
    let before = output.as_mut().map(|output| output.read_back(&made)).transpose()?.unwrap_or_default();
    let ended = judge_all(args, &detector, &config, &mut search, [found, cores], output.as_mut(), before);
    match output {
        None => ended,
        Some(output) => ended.and_then(|code| output.finish().map(|()| code)).map_err(|error| output.advise(&error)),
    }
}

/// How many cores are to be used; the engine's threads are held to them, too.
fn cores(asked: Option<NonZeroUsize>) -> Result<usize> {
    let Some(asked) = asked else { return Ok(thread::available_parallelism().map_or(1, usize::from)) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(asked.get()).build_global();
    pool.map_err(|error| Error::caused(ErrorKind::Internal, "cannot start threads", error))?;
    Ok(asked.get())
}

/// Judges what the search finds, and says at the end how it came out.
fn judge_all(
    args: &DetectArgs,
    detector: &Detector,
    config: &PrepareConfig,
    search: &mut Search,
    [found, cores]: [usize; 2],
    mut output: Option<&mut Output>,
    before: Before,
) -> Result<u8> {
    let stop = match output {
        Some(_) => cli::stop_on_ctrl_c("the photos in hand")?,
        None => Arc::default(),
    };
    let Before { names: done, mut counts } = before;
    let (kept, short) = (counts.all(), found < LONG_LIST);
    search.select(Selection { shard: args.shard, done });
    let total = Total::unknown();
    let mut progress = Progress::new(&total, short, output.is_some(), kept);
    let mut names = HashSet::new();
    let ended = AtomicBool::new(false);
    let finished = thread::scope(|scope| {
        if !short {
            let _counting = scope.spawn(|| {
                let stopped = || ended.load(Ordering::Relaxed) || stop.load(Ordering::Relaxed);
                if let Some(count) = Search::count(&args.paths, args.shard, stopped) {
                    total.set(count);
                }
            });
        }
        let work = Work { detector, config, cores, threads: cores.min(found), stop: &stop };
        let finished = work.for_each(&mut *search, |prepared, report| {
            counts.add(report.band, report.reason);
            if args.html.is_some() || args.map.is_some() {
                write_evidence(args, detector, &prepared, &report, &mut names)?;
            }
            let json = args.json || output.is_some();
            let text = if json { json_line(&report)? } else { text_block(&report, prepared.failure.as_deref()) };
            if let Some(failure) = prepared.failure.as_deref().filter(|_| json) {
                progress.suspend(|| tell!("grnet: {}: {failure}", words::plain(&report.file.name)));
            }
            let flow = match &mut output {
                Some(output) => output.add(&text).map(|()| Flow::Continue)?,
                None => progress.suspend(|| print(&text))?,
            };
            progress.advance();
            Ok(if stop.load(Ordering::Relaxed) { Flow::Stop } else { flow })
        });
        ended.store(true, Ordering::Relaxed);
        finished
    });
    progress.end();
    finished?;
    if stop.load(Ordering::Relaxed) {
        return Err(Error::new(ErrorKind::Cancelled, "stopped"));
    }
    if found > 1 {
        tell!("{} on {}", counts.describe(), detector.backend());
    }
    if let Some(output) = output {
        let rate = progress.per_second().map_or(String::new(), |rate| format!(", {rate:.1} a second"));
        let kept = if kept > 0 { format!(", {kept} of them from before") } else { String::new() };
        tell!("{}{kept}{rate}", output.holds());
    }
    for line in search.passed_over() {
        tell!("{line}");
    }
    Ok(if counts.unreadable + counts.damaged > 0 || search.unsearched() > 0 { FAILED } else { DONE })
}

/// Writes to the output.
fn print(text: &str) -> Result<Flow> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Flow::Continue),
        // Whoever reads the reports has seen enough, as in `grnet detect ... | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Stop),
        Err(error) => Err(Error::caused(ErrorKind::Io, "cannot write a report", error)),
    }
}

/// Opens the detector, and says so where a GPU was left for the CPU.
///
/// # Errors
/// As [`Detector::open`].
pub async fn open(choice: DeviceChoice, model: &[u8]) -> Result<Detector> {
    let detector = Detector::open(choice, model).await?;
    if let Some((WhyNotGpu::Failed | WhyNotGpu::WrongAnswers, message)) = detector.why_not_gpu() {
        tell!("grnet: {message}; computing on the CPU");
    }
    Ok(detector)
}

/// Writes the files of `--html` and `--map` for one photo.
fn write_evidence(
    args: &DetectArgs,
    detector: &Detector,
    prepared: &Prepared,
    report: &Report,
    names: &mut HashSet<String>,
) -> Result<()> {
    let name = evidence_name(&report.file.name, &report.file.sha256, names);
    let mut pictures = Vec::new();
    for (face, crop) in report.faces.iter().zip(&prepared.crops) {
        pictures.push(match (face.p_fake, crop) {
            (Some(_), Some(crop)) => Some(pollster::block_on(face_pictures(detector, face, crop))?),
            _ => None,
        });
    }
    if let Some(folder) = &args.html {
        let report = Report { checked_at: Some(cli::utc_now()), ..report.clone() };
        let page = evidence::html(&report, &pictures, prepared.failure.as_deref())?;
        cli::write(&folder.join(format!("{name}.html")), page.as_bytes())?;
    }
    if let Some(folder) = &args.map {
        for (index, pictures) in pictures.iter().enumerate() {
            let Some(FacePictures { photo, residual, heat }) = pictures else { continue };
            for (kind, picture) in [("photo", photo), ("residual", residual), ("heat", heat)] {
                let file = format!("{name}-face{}-{kind}.png", index + 1);
                cli::write(&folder.join(file), &evidence::png(picture)?)?;
            }
        }
    }
    Ok(())
}

/// The name, without ending, of the files written for a photo: its own, cut, with the beginning of its digest; and a number where
/// that was given already.
fn evidence_name(photo: &str, sha256: &str, given: &mut HashSet<String>) -> String {
    let stem = Path::new(photo).file_stem().unwrap_or_default().to_string_lossy();
    // What a terminal or another system's file names cannot hold.
    let awkward = |c: char| c.is_control() || r#"<>:"/\|?*"#.contains(c);
    let mut kept = String::new();
    for c in stem.chars().map(|c| if awkward(c) { '_' } else { c }) {
        if kept.len() + c.len_utf8() > MAX_STEM_BYTES {
            break;
        }
        kept.push(c);
    }
    let name = format!("{kept}-{}", &sha256[..8]);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    // Some file systems take capital and small letters for the same.
    let fresh = std::iter::once(name.clone()).chain(numbered).find(|name| given.insert(name.to_lowercase()));
    fresh.unwrap_or(name)
}

async fn face_pictures(detector: &Detector, face: &Face, crop: &Rgb8) -> Result<FacePictures> {
    let residual = detector.residual_picture(crop, RESIDUAL_GAIN).await?;
    let heat = face.map.as_ref().map_or_else(|| crop.clone(), |map| evidence::overlay(crop, map, HEAT_OPACITY));
    Ok(FacePictures { photo: crop.clone(), residual, heat })
}

fn json_line(report: &Report) -> Result<String> {
    let json = serde_json::to_string(report);
    let json = json.map_err(|error| Error::caused(ErrorKind::Internal, "cannot write the report as JSON", error))?;
    Ok(json + "\n")
}

/// The report in words: the verdict, and indented below it how the file was read and what it says about itself.
fn text_block(report: &Report, failure: Option<&str>) -> String {
    let notes = words::file_notes(&report.file).into_iter().map(|note| format!("  note: {note}\n"));
    let marks = report.provenance.marks.iter().map(|mark| format!("  the file says: {}\n", words::mark(mark)));
    verdict_block(report, failure) + &notes.chain(marks).collect::<String>()
}

fn verdict_block(report: &Report, failure: Option<&str>) -> String {
    let name = words::plain(&report.file.name);
    if report.faces.is_empty() {
        let reason = report.reason.map_or("", words::reason);
        let detail = failure.map_or(String::new(), |failure| format!(" ({failure})"));
        return format!("{name}: not assessed: {reason}{detail}\n");
    }
    if let [face] = &report.faces[..] {
        return format!("{name}: {}\n", face_words(face));
    }
    let mut text = format!("{name}: {}, {} faces\n", words::band(report.band), report.faces.len());
    for face in &report.faces {
        let bounds = face.bounds;
        text += &format!("  at x {:.0}, y {:.0}: {}\n", bounds.x, bounds.y, face_words(face));
    }
    text
}

fn face_words(face: &Face) -> String {
    let size = format!("face of {} px", face.quality.face_px);
    let (Some(p_fake), Some(votes)) = (face.p_fake, face.votes) else {
        let reason = face.reason.map_or("", words::reason);
        return format!("{}: {reason} ({size})", words::band(face.band));
    };
    let why = face.reason.map_or(String::new(), |reason| format!(": {}", words::reason(reason)));
    let meaning = face.meaning.map_or(String::new(), |meaning| format!("; {}", words::meaning(meaning)));
    format!(
        "{}{why} (p_fake {p_fake:.2}; picture {:.2}, residual {:.2}; {size}{meaning})",
        words::band(face.band),
        votes.spatial,
        votes.residual
    )
}

/// How many files came out how.
#[derive(Debug, Default)]
struct Counts {
    likely_fake: u64,
    inconclusive: u64,
    no_signs_found: u64,
    not_assessed: u64,
    damaged: u64,
    unreadable: u64,
}

impl Counts {
    fn add(&mut self, band: Band, reason: Option<Reason>) {
        let count = match (band, reason) {
            (Band::LikelyFake, _) => &mut self.likely_fake,
            (Band::Inconclusive, _) => &mut self.inconclusive,
            (Band::NoSignsFound, _) => &mut self.no_signs_found,
            (Band::NotAssessed, Some(Reason::Unreadable)) => &mut self.unreadable,
            (Band::NotAssessed, Some(Reason::Damaged)) => &mut self.damaged,
            (Band::NotAssessed, _) => &mut self.not_assessed,
        };
        *count += 1;
    }

    fn all(&self) -> u64 {
        let judged = self.likely_fake + self.inconclusive + self.no_signs_found;
        judged + self.not_assessed + self.damaged + self.unreadable
    }

    fn describe(&self) -> String {
        format!(
            "{} with traces, {} inconclusive, {} without signs, {} not assessed, {} damaged, {} unreadable",
            self.likely_fake, self.inconclusive, self.no_signs_found, self.not_assessed, self.damaged, self.unreadable
        )
    }
}
