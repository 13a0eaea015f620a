//! The `grnet` command line: options, files, the terminal. Everything that decides about a picture is in the library.
//! One file a subcommand; each has its clap `Args` and a `run`.

pub mod detect;
pub mod residual;
#[cfg(feature = "train")]
pub mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use clap::{Parser, Subcommand, ValueEnum};

use crate::backend::DeviceChoice;
use crate::error::{Error, ErrorKind, Result};
use crate::weights::Manifest;

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
    /// An NVIDIA GPU
    Cuda,
}

impl From<Device> for DeviceChoice {
    fn from(device: Device) -> Self {
        match device {
            Device::Auto => DeviceChoice::Auto,
            Device::Cpu => DeviceChoice::Cpu,
            Device::Gpu => DeviceChoice::Gpu,
            Device::Cuda => DeviceChoice::Cuda,
        }
    }
}

/// Exit code when everything was done.
const DONE: u8 = 0;
/// Exit code when something could not be read or done.
const FAILED: u8 = 1;
/// Exit code for wrong usage, as clap gives it too.
const WRONG_USAGE: u8 = 2;

/// Runs the command of this process's arguments, prints an error if there is one, and returns the exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Detect(args) => detect::run(&args),
        Command::Residual(args) => residual::run(&args).map(|()| DONE),
        #[cfg(feature = "train")]
        Command::Train(command) => train::run_command(&command).map(|()| DONE),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        eprintln!("grnet: {}", error.full_message());
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

/// Reads a file.
///
/// # Errors
/// `Io`, naming the path.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), error))
}
