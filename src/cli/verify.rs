//! `grnet verify-report`: computes a kept report anew from its photo and says what differs.

use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{self, DONE, Device, FAILED, detect};
use crate::detector::{self, PrepareConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::picture::face::Finder;
use crate::report::{Bounds, Face, Meaning, Note, Reason, Report, evidence, words};

/// Compute a kept report anew from its photo, and say what differs.
///
/// Exit code: 0 when the photo gives the same report, 1 when anything differs or cannot be read, 2 for wrong usage.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Report to verify: JSON, or an HTML page that grnet wrote
    #[arg(value_name = "FILE")]
    report: PathBuf,
    /// The photo it speaks of
    photo: PathBuf,
    /// Model file [default: the shipped weights/grnet.safetensors]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
}

/// Largest difference of scores: backends add in different orders (page and command line differ by 1e-4 at most).
const SCORE_TOLERANCE: f32 = 1e-3;
/// Largest difference of the edges of face boxes, in pixels.
const PLACE_TOLERANCE: f32 = 0.01;

/// Runs `grnet verify-report`; returns the exit code.
///
/// # Errors
/// `BadData` for a file that is no report, `Unsupported` for one on a picture that only browsers decode, `Io` and those of the model for what cannot be read.
pub fn run(args: &VerifyArgs) -> Result<u8> {
    let text = String::from_utf8(cli::read(&args.report)?)
        .map_err(|error| Error::caused(ErrorKind::BadData, "expected a report as text", error))?;
    let kept = evidence::parse(&text)?;
    if kept.file.notes.contains(&Note::BrowserDecoded) {
        let message = "expected a report on a picture that this program reads, found one that a browser decoded: only the page can compute it anew";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let bytes = cli::read_picture(&args.photo)?;
    let detector = pollster::block_on(detect::open(args.device.into(), &cli::read_model(args.model.as_deref())?))?;
    let settings = kept.settings;
    let config = PrepareConfig { whole: settings.whole, stability: settings.stability, ..detector.prepare_config() };
    let prepared = detector::prepare(&kept.file.name, &bytes, &mut Finder::new()?, &config);
    let found = pollster::block_on(detector.judge(&prepared))?;
    let differences = compare(&kept, &found);
    if differences.is_empty() {
        say!("confirmed: the photo gives this report on {}", detector.backend());
        return Ok(DONE);
    }
    for difference in &differences {
        say!("{difference}");
    }
    say!("not confirmed: {} of the report's statements differ", differences.len());
    Ok(FAILED)
}

/// What two reports say differently; times and what computed them do not count.
fn compare(kept: &Report, found: &Report) -> Vec<String> {
    let mut differences = Differences(Vec::new());
    differences.check("schema", &kept.schema, &found.schema);
    differences.check("SHA-256 of the photo", &kept.file.sha256, &found.file.sha256);
    differences.check("SHA-256 of the model", &kept.model.id, &found.model.id);
    differences.words("band", kept.band, found.band, words::band);
    differences.words("reason", kept.reason, found.reason, reason);
    differences.scores("p_fake", kept.p_fake, found.p_fake);
    let marks = |report: &Report| report.provenance.marks.iter().map(words::mark).collect::<Vec<String>>().join("; ");
    differences.check("what the file says about itself", &marks(kept), &marks(found));
    differences.check("number of faces", &kept.faces.len(), &found.faces.len());
    for (index, (kept, found)) in kept.faces.iter().zip(&found.faces).enumerate() {
        differences.face(index + 1, kept, found);
    }
    differences.0
}

fn reason(reason: Option<Reason>) -> String {
    reason.map_or("none", words::reason).to_string()
}

struct Differences(Vec<String>);

impl Differences {
    fn check<T: PartialEq + Display>(&mut self, what: &str, kept: &T, found: &T) {
        if kept != found {
            // A kept report is anybody's text.
            let [kept, found] = [kept, found].map(|value| words::plain(&value.to_string()));
            self.0.push(format!("{what}: the report says {kept}, the photo gives {found}"));
        }
    }

    fn words<T: PartialEq + Copy, W: Into<String>>(&mut self, what: &str, kept: T, found: T, of: impl Fn(T) -> W) {
        if kept != found {
            self.check(what, &of(kept).into(), &of(found).into());
        }
    }

    fn scores(&mut self, what: &str, kept: impl IntoIterator<Item = f32>, found: impl IntoIterator<Item = f32>) {
        let (kept, found): (Vec<f32>, Vec<f32>) = (kept.into_iter().collect(), found.into_iter().collect());
        // A NaN, which no report of ours holds, is a difference.
        let alike = |(a, b): (&f32, &f32)| (a - b).abs() <= SCORE_TOLERANCE;
        if kept.len() != found.len() || !kept.iter().zip(&found).all(alike) {
            let list = |values: &[f32]| match values {
                [] => "none".to_string(),
                _ => values.iter().map(|value| value.to_string()).collect::<Vec<String>>().join(" "),
            };
            self.0.push(format!("{what}: the report says {}, the photo gives {}", list(&kept), list(&found)));
        }
    }

    fn face(&mut self, number: usize, kept: &Face, found: &Face) {
        let name = |what: &str| format!("face {number}, {what}");
        let edges = |b: Bounds| [b.x, b.y, b.width, b.height];
        let moved = edges(kept.bounds).iter().zip(edges(found.bounds)).any(|(a, b)| (a - b).abs() > PLACE_TOLERANCE);
        if moved {
            let place = |b: Bounds| format!("x {}, y {}, {} x {}", b.x, b.y, b.width, b.height);
            self.check(&name("place"), &place(kept.bounds), &place(found.bounds));
        }
        self.check(&name("size"), &kept.quality.face_px, &found.quality.face_px);
        let quality = |face: &Face| face.quality.jpeg_quality.map_or("none".to_string(), |quality| quality.to_string());
        self.check(&name("JPEG quality"), &quality(kept), &quality(found));
        self.words(&name("band"), kept.band, found.band, words::band);
        self.words(&name("reason"), kept.reason, found.reason, reason);
        let meaning = |meaning: Option<Meaning>| meaning.map_or("none".to_string(), words::meaning);
        self.words(&name("meaning"), kept.meaning, found.meaning, meaning);
        self.scores(&name("p_fake"), kept.p_fake, found.p_fake);
        let votes = |face: &Face| face.votes.map_or(Vec::new(), |votes| vec![votes.spatial, votes.residual]);
        self.scores(&name("votes"), votes(kept), votes(found));
        self.scores(
            &name("classes"),
            kept.classes.clone().unwrap_or_default(),
            found.classes.clone().unwrap_or_default(),
        );
        let map = |face: &Face| face.map.as_ref().map_or(Vec::new(), |map| map.values.clone());
        self.scores(&name("heat map"), map(kept), map(found));
        let changed = |face: &Face| -> Vec<f32> {
            face.stability.iter().flat_map(|stability| &stability.scores).map(|score| score.p_fake).collect()
        };
        self.scores(&name("scores under changes"), changed(kept), changed(found));
    }
}
