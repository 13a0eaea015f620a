//! The folder of a training run.

use std::path::PathBuf;

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

    /// The effective configuration.
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// Losses and measurements as a picture.
    pub fn curves(&self) -> PathBuf {
        self.0.join("curves.svg")
    }
}
