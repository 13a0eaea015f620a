//! `grnet detect`: photos in, one report each out. Threads read, decode and find faces while this one judges; reports
//! come in the order of the files, whichever thread was first.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use crate::cli::{self, DONE, Device, FAILED};
use crate::detector::{self, Detector, DeviceChoice, PrepareConfig, Prepared, WhyNotGpu};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::face::Finder;
use crate::picture::{self, Rgb8};
use crate::report::evidence::{self, FacePictures, HEAT_OPACITY, RESIDUAL_GAIN};
use crate::report::words;
use crate::report::{Band, Face, Reason, Report};

/// Check photos: does a face in them show traces of generation or manipulation?
///
/// Exit code: 0 when every file was judged or declared not assessable, 1 when any could not be read or is damaged (the others
/// are reported all the same), 2 for wrong usage.
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
}

/// Files in a folder that are always tried; others are if they begin like a picture, and a file that is named itself is, too.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp"];
/// From so many files on there is a progress bar.
const LONG_LIST: usize = 4;
/// More threads than this would hold more large photos in memory than they gain.
const MAX_THREADS: usize = 8;
/// Pictures of more pixels are decoded one at a time.
const LARGE_PIXELS: u64 = 16_000_000;
/// Bytes of a file's name that are kept in the names of files written for it; file systems take 255.
const MAX_STEM_BYTES: usize = 180;
/// Names that are listed of each kind of thing that a search passed over.
const LISTED: usize = 3;

/// Runs `grnet detect`; returns the exit code.
///
/// # Errors
/// What keeps it from judging anything: no picture, no model, no such device. Unreadable photos are no error but
/// reports with the reason `unreadable`.
pub fn run(args: &DetectArgs) -> Result<u8> {
    let Listing { files, unsearched, passed_over } = list_files(&args.paths)?;
    let model = cli::read_model(args.model.as_deref())?;
    let detector = pollster::block_on(open(args.device.into(), &model))?;
    let config = PrepareConfig { whole: args.cropped, stability: args.stability, ..detector.prepare_config() };
    for folder in args.html.iter().chain(&args.map) {
        cli::make_folder(folder)?;
    }

    let bar = if files.len() >= LONG_LIST { ProgressBar::new(files.len() as u64) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} photos, {eta} left");
    bar.set_style(style.map_err(|error| Error::caused(ErrorKind::Internal, "expected a readable bar style", error))?);
    let mut counts = Counts::default();
    let mut names = HashSet::new();
    let finished = for_each_prepared(&files, &config, |prepared| {
        let report = pollster::block_on(detector.judge(&prepared))?;
        counts.add(&report);
        if args.html.is_some() || args.map.is_some() {
            write_evidence(args, &detector, &prepared, &report, &mut names)?;
        }
        let text = if args.json { json_line(&report)? } else { text_block(&report, prepared.failure.as_deref()) };
        let written = bar.suspend(|| {
            if let Some(failure) = prepared.failure.as_deref().filter(|_| args.json) {
                tell!("grnet: {}: {failure}", words::plain(&report.file.name));
            }
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        });
        bar.inc(1);
        match written {
            Ok(()) => Ok(Flow::Continue),
            // Whoever reads the reports has seen enough, as in `grnet detect ... | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Stop),
            Err(error) => Err(Error::caused(ErrorKind::Io, "cannot write a report", error)),
        }
    });
    bar.finish_and_clear();
    finished?;
    if files.len() > 1 {
        tell!("{} on {}", counts.describe(), detector.backend());
    }
    for line in describe_passed_over(&passed_over) {
        tell!("{line}");
    }
    Ok(if counts.unreadable + counts.damaged + unsearched > 0 { FAILED } else { DONE })
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

/// What is to be checked.
#[derive(Debug, Default)]
struct Listing {
    files: Vec<PathBuf>,
    /// Folders that could not be searched.
    unsearched: usize,
    /// What was found in folders and is not checked: how many of each kind, and the first names.
    passed_over: BTreeMap<&'static str, (usize, Vec<String>)>,
}

impl Listing {
    fn pass_over(&mut self, kind: &'static str, path: &Path) {
        let (count, names) = self.passed_over.entry(kind).or_default();
        *count += 1;
        if names.len() < LISTED {
            names.push(cli::shown(path));
        }
    }

    /// Adds what a search came upon: pictures by name or content; all else is counted.
    fn add_found(&mut self, path: PathBuf) {
        let about = match fs::metadata(&path) {
            Ok(about) => about,
            // A link to nowhere, or a file that went away meanwhile.
            Err(_) => return self.pass_over("a link to nothing", &path),
        };
        if about.is_dir() {
            return;
        }
        if !about.is_file() {
            return self.pass_over(cli::kind_of(&about), &path);
        }
        if has_picture_extension(&path) {
            return self.files.push(path);
        }
        match kind_by_content(&path) {
            None => self.files.push(path),
            Some(kind) => self.pass_over(kind, &path),
        }
    }
}

/// The files named, and the pictures in the folders named, each folder sorted by path. Links to folders are followed.
fn list_files(paths: &[PathBuf]) -> Result<Listing> {
    let mut listing = Listing::default();
    for path in paths {
        if !path.is_dir() {
            listing.files.push(path.clone());
            continue;
        }
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) => listing.add_found(entry.into_path()),
                Err(error) => match (error.loop_ancestor().is_some(), error.path()) {
                    (true, Some(path)) => listing.pass_over("a link to a folder that holds it", path),
                    (false, Some(path)) if path.is_symlink() => listing.pass_over("a link to nothing", path),
                    _ => {
                        tell!("grnet: cannot search a folder: {}", words::plain(&error.to_string()));
                        listing.unsearched += 1;
                    }
                },
            }
        }
    }
    if listing.files.is_empty() {
        let mut message = "expected a picture (JPEG, PNG, WebP, GIF or BMP), found none".to_string();
        for line in describe_passed_over(&listing.passed_over) {
            message += &format!("; {line}");
        }
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    Ok(listing)
}

fn describe_passed_over(passed_over: &BTreeMap<&'static str, (usize, Vec<String>)>) -> Vec<String> {
    let line = |(kind, (count, names)): (&&str, &(usize, Vec<String>))| {
        let more = if *count > names.len() { ", ..." } else { "" };
        format!("passed over {count} x {kind}: {}{more}", names.join(", "))
    };
    passed_over.iter().map(line).collect()
}

fn has_picture_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// What a file is that does not begin like a picture that can be read; nothing for one that does.
fn kind_by_content(path: &Path) -> Option<&'static str> {
    const BEGINNING: u64 = 1024;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut bytes));
    if read.is_err() {
        return Some("an unreadable file");
    }
    if bytes.is_empty() {
        return Some("an empty file");
    }
    if picture::is_read(&bytes) {
        None
    } else {
        Some(picture::foreign(&bytes).map_or("a file of an unknown kind", |kind| kind.1))
    }
}

/// Whether to go on with the next photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Prepares the files on several threads and hands them to `judge` on this one, in order.
fn for_each_prepared(
    files: &[PathBuf],
    config: &PrepareConfig,
    mut judge: impl FnMut(Prepared) -> Result<Flow>,
) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(files.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel(2 * threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                // A finder is not `Send`, hence one made on each thread.
                let mut finder = Finder::new();
                while let Some((index, file)) = take(next, files) {
                    let prepared = match &mut finder {
                        Ok(finder) => Ok(prepare(file, finder, config)),
                        Err(error) => Err(Error::new(error.kind(), error.full_message())),
                    };
                    if sender.send((index, prepared)).is_err() {
                        // Nobody judges any more.
                        return;
                    }
                }
            });
        }
        drop(sender);
        in_order(receiver, &mut judge)
    })
}

fn take<'a>(next: &AtomicUsize, files: &'a [PathBuf]) -> Option<(usize, &'a PathBuf)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    files.get(index).map(|file| (index, file))
}

fn prepare(file: &Path, finder: &mut Finder, config: &PrepareConfig) -> Prepared {
    static ONE_LARGE: Mutex<()> = Mutex::new(());
    let name = file.display().to_string();
    match cli::read_picture(file) {
        Ok(bytes) => {
            // Several at once would take gigabytes.
            let large = picture::declared_pixels(&bytes).is_some_and(|pixels| pixels > LARGE_PIXELS);
            let _alone = large.then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
            detector::prepare(&name, &bytes, finder, config)
        }
        Err(error) => {
            // An unreadable file has no bytes, and is reported as a file without any.
            let empty = detector::prepare(&name, &[], finder, config);
            Prepared { failure: Some(error.full_message()), ..empty }
        }
    }
}

/// Brings what the threads send back into the order of the files.
fn in_order(
    receiver: Receiver<(usize, Result<Prepared>)>,
    judge: &mut impl FnMut(Prepared) -> Result<Flow>,
) -> Result<()> {
    let mut early = BTreeMap::new();
    let mut expected = 0;
    for (index, prepared) in receiver {
        early.insert(index, prepared?);
        while let Some(prepared) = early.remove(&expected) {
            expected += 1;
            if judge(prepared)? == Flow::Stop {
                return Ok(());
            }
        }
    }
    Ok(())
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
    likely_fake: usize,
    inconclusive: usize,
    no_signs_found: usize,
    not_assessed: usize,
    damaged: usize,
    unreadable: usize,
}

impl Counts {
    fn add(&mut self, report: &Report) {
        let count = match (report.band, report.reason) {
            (Band::LikelyFake, _) => &mut self.likely_fake,
            (Band::Inconclusive, _) => &mut self.inconclusive,
            (Band::NoSignsFound, _) => &mut self.no_signs_found,
            (Band::NotAssessed, Some(Reason::Unreadable)) => &mut self.unreadable,
            (Band::NotAssessed, Some(Reason::Damaged)) => &mut self.damaged,
            (Band::NotAssessed, _) => &mut self.not_assessed,
        };
        *count += 1;
    }

    fn describe(&self) -> String {
        format!(
            "{} with traces, {} inconclusive, {} without signs, {} not assessed, {} damaged, {} unreadable",
            self.likely_fake, self.inconclusive, self.no_signs_found, self.not_assessed, self.damaged, self.unreadable
        )
    }
}
