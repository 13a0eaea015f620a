//! From pairs to tensors: forging, augmentation, degradation, the network's size; ahead of the device, on its own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::classes::Classes;
use super::config::TrainConfig;
use super::forge;
use super::pack::Pack;
use super::rng::{Stream, at};
use super::sampler::{Making, Sampler};
use crate::input;
use crate::photo::Rgb8;
use crate::{Error, ErrorKind, Result};

/// One step's pictures: reals first, then their fakes, all of one size.
#[derive(Debug)]
pub struct Batch {
    /// The step it is for.
    pub step: u64,
    /// Crops at the network's size.
    pub crops: Vec<Rgb8>,
    /// Class of each crop; 0 is real.
    pub labels: Vec<i32>,
}

/// Makes batches; every batch depends on the configuration's seed and its step alone.
#[derive(Debug)]
pub struct BatchMaker {
    /// Crops and their manifest.
    pub pack: Pack,
    /// Draws pairs.
    pub sampler: Sampler,
    /// What is told apart.
    pub classes: Classes,
    /// Seed, sizes and strengths.
    pub config: TrainConfig,
}

impl BatchMaker {
    /// The batch of a step with crops of `side_px`.
    ///
    /// # Errors
    /// `Io` when the pack cannot be read.
    pub fn batch(&self, step: u64, side_px: usize) -> Result<Batch> {
        let pairs = self.config.batch / 2;
        let made: Vec<(Rgb8, Rgb8, i32)> =
            (0..pairs as u64).into_par_iter().map(|slot| self.pair(step, slot, side_px)).collect::<Result<_>>()?;
        let mut labels = vec![0; pairs];
        labels.extend(made.iter().map(|(.., class)| class));
        let (mut crops, fakes): (Vec<Rgb8>, Vec<Rgb8>) = made.into_iter().map(|(real, fake, _)| (real, fake)).unzip();
        crops.extend(fakes);
        Ok(Batch { step, crops, labels })
    }

    /// A real and a fake crop that went through the same draw of moves and degradations, and the fake's class.
    fn pair(&self, step: u64, slot: u64, side_px: usize) -> Result<(Rgb8, Rgb8, i32)> {
        let config = &self.config;
        let pair = self.sampler.pair(config.seed, step, slot);
        let crop = |index: usize| self.pack.crop(&self.pack.entries()[index]);
        let forging = &mut at(config.seed, Stream::Forging, step, slot);
        let original = crop(pair.real)?;
        let (real, fake) = match pair.fake {
            Making::Given(fake) => (original, crop(fake)?),
            Making::SelfBlended => {
                let (fake, _) = forge::self_blend(&original, &config.forge, forging)?;
                (original, fake)
            }
            Making::UpSampled => {
                let (fake, twin) = forge::up_sampling_traces(&original, &config.forge, forging)?;
                (twin, fake)
            }
        };
        let looks = &mut at(config.seed, Stream::Looks, step, slot);
        let moves = config.augment.draw(looks);
        let plan = config.degrade.draw(looks);
        let look = |picture: &Rgb8| {
            let seen = plan.apply(&moves.place(picture))?;
            moves.blank(input::resize(&seen, side_px, side_px)?)
        };
        let class = self.classes.of_making(pair.fake, self.pack.entries());
        Ok((look(&real)?, look(&fake)?, class as i32))
    }
}

/// Makes batches ahead of their use and counts how long the device waited for them.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<Result<Batch>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Time spent waiting for batches.
    pub waited: Duration,
}

impl Loader {
    /// Starts making batches from `first_step` on, `ahead` of them, on `threads` threads; `side_px` says how large the crops
    /// of a step are.
    ///
    /// # Errors
    /// `Io` when threads cannot be started.
    pub fn start(
        maker: Arc<BatchMaker>,
        first_step: u64,
        side_px: impl Fn(u64) -> usize + Send + 'static,
        ahead: usize,
        threads: usize,
    ) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| Error::caused(ErrorKind::Io, "cannot start the loader's threads", e))?;
        let (sender, batches) = sync_channel(ahead);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for step in first_step.. {
                let side_px = side_px(step);
                let batch = pool.install(|| maker.batch(step, side_px));
                let failed = batch.is_err();
                if stopped.load(Ordering::Relaxed) || sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        Ok(Loader { batches, stop, thread: Some(thread), waited: Duration::ZERO })
    }

    /// The next batch.
    ///
    /// # Errors
    /// What went wrong while making it.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let asked = Instant::now();
        let batch = self.batches.recv();
        self.waited += asked.elapsed();
        batch.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the loader stopped without saying why")))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Whatever waits in the channel is thrown away, so that the thread sees the stop.
        while self.batches.try_recv().is_ok() {}
        let (_, closed) = sync_channel(0);
        drop(std::mem::replace(&mut self.batches, closed));
        if let Some(thread) = self.thread.take() {
            // A panic there has already been reported by the batch that is missing.
            let _ = thread.join();
        }
    }
}
