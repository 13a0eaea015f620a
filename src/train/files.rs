//! Files that are always whole.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// Writes a file beside `path` and renames it over it, so that there is always a whole one.
///
/// # Errors
/// `Io`, naming the file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    written.map_err(|e| {
        // What is half written helps nobody; that it cannot be removed either adds nothing to the first error.
        let _ = fs::remove_file(&part);
        Error::caused(ErrorKind::Io, format!("cannot write {}", path.display()), e)
    })
}
