//! Model files: bytes <-> everything that a verdict depends on. Knows no path, no URL and no training framework.

pub mod familiarity;
pub mod file;
pub mod manifest;
pub mod meta;
pub mod quantise;

pub use file::{ModelFile, Precision, Tensors};
#[cfg(feature = "train")]
pub(crate) use file::{StoredTensor, write_tensors};
pub use manifest::{Manifest, sha256_hex};
pub use meta::{
    AUTO_SCAN_SHARE, CalibrationBucket, FORMAT, FalseAlarms, LIKELY_FAKE_SHARE, ModelMeta, Thresholds,
    UntouchedOutcomes,
};

use crate::error::{Error, ErrorKind};

pub(crate) fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadWeights, message)
}
