//! The threads of `grnet detect`: reading, decoding, finding faces and, where a processor computes, judging; reports come back
//! in the order of the files. How much is held in memory does not depend on how many files there are.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::cli;
use crate::detector::{self, Detector, PrepareConfig, Prepared};
use crate::error::{Error, ErrorKind, Result};
use crate::model::sha256_hex;
use crate::picture;
use crate::picture::face::{FaceFinder, Finder};
use crate::report::Report;

/// Photos that each thread may be ahead of the report that is awaited: while one large photo is decoded, others go on.
const AHEAD: usize = 8;
/// Pixels that are decoded at a time, for each thread; a photo of more takes the share of others.
const PIXELS_A_THREAD: u64 = 16_000_000;

/// Whether to go on with the next photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next one, please.
    Continue,
    /// No more are wanted.
    Stop,
}

/// What the threads share.
#[derive(Debug)]
pub struct Work<'a> {
    /// The model on its device.
    pub detector: &'a Detector,
    /// How photos are prepared.
    pub config: &'a PrepareConfig,
    /// Cores that may be used.
    pub cores: usize,
    /// How many threads there are, no more than files.
    pub threads: usize,
    /// Raised when no more are to be judged.
    pub stop: &'a AtomicBool,
}

impl Work<'_> {
    /// Judges `files` and hands them to `take` on this thread, in order.
    ///
    /// # Errors
    /// The first of `take`, of the finder or of the detector; photos that cannot be read are none.
    pub fn for_each(
        &self,
        files: impl Iterator<Item = PathBuf> + Send,
        mut take: impl FnMut(Prepared, Report) -> Result<Flow>,
    ) -> Result<()> {
        // With a photo for every core each judges its own. A GPU has one queue, and of few photos each gets all cores.
        let alone = !self.detector.is_on_gpu() && self.threads == self.cores;
        let files = Mutex::new(files.enumerate());
        let budget = Budget::new(PIXELS_A_THREAD * self.threads as u64);
        let (sender, receiver) = channel();
        let (places, free) = sync_channel(AHEAD * self.threads);
        thread::scope(|scope| {
            for _ in 0..self.threads {
                let (sender, places, files, budget) = (sender.clone(), places.clone(), &files, &budget);
                scope.spawn(move || {
                    let next = || self.next(&places, files);
                    if alone {
                        // What the engine shares among the threads of its pool stays on this one.
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                        self.work(next, budget, true, |done| sender.send(done).is_ok());
                        drop(pool);
                    } else {
                        self.work(next, budget, false, |done| sender.send(done).is_ok());
                    }
                });
            }
            drop((sender, places));
            in_order(receiver, free, &mut |(prepared, report): Done| {
                let report = match report {
                    Some(report) => report,
                    None => pollster::block_on(self.detector.judge(&prepared))?,
                };
                take(prepared, report)
            })
        })
    }

    /// The next file and its number, as soon as there is a place for its report.
    fn next<I: Iterator<Item = (usize, PathBuf)>>(
        &self,
        places: &SyncSender<()>,
        files: &Mutex<I>,
    ) -> Option<(usize, PathBuf)> {
        let wanted = !self.stop.load(Ordering::Relaxed) && places.send(()).is_ok();
        wanted.then(|| locked(files).next()).flatten()
    }

    /// One thread: all of `next`, until `send` says that nobody takes reports any more.
    fn work(
        &self,
        next: impl Fn() -> Option<(usize, PathBuf)>,
        budget: &Budget,
        judge: bool,
        send: impl Fn((usize, Result<Done>)) -> bool,
    ) {
        // A finder is not `Send`, hence one made on each thread.
        let mut finder = Finder::new();
        while let Some((index, file)) = next() {
            let done = match &mut finder {
                Ok(finder) => self.one(&file, finder, budget, judge),
                Err(error) => Err(Error::new(error.kind(), error.full_message())),
            };
            if !send((index, done)) {
                return;
            }
        }
    }

    fn one(&self, file: &Path, finder: &mut Finder, budget: &Budget, judge: bool) -> Result<Done> {
        let prepared = prepare(file, finder, self.config, budget);
        let judged = || judge.then(|| pollster::block_on(self.detector.judge(&prepared))).transpose();
        // Without an answer the thread that waits for this one in its turn would wait for ever.
        let report = catch_unwind(AssertUnwindSafe(judged)).unwrap_or_else(|_| {
            let message = format!("a fault of grnet's own while it judged {}; please report it", cli::shown(file));
            Err(Error::new(ErrorKind::Internal, message))
        })?;
        Ok((prepared, report))
    }
}

/// A prepared photo, and its report where the thread that prepared it has judged it.
type Done = (Prepared, Option<Report>);

fn prepare(file: &Path, finder: &mut dyn FaceFinder, config: &PrepareConfig, budget: &Budget) -> Prepared {
    let name = cli::name_of(file);
    match cli::read_picture(file) {
        Ok(bytes) => {
            let _held = budget.take(picture::declared_pixels(&bytes).unwrap_or(0));
            // A fault of ours that one file brings out must not end the run for a million others.
            let prepared = catch_unwind(AssertUnwindSafe(|| detector::prepare(&name, &bytes, finder, config)));
            prepared.unwrap_or_else(|_| {
                let message = "a fault of grnet's own while it read this file; please report it";
                let mut prepared = unread(&name, finder, config, &Error::new(ErrorKind::Internal, message));
                prepared.report.file.size_bytes = bytes.len() as u64;
                prepared.report.file.sha256 = sha256_hex(&bytes);
                prepared
            })
        }
        Err(error) => unread(&name, finder, config, &error),
    }
}

/// A file that could not be read has no bytes, and is reported as a file without any.
fn unread(name: &str, finder: &mut dyn FaceFinder, config: &PrepareConfig, error: &Error) -> Prepared {
    Prepared { failure: Some(error.full_message()), ..detector::prepare(name, &[], finder, config) }
}

/// Brings what the threads send back into the order of the files; each that was taken makes place for one more.
fn in_order<T>(
    receiver: Receiver<(usize, Result<T>)>,
    free: Receiver<()>,
    take: &mut impl FnMut(T) -> Result<Flow>,
) -> Result<()> {
    let mut early = BTreeMap::new();
    let mut expected = 0;
    for (index, done) in receiver {
        early.insert(index, done);
        while let Some(done) = early.remove(&expected) {
            expected += 1;
            if take(done?)? == Flow::Stop {
                return Ok(());
            }
            let _place = free.try_recv();
        }
    }
    Ok(())
}

/// How many pixels may be decoded at a time: several very large photos at once would take gigabytes.
#[derive(Debug)]
struct Budget {
    all: u64,
    left: Mutex<u64>,
    more: Condvar,
}

impl Budget {
    fn new(all: u64) -> Budget {
        Budget { all, left: Mutex::new(all), more: Condvar::new() }
    }

    /// Waits until so many pixels are left. A photo of more than there ever are is decoded alone.
    fn take(&self, pixels: u64) -> Held<'_> {
        let pixels = pixels.min(self.all);
        let waited = self.more.wait_while(locked(&self.left), |left| *left < pixels);
        *waited.unwrap_or_else(PoisonError::into_inner) -= pixels;
        Held { budget: self, pixels }
    }
}

/// Pixels taken out of a [`Budget`], until this is dropped.
#[derive(Debug)]
struct Held<'a> {
    budget: &'a Budget,
    pixels: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *locked(&self.budget.left) += self.pixels;
        self.budget.more.notify_all();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::picture::Rgb8;
    use crate::picture::face::FoundFace;
    use crate::report::Reason;

    /// A finder with a fault.
    struct Faulty;

    impl FaceFinder for Faulty {
        fn find(&mut self, _: &Rgb8) -> Vec<FoundFace> {
            panic!("a fault, on purpose")
        }
    }

    #[test]
    fn a_fault_of_our_own_becomes_the_report_of_the_one_file() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/coffee.jpg");
        let prepared = prepare(&file, &mut Faulty, &PrepareConfig::new(160, 1.3), &Budget::new(1));
        let bytes = std::fs::read(&file).expect("the picture");
        assert_eq!(prepared.report.reason, Some(Reason::Unreadable));
        assert_eq!(prepared.report.file.sha256, sha256_hex(&bytes));
        assert!(prepared.failure.is_some_and(|failure| failure.contains("please report it")));
    }

    #[test]
    fn no_more_pixels_are_out_than_there_are_and_the_largest_photo_is_alone() {
        let (budget, out) = (Budget::new(100), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (budget, out) = (&budget, &out);
                scope.spawn(move || {
                    for round in 0..50 {
                        let pixels = [0, 30, 60, 1000][(thread + round) % 4];
                        let _held = budget.take(pixels);
                        let before = out.fetch_add(pixels.min(100), Ordering::SeqCst);
                        assert!(before + pixels.min(100) <= 100, "{before} are out, {pixels} were given");
                        thread::yield_now();
                        out.fetch_sub(pixels.min(100), Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(*locked(&budget.left), 100, "all come back");
    }

    #[test]
    fn what_arrives_in_any_order_is_taken_in_order_until_no_more_is_wanted() {
        let (sender, receiver) = channel();
        let (places, free) = sync_channel(8);
        for index in [2, 0, 3, 1, 5, 4] {
            places.send(()).expect("a place");
            sender.send((index, Ok(index))).expect("a receiver");
        }
        drop(sender);
        let mut taken = Vec::new();
        let ended = in_order(receiver, free, &mut |index| {
            taken.push(index);
            Ok(if index == 4 { Flow::Stop } else { Flow::Continue })
        });
        assert!(ended.is_ok());
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert!(places.send(()).is_err(), "threads must see that nobody takes any more");
    }
}
