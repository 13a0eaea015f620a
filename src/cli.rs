//! The `grnet` command line: options, files, the terminal. Everything that decides about a picture is in the library.
//! One file a subcommand; each has its clap `Args` and a `run`.

/// A line for the person, on the error stream.
macro_rules! tell {
    ($($line:tt)*) => { $crate::cli::write_line(std::io::stderr().lock(), format_args!($($line)*)) };
}
/// A line of what was asked for, on the output.
#[cfg_attr(not(feature = "train"), allow(unused_macros, reason = "most of its users train"))]
macro_rules! say {
    ($($line:tt)*) => { $crate::cli::write_line(std::io::stdout().lock(), format_args!($($line)*)) };
}

pub mod detect;
#[cfg(feature = "train")]
pub mod forge;
pub mod residual;
#[cfg(feature = "train")]
pub mod train;
pub mod verify;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fmt, fs, process};

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::ProgressStyle;

use crate::detector::DeviceChoice;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Manifest;
use crate::report::words;

/// Does the face in a photo show traces of generation or manipulation? Computed on this machine; nothing leaves it.
#[derive(Debug, Parser)]
#[command(name = "grnet", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Detect(detect::DetectArgs),
    Residual(residual::ResidualArgs),
    VerifyReport(verify::VerifyArgs),
    #[cfg(feature = "train")]
    Forge(forge::ForgeArgs),
    #[cfg(feature = "train")]
    #[command(flatten)]
    Train(train::TrainCommand),
}

/// Where a model computes, as the commands that only judge let one choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// A GPU when there is a real one, else the CPU
    Auto,
    /// The CPU
    Cpu,
    /// Any GPU through WebGPU (Vulkan, Metal, DX12)
    Gpu,
}

impl From<Device> for DeviceChoice {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => DeviceChoice::Auto,
            Device::Cpu => DeviceChoice::Cpu,
            Device::Gpu => DeviceChoice::Gpu,
        }
    }
}

/// Exit code when everything was done.
const DONE: u8 = 0;
/// Exit code when something could not be read or done.
const FAILED: u8 = 1;
/// Exit code for wrong usage, as clap gives it too.
const WRONG_USAGE: u8 = 2;
/// Exit code when a list of reports was begun and did not come to its end.
const UNFINISHED: u8 = 3;
/// Exit code of a process that a second Ctrl-C ends, as shells give it.
const STOPPED_AT_ONCE: i32 = 130;

/// Runs the command of this process's arguments, prints an error if there is one, and returns the exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Detect(args) => detect::run(&args),
        Command::Residual(args) => residual::run(&args).map(|()| DONE),
        Command::VerifyReport(args) => verify::run(&args),
        #[cfg(feature = "train")]
        Command::Forge(args) => forge::run(&args).map(|()| DONE),
        #[cfg(feature = "train")]
        Command::Train(command) => train::run_command(&command).map(|()| DONE),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        tell!("grnet: {}", error.full_message());
        if error.kind() == ErrorKind::BadUsage { WRONG_USAGE } else { FAILED }
    }))
}

/// Where the shipped model lies, relative to a place that [`model_places`] names.
const MODEL: &str = "weights/grnet.safetensors";

/// Reads the model asked for, or the shipped one, and checks it against the manifest beside it if there is one.
///
/// # Errors
/// `BadUsage` when no model is named and none is found, `Io` when it cannot be read, `BadWeights` when it is not what
/// the manifest says.
pub fn read_model(asked: Option<&Path>) -> Result<Vec<u8>> {
    let path = match asked {
        Some(path) => path.to_path_buf(),
        None => shipped_model()?,
    };
    let bytes = read(&path)?;
    let manifest_path = path.with_extension("json");
    if manifest_path.is_file() {
        let manifest: Manifest = serde_json::from_slice(&read(&manifest_path)?).map_err(|error| {
            let message = format!("expected a model manifest in {}", manifest_path.display());
            Error::caused(ErrorKind::BadWeights, message, error)
        })?;
        manifest.check(&bytes)?;
    }
    Ok(bytes)
}

fn shipped_model() -> Result<PathBuf> {
    let places = model_places();
    let found = places.iter().find(|path| path.is_file());
    found.cloned().ok_or_else(|| {
        let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        let message = format!("expected the shipped model, found none of {}; name one with --model", places.join(", "));
        Error::new(ErrorKind::BadUsage, message)
    })
}

/// Beside the program, in the current folder, and in the source tree that the program was built from.
fn model_places() -> Vec<PathBuf> {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.to_path_buf()));
    let source_tree = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    beside.into_iter().chain([PathBuf::from("."), source_tree]).map(|place| place.join(MODEL)).collect()
}

/// Writes a line. That nobody reads it any more, as behind `| head`, is no reason to fail.
pub(crate) fn write_line(mut stream: impl Write, line: fmt::Arguments<'_>) {
    let _unread = writeln!(stream, "{line}");
}

/// A path as messages show it.
pub(crate) fn shown(path: &Path) -> String {
    words::plain(&path.display().to_string())
}

/// A path as reports carry it. Bytes that are no text are written as `\xNN`, so that two files do not share a name.
pub(crate) fn name_of(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        name.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| name += &format!("\\x{byte:02x}"));
    }
    name
}

/// A flag that the first Ctrl-C (or SIGTERM) raises; the second ends the process at once.
///
/// # Errors
/// `Internal` when signals cannot be caught.
pub(crate) fn stop_on_ctrl_c(in_hand: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            process::exit(STOPPED_AT_ONCE);
        }
        tell!("stopping after {in_hand}; once more to stop at once");
    })
    .map_err(|error| Error::caused(ErrorKind::Internal, "cannot catch Ctrl-C", error))?;
    Ok(stop)
}

/// How a bar looks.
pub(crate) fn bar_style(template: &str) -> ProgressStyle {
    // A template that does not parse shows the default style; a test would not see more.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Largest file that is taken for a picture, in bytes; those of 200 megapixels are a fifth of it.
pub const MAX_PICTURE_BYTES: u64 = 256 << 20;

/// Reads a file.
///
/// # Errors
/// `Io`, naming the path, also for what is no file: a pipe or a device might never end.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, u64::MAX)
}

/// Reads a file that is to hold a picture.
///
/// # Errors
/// As [`read`]; `BadImage` for a file larger than [`MAX_PICTURE_BYTES`], of which not a byte is read.
pub fn read_picture(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_PICTURE_BYTES)
}

fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |error| Error::caused(ErrorKind::Io, format!("cannot read {}", shown(path)), error);
    let about = fs::metadata(path).map_err(failed)?;
    if !about.is_file() {
        let message = format!("expected a file, found {}: {}", kind_of(&about), shown(path));
        return Err(Error::new(ErrorKind::Io, message));
    }
    let too_large = |found: u64| {
        let message = format!("expected a picture file of at most {} MiB, found {} MiB", limit >> 20, found >> 20);
        Error::new(ErrorKind::BadImage, message)
    };
    if about.len() > limit {
        return Err(too_large(about.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // It may have grown since.
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// What a person calls something in a folder that is no regular file.
pub(crate) fn kind_of(about: &fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = about.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if about.is_dir() { "a folder" } else { "something else" }
}

/// Writes a file: aside first, and under its name once it is whole, so that there never is half a file.
///
/// # Errors
/// `Io`, naming the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let failed = |error| Error::caused(ErrorKind::Io, format!("cannot write {}", shown(path)), error);
    // A link stays one, and what is no file (`/dev/stdout`) is written as it is.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::metadata(&target).is_ok_and(|about| !about.is_file()) {
        return fs::write(&target, bytes).map_err(failed);
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = target.with_file_name(format!(".grnet-{}-{number}.part", process::id()));
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &target));
    written.map_err(|error| {
        let _gone = fs::remove_file(&aside);
        failed(error)
    })
}

/// Makes a folder and those above it; one that is there already stays as it is.
///
/// # Errors
/// `Io`, naming the path.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .map_err(|error| Error::caused(ErrorKind::Io, format!("cannot make the folder {}", shown(path)), error))
}

/// The time now, RFC 3339 in UTC, to the second.
pub fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    utc(seconds)
}

/// Seconds since 1970 as RFC 3339 (days to dates after Howard Hinnant's `civil_from_days`).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on, so that the leap day comes last.
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_826_154), "2000-02-29T12:09:14Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
