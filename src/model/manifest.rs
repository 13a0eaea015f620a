//! The file that stands beside a model file and says which one it is.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ModelFile, Thresholds, bad};
use crate::error::Result;

/// The file that stands beside a model file and names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the model file.
    pub file: String,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// The thresholds that it states, for who must know them before the model is loaded (the extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
}

impl Manifest {
    /// The manifest of a model file; thresholds only where it is one.
    pub fn of(file: &str, bytes: &[u8]) -> Self {
        let thresholds = ModelFile::parse(bytes).ok().map(|model| model.meta.thresholds);
        Manifest { file: file.to_string(), sha256: sha256_hex(bytes), bytes: bytes.len() as u64, thresholds }
    }

    /// Checks a model file against its manifest.
    ///
    /// # Errors
    /// [`BadWeights`](crate::ErrorKind::BadWeights) when size or digest differ.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        if self.bytes != bytes.len() as u64 {
            return Err(bad(format!("{}: expected {} bytes, found {}", self.file, self.bytes, bytes.len())));
        }
        let found = sha256_hex(bytes);
        if self.sha256 != found {
            return Err(bad(format!("{}: expected SHA-256 {}, found {found}", self.file, self.sha256)));
        }
        Ok(())
    }
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    // In parts: a browser compiles a function better when it is entered again, and all at once is entered once.
    let mut sha = Sha256::new();
    bytes.chunks(1 << 16).for_each(|part| sha.update(part));
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
