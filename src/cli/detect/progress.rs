//! How far `grnet detect` is, on the error stream: a bar on a terminal, and for long runs that nobody watches a line now and then.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::cli;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(30);

/// How many files there are; not known until they were counted.
#[derive(Debug)]
pub struct Total(AtomicU64);

impl Total {
    const UNKNOWN: u64 = u64::MAX;

    /// Not counted yet.
    pub fn unknown() -> Total {
        Total(AtomicU64::new(Total::UNKNOWN))
    }

    /// States it.
    pub fn set(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|total| *total != Total::UNKNOWN)
    }
}

/// What is shown of how far a run is.
#[derive(Debug)]
pub struct Progress<'a> {
    bar: ProgressBar,
    total: &'a Total,
    lines: bool,
    begun: Instant,
    told: Instant,
    before: u64,
    done: u64,
}

impl<'a> Progress<'a> {
    /// Nothing for a `short` run; `lines` where there is no terminal, if those are wanted. `before` were done by earlier runs.
    pub fn new(total: &'a Total, short: bool, lines: bool, before: u64) -> Progress<'a> {
        let bar = if short { ProgressBar::hidden() } else { ProgressBar::no_length() };
        bar.set_style(cli::bar_style("{spinner} {pos} photos, {per_sec}; counting how many there are"));
        bar.set_position(before);
        bar.reset_eta();
        let lines = lines && !short && !std::io::stderr().is_terminal();
        let now = Instant::now();
        Progress { bar, total, lines, begun: now, told: now, before, done: 0 }
    }

    /// One more is done.
    pub fn advance(&mut self) {
        self.done += 1;
        if let Some(total) = self.total.get()
            && self.bar.length().is_none()
        {
            self.bar.set_length(total);
            self.bar.set_style(cli::bar_style("{wide_bar} {pos}/{len} photos, {eta} left"));
        }
        self.bar.inc(1);
        if self.lines && self.told.elapsed() >= PAUSE {
            self.told = Instant::now();
            tell!("grnet: {}", line(self.before, self.done, self.total.get(), self.begun.elapsed()));
        }
    }

    /// Lets others write to the terminal.
    pub fn suspend<T>(&self, with: impl FnOnce() -> T) -> T {
        self.bar.suspend(with)
    }

    /// How many photos a second since the beginning, if there was time to tell.
    pub fn per_second(&self) -> Option<f64> {
        let seconds = self.begun.elapsed().as_secs_f64();
        (self.done > 0 && seconds > 0.0).then(|| self.done as f64 / seconds)
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(before: u64, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let at = before + done;
    match total {
        None => format!("{at} photos, {rate:.1} a second; counting how many there are"),
        Some(total) => {
            let left = total.saturating_sub(at) as f64 / rate.max(1e-3);
            format!("{at} of {total} photos, {rate:.1} a second, about {} left", duration(left))
        }
    }
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    match minutes {
        0..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_from_this_run_alone() {
        let minute = Duration::from_secs(60);
        assert_eq!(line(5000, 600, Some(10_000), minute), "5600 of 10000 photos, 10.0 a second, about 8 min left");
        assert_eq!(line(0, 60, Some(1_000_000), minute), "60 of 1000000 photos, 1.0 a second, about 277 h 46 min left");
        assert_eq!(line(0, 600, None, minute), "600 photos, 10.0 a second; counting how many there are");
        // Files may come and go while they are judged.
        assert_eq!(line(10, 60, Some(60), minute), "70 of 60 photos, 1.0 a second, about 0 min left");
    }
}
