//! A file system that is soon full, or may not be written.

use std::path::PathBuf;
use std::process::Command;

/// A file system in memory, mounted as long as this lives.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// One of so many KiB, in an empty folder. Nothing where mounting is not allowed, which is told.
    pub fn mount(place: PathBuf, kib: u64) -> Option<SmallDisk> {
        let made =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(&place).output();
        if made.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(place));
        }
        eprintln!("skipped: mounting a small disk needs root");
        None
    }

    pub fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(done.expect("mount starts").success(), "{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg(&self.0).status();
    }
}
