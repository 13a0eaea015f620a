//! The folder of a training run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::train::files::write_atomically;
use crate::{Error, ErrorKind, Result};

/// Where a run's files are.
#[derive(Debug, Clone)]
pub struct RunFolder(pub PathBuf);

impl RunFolder {
    /// Everything needed to go on.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The model that did best on the validation split, f32.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// The model at the end, f32.
    pub fn last(&self) -> PathBuf {
        self.0.join("last.safetensors")
    }

    /// One JSON object a line: losses and measurements.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// Makes the folder and keeps every other run out of it, for as long as what is given back lives: two that write
    /// checkpoints and metrics to one place leave neither.
    ///
    /// # Errors
    /// `BadUsage` when a run is in the folder, `Io` when it cannot be made.
    pub fn hold(&self) -> Result<File> {
        let fail = |error| cannot_use(&self.0, error);
        fs::create_dir_all(&self.0).map_err(fail)?;
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.0.join("lock")).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            // Some network file systems know no locks; nothing can be promised there.
            Err(TryLockError::Error(error)) if error.kind() == IoErrorKind::Unsupported => Ok(file),
            Err(TryLockError::Error(error)) => Err(fail(error)),
            Err(TryLockError::WouldBlock) => {
                let message =
                    format!("expected a folder that no other run uses, found one at work in {}", self.0.display());
                Err(Error::new(ErrorKind::BadUsage, message))
            }
        }
    }

    /// Opens the metrics for more lines. Of those that are there, only whole ones up to `step` stay: a killed process leaves
    /// half a line, and lines of steps that its last checkpoint does not know, which a resumed run does again.
    ///
    /// # Errors
    /// `Io` when the file cannot be read or written.
    pub fn metrics_after(&self, step: u64) -> Result<File> {
        let path = self.metrics();
        let fail = |error| cannot_use(&path, error);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == IoErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error)),
        };
        let done = |line: &str| {
            let of_line = serde_json::from_str::<Value>(line).ok().and_then(|line| line["step"].as_u64());
            of_line.is_some_and(|of_line| of_line <= step)
        };
        let kept: String = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && done(line)).collect();
        if kept != text {
            write_atomically(&path, kept.as_bytes())?;
        }
        OpenOptions::new().create(true).append(true).open(&path).map_err(fail)
    }

    /// The effective configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Losses and measurements as a picture.
    pub fn curves(&self) -> PathBuf {
        self.0.join("curves.svg")
    }
}

/// What is said of a file of a run that cannot be read or written.
pub(in crate::train) fn cannot_use(path: &Path, error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Io, format!("cannot use {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn folder(name: &str) -> RunFolder {
        let path = std::env::temp_dir().join(format!("grnet-run-folder-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        RunFolder(path)
    }

    #[test]
    fn one_run_at_a_time_holds_a_folder() {
        let folder = folder("held");
        let held = folder.hold().unwrap();
        let refused = folder.hold().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BadUsage);
        assert!(refused.full_message().contains("no other run"), "{}", refused.full_message());
        drop(held);
        folder.hold().expect("free again");
    }

    #[test]
    fn a_torn_line_and_lines_after_the_checkpoint_are_cut_off() {
        let folder = folder("torn");
        fs::create_dir_all(&folder.0).unwrap();
        let line = |step: u64| format!("{{\"kind\":\"step\",\"step\":{step}}}\n");
        let text = [line(10), line(20), line(30), "{\"kind\":\"step\",\"st".into()].concat();
        fs::write(folder.metrics(), text).unwrap();
        folder.metrics_after(20).unwrap().write_all(line(30).as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(folder.metrics()).unwrap(), [10, 20, 30].map(line).concat());
        // A line that is whole but for its end may be of any step.
        fs::write(folder.metrics(), line(10) + line(20).trim_end()).unwrap();
        folder.metrics_after(20).unwrap();
        assert_eq!(fs::read_to_string(folder.metrics()).unwrap(), line(10));
    }
}
