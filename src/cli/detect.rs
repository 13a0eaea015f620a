//! `grnet detect`: photos in, one report each out. Threads read, decode and find faces while this one judges; reports
//! come in the order of the files, whichever thread was first.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use walkdir::WalkDir;

use crate::cli::{self, DONE, Device, FAILED};
use crate::detector::{self, Detector, DeviceChoice, PrepareConfig, Prepared, WhyNotGpu};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::Rgb8;
use crate::picture::face::Finder;
use crate::report::evidence::{self, FacePictures, HEAT_OPACITY, RESIDUAL_GAIN};
use crate::report::words;
use crate::report::{Band, Face, Reason, Report};

/// Check photos: does a face in them show traces of generation or manipulation?
///
/// Exit code: 0 when every file was judged or declared not assessable, 1 when any could not be read (the others are
/// reported all the same), 2 for wrong usage.
#[derive(Debug, Args)]
pub struct DetectArgs {
    /// Photos, and folders to search for them (JPEG, PNG, WebP, GIF, BMP)
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

/// Files in a folder that are taken for pictures; a file that is named itself is always tried.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp"];
/// From so many files on there is a progress bar.
const LONG_LIST: usize = 4;
/// More threads than this would hold more large photos in memory than they gain.
const MAX_THREADS: usize = 8;

/// Runs `grnet detect`; returns the exit code.
///
/// # Errors
/// What keeps it from judging anything: no picture, no model, no such device. Unreadable photos are no error but
/// reports with the reason `unreadable`.
pub fn run(args: &DetectArgs) -> Result<u8> {
    let Listing { files, unsearched } = list_files(&args.paths)?;
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
    let finished = for_each_prepared(&files, &config, |prepared| {
        let report = pollster::block_on(detector.judge(&prepared))?;
        counts.add(&report);
        if args.html.is_some() || args.map.is_some() {
            write_evidence(args, &detector, &prepared, &report)?;
        }
        let text = if args.json { json_line(&report)? } else { text_block(&report, prepared.failure.as_deref()) };
        let written = bar.suspend(|| {
            if let Some(failure) = prepared.failure.as_deref().filter(|_| args.json) {
                eprintln!("grnet: {}: {failure}", report.file.name);
            }
            io::stdout().lock().write_all(text.as_bytes())
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
        eprintln!("{} on {}", counts.describe(), detector.backend());
    }
    Ok(if counts.unreadable + unsearched > 0 { FAILED } else { DONE })
}

/// Opens the detector, and says so where a GPU was left for the CPU.
///
/// # Errors
/// As [`Detector::open`].
pub async fn open(choice: DeviceChoice, model: &[u8]) -> Result<Detector> {
    let detector = Detector::open(choice, model).await?;
    if let Some((WhyNotGpu::Failed | WhyNotGpu::WrongAnswers, message)) = detector.why_not_gpu() {
        eprintln!("grnet: {message}; computing on the CPU");
    }
    Ok(detector)
}

/// Writes the files of `--html` and `--map` for one photo.
fn write_evidence(args: &DetectArgs, detector: &Detector, prepared: &Prepared, report: &Report) -> Result<()> {
    let stem = Path::new(&report.file.name).file_stem().unwrap_or_default().to_string_lossy();
    // Photos of one name from several folders stay apart by their content.
    let name = format!("{stem}-{}", &report.file.sha256[..8]);
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

async fn face_pictures(detector: &Detector, face: &Face, crop: &Rgb8) -> Result<FacePictures> {
    let residual = detector.residual_picture(crop, RESIDUAL_GAIN).await?;
    let heat = face.map.as_ref().map_or_else(|| crop.clone(), |map| evidence::overlay(crop, map, HEAT_OPACITY));
    Ok(FacePictures { photo: crop.clone(), residual, heat })
}

/// What is to be checked.
struct Listing {
    files: Vec<PathBuf>,
    /// Folders that could not be searched.
    unsearched: usize,
}

/// The files named, and the pictures in the folders named, each folder sorted by path.
fn list_files(paths: &[PathBuf]) -> Result<Listing> {
    let mut listing = Listing { files: Vec::new(), unsearched: 0 };
    for path in paths {
        if !path.is_dir() {
            listing.files.push(path.clone());
            continue;
        }
        for entry in WalkDir::new(path).sort_by_file_name() {
            match entry {
                Ok(entry) if !entry.path().is_dir() && has_picture_extension(entry.path()) => {
                    listing.files.push(entry.into_path());
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("grnet: cannot search a folder: {error}");
                    listing.unsearched += 1;
                }
            }
        }
    }
    if listing.files.is_empty() {
        let extensions = EXTENSIONS.join(", ");
        return Err(Error::new(ErrorKind::BadUsage, format!("expected a picture ({extensions}), found none")));
    }
    Ok(listing)
}

fn has_picture_extension(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
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
    let name = file.display().to_string();
    match cli::read(file) {
        Ok(bytes) => detector::prepare(&name, &bytes, finder, config),
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

/// The report in words: the verdict, and indented below it what the file says about itself.
fn text_block(report: &Report, failure: Option<&str>) -> String {
    let marks: Vec<String> =
        report.provenance.marks.iter().map(|mark| format!("  the file says: {}\n", words::mark(mark))).collect();
    verdict_block(report, failure) + &marks.concat()
}

fn verdict_block(report: &Report, failure: Option<&str>) -> String {
    let name = &report.file.name;
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
    unreadable: usize,
}

impl Counts {
    fn add(&mut self, report: &Report) {
        let count = match (report.band, report.reason) {
            (Band::LikelyFake, _) => &mut self.likely_fake,
            (Band::Inconclusive, _) => &mut self.inconclusive,
            (Band::NoSignsFound, _) => &mut self.no_signs_found,
            (Band::NotAssessed, Some(Reason::Unreadable)) => &mut self.unreadable,
            (Band::NotAssessed, _) => &mut self.not_assessed,
        };
        *count += 1;
    }

    fn describe(&self) -> String {
        format!(
            "{} with traces, {} inconclusive, {} without signs, {} not assessed, {} unreadable",
            self.likely_fake, self.inconclusive, self.no_signs_found, self.not_assessed, self.unreadable
        )
    }
}
