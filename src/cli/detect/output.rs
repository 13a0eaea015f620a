//! The file that `grnet detect --out` writes: one report a line and nothing else. Each line says under which model and settings
//! it was made, so that a later run can go on with the file without another one beside it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Counts;
use super::search::{Names, Shard};
use crate::cli;
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Band, ModelInfo, Reason, SCHEMA, Settings};

/// What every line of ours begins with.
const BEGINNING: &str = r#"{"schema":""#;
/// Longest line that is taken for a report; one of a crowd of a thousand faces has 2 MB.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// Digits of a model's digest that tell it from others in a message.
const ID_DIGITS: usize = 12;

/// What the lines of an output have in common.
#[derive(Debug)]
pub struct Made {
    /// The model that judges.
    pub model: ModelInfo,
    /// How reports are computed.
    pub settings: Settings,
    /// Which part of the files is judged.
    pub shard: Option<Shard>,
}

/// What an output held when it was opened.
#[derive(Debug, Default)]
pub struct Before {
    /// The files it has reports of.
    pub names: Names,
    /// How they came out.
    pub counts: Counts,
}

/// An output, open and held against other processes.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
    /// Not so of `/dev/stdout` and pipes, of which nothing can be taken back.
    regular: bool,
    /// Length of the whole lines.
    whole_bytes: u64,
    /// How many they are.
    reports: u64,
}

impl Output {
    /// Opens a new or empty file, or one to go on with.
    ///
    /// # Errors
    /// `BadUsage` for a format that is not written, a file that holds something when it is not to be gone on with, and one that
    /// another process writes; `Io` when it cannot be opened.
    pub fn open(path: &Path, resume: bool) -> Result<Output> {
        check_format(path)?;
        let failed = |error| Error::caused(ErrorKind::Io, format!("cannot write {}", cli::shown(path)), error);
        let regular = fs::metadata(path).map_or(true, |about| about.is_file());
        let mut options = OpenOptions::new();
        options.write(true);
        if regular {
            options.read(true).create(true).truncate(false);
        }
        let file = options.open(path).map_err(failed)?;
        let refused = |why: &str| Err(Error::new(ErrorKind::BadUsage, format!("{} {why}", cli::shown(path))));
        if regular {
            // Where a file system has no locks, nobody is kept out.
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                return refused("is being written by another process");
            }
            if !resume && file.metadata().map_err(failed)?.len() > 0 {
                return refused("holds something already; --resume goes on with it, or name another --out");
            }
        } else if resume {
            return refused("is no file that --resume could go on with");
        }
        Ok(Output { file, path: path.to_path_buf(), regular, whole_bytes: 0, reports: 0 })
    }

    /// Reads what is there, checks that it was `made` like what is to come, and cuts off a last line that was not finished.
    ///
    /// # Errors
    /// `BadUsage` when it was made otherwise, `BadData` when it holds other things than reports, `Io` when it cannot be read.
    pub fn read_back(&mut self, made: &Made) -> Result<Before> {
        let mut before = Before::default();
        if !self.regular {
            return Ok(before);
        }
        let failed = |error| Error::caused(ErrorKind::Io, format!("cannot read {}", cli::shown(&self.path)), error);
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).map_err(failed)?;
            if read == 0 {
                break;
            }
            let no_report = |why: &str| {
                let message = format!("expected a report of grnet in {}, line {number}: {why}", cli::shown(&self.path));
                Error::new(ErrorKind::BadData, message)
            };
            if line.last() != Some(&b'\n') {
                if !is_torn(&line) {
                    return Err(no_report("it ends in something else; nothing was changed"));
                }
                tell!("grnet: {} ends in half a line, which is cut off", cli::shown(&self.path));
                break;
            }
            let kept: Kept = serde_json::from_slice(&line).map_err(|error| no_report(&error.to_string()))?;
            if kept.schema != SCHEMA {
                return Err(no_report(&format!("expected schema {SCHEMA}, found {}", kept.schema)));
            }
            if let Some(difference) = made.differs(&kept) {
                let message = format!("cannot go on with {}, line {number}: {difference}", cli::shown(&self.path));
                return Err(Error::new(ErrorKind::BadUsage, message + "; name another --out"));
            }
            before.names.add(&kept.file.name);
            before.counts.add(kept.band, kept.reason);
            self.whole_bytes += read as u64;
            self.reports += 1;
        }
        let failed = |error| Error::caused(ErrorKind::Io, format!("cannot write {}", cli::shown(&self.path)), error);
        self.file.set_len(self.whole_bytes).map_err(failed)?;
        self.file.seek(SeekFrom::Start(self.whole_bytes)).map_err(failed)?;
        Ok(before)
    }

    /// Adds a line, in one piece: a process that is killed leaves whole lines, and one unfinished line at most.
    ///
    /// # Errors
    /// `Io`; of the line nothing stays then, where that can be helped.
    pub fn add(&mut self, line: &str) -> Result<()> {
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| {
            if self.regular {
                // Should this fail too, the next run cuts the line off.
                let _cut = self.file.set_len(self.whole_bytes);
            }
            Error::caused(ErrorKind::Io, format!("cannot write {}", cli::shown(&self.path)), error)
        })?;
        self.whole_bytes += line.len() as u64;
        self.reports += 1;
        Ok(())
    }

    /// Waits until the disk has everything.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(&self) -> Result<()> {
        if !self.regular {
            return Ok(());
        }
        let failed = |error| Error::caused(ErrorKind::Io, format!("cannot write {}", cli::shown(&self.path)), error);
        self.file.sync_all().map_err(failed)
    }

    /// What it holds, for a person.
    pub fn holds(&self) -> String {
        format!("{} holds {} reports", cli::shown(&self.path), self.reports)
    }

    /// An error that ended the run, with how to go on after it.
    pub fn advise(&self, error: &Error) -> Error {
        let mut message = error.full_message();
        if self.regular {
            message += &format!("; {}; the same command with --resume goes on", self.holds());
        }
        Error::new(error.kind(), message)
    }
}

/// Whether this is the beginning of a line of ours, or what a file system puts in place of bytes that never reached the disk.
fn is_torn(line: &[u8]) -> bool {
    let known = line.len().min(BEGINNING.len());
    line[..known] == BEGINNING.as_bytes()[..known] || line.iter().all(|byte| *byte == 0)
}

/// # Errors
/// `BadUsage` for an ending that promises another format.
fn check_format(path: &Path) -> Result<()> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let written = match ending.as_deref() {
        Some("jsonl" | "ndjson") => true,
        // `/dev/stdout`, or a pipe.
        _ => fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir()),
    };
    if written {
        return Ok(());
    }
    let message = format!(
        "expected an --out that ends in .jsonl (one JSON report a line; README.md shows how to make CSV and Parquet of it), found {}",
        cli::shown(path)
    );
    Err(Error::new(ErrorKind::BadUsage, message))
}

/// Of a report what going on needs.
#[derive(Debug, Deserialize)]
struct Kept {
    schema: String,
    file: KeptFile,
    band: Band,
    reason: Option<Reason>,
    settings: Settings,
    model: ModelInfo,
}

#[derive(Debug, Deserialize)]
struct KeptFile {
    name: String,
}

impl Made {
    /// In what a report was made otherwise.
    fn differs(&self, kept: &Kept) -> Option<String> {
        let model = |info: &ModelInfo| {
            let id: String = info.id.chars().take(ID_DIGITS).collect();
            format!("the model {} ({id}...)", crate::report::words::plain(&info.name))
        };
        if kept.model.id != self.model.id {
            return Some(format!("it was judged by {}, now {} would go on", model(&kept.model), model(&self.model)));
        }
        let yes = |on: bool| if on { "with" } else { "without" };
        for (option, was, is) in [
            ("--cropped", kept.settings.whole, self.settings.whole),
            ("--stability", kept.settings.stability, self.settings.stability),
        ] {
            if was != is {
                return Some(format!("it was made {} {option}, this run is {} it", yes(was), yes(is)));
            }
        }
        let shard = self.shard.filter(|shard| !shard.holds(&kept.file.name))?;
        Some(format!("{} does not belong to shard {shard}", crate::report::words::plain(&kept.file.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_report_is_cut_off() {
        assert!(is_torn(br#"{"sch"#));
        assert!(is_torn(br#"{"schema":"grnet.report/1","file":{"na"#));
        assert!(is_torn(&[0; 4096]));
        for other in [&b"{\"a\":1}"[..], b"path,label", b"\0\0x"] {
            assert!(!is_torn(other), "{other:?}");
        }
    }

    #[test]
    fn lines_begin_as_they_are_recognised() {
        let first = serde_json::to_string(&serde_json::json!({ "schema": SCHEMA })).expect("JSON");
        assert!(first.starts_with(BEGINNING));
    }

    #[test]
    fn a_file_cut_at_any_byte_is_gone_on_with_from_its_last_whole_line() {
        let made = Made { model: ModelInfo::default(), settings: Settings::default(), shard: None };
        let line = |name: &str| {
            let (model, settings) = (&made.model, &made.settings);
            let rest = serde_json::json!({
                "file": { "name": name }, "band": "not_assessed", "reason": "unreadable", "model": model, "settings": settings,
            });
            format!("{BEGINNING}{SCHEMA}\",{}\n", &rest.to_string()[1..])
        };
        let lines = ["a.jpg", "ä\n.jpg", "c.jpg"].map(line);
        let whole = lines.concat();
        let path = std::env::temp_dir().join(format!("grnet-output-{}.jsonl", std::process::id()));
        for cut in 0..=whole.len() {
            fs::write(&path, &whole.as_bytes()[..cut]).expect("a test file can be written");
            let mut output = Output::open(&path, true).expect("an output");
            let before = output.read_back(&made).expect("a torn file of ours");
            let kept = whole.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!((before.counts.all(), output.reports), (kept as u64, kept as u64), "cut at {cut}");
            lines[kept..].iter().for_each(|line| output.add(line).expect("a line"));
            drop(output);
            assert_eq!(fs::read_to_string(&path).expect("the file"), whole, "cut at {cut}");
        }
        fs::remove_file(&path).expect("the test file can be removed");
    }
}
