//! From pairs to tensors: forging, augmentation, degradation, the network's size; ahead of the device, on its own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::classes::Classes;
use super::pack::Pack;
use super::sampler::{Making, Sampler};
use crate::infer::architecture::STRIDE;
use crate::picture::Rgb8;
use crate::picture::crop;
use crate::train::config::TrainConfig;
use crate::train::looks::augment::Moves;
use crate::train::looks::forge::{self, Blended};
use crate::train::looks::pixels::{self, Kernel, Plane};
use crate::train::rng::{Stream, at};
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
    /// How much of each place of the last feature map was made, 0..1, rows from the top; absent where that is not known,
    /// and everywhere when no loss asks for it.
    pub maps: Vec<Option<Vec<f32>>>,
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
        let made: Vec<Made> =
            (0..pairs as u64).into_par_iter().map(|slot| self.pair(step, slot, side_px)).collect::<Result<_>>()?;
        let mut labels = vec![0; pairs];
        let mut maps = vec![self.supervised().then(|| vec![0.0; places(side_px).pow(2)]); pairs];
        let (mut crops, mut fakes) = (Vec::new(), Vec::new());
        for pair in made {
            labels.push(pair.class);
            maps.push(pair.map);
            crops.push(pair.real);
            fakes.push(pair.fake);
        }
        crops.extend(fakes);
        Ok(Batch { step, crops, labels, maps })
    }

    /// Whether the loss asks for manipulation maps.
    fn supervised(&self) -> bool {
        self.config.learn.map_loss > 0.0
    }

    /// A real and a fake crop that went through the same draw of moves and degradations.
    fn pair(&self, step: u64, slot: u64, side_px: usize) -> Result<Made> {
        let config = &self.config;
        let pair = self.sampler.pair(config.seed, step, slot);
        let crop = |index: usize| self.pack.crop(&self.pack.entries()[index]);
        let share = |index: usize| self.pack.share(&self.pack.entries()[index], config.model.crop_margin);
        let forging = &mut at(config.seed, Stream::Forging, step, slot);
        let original = crop(pair.real)?;
        let mut fake_share = share(pair.real);
        let (real, fake, mask) = match pair.fake {
            Making::Given(fake) => {
                fake_share = share(fake);
                (original, crop(fake)?, None)
            }
            Making::SelfBlended => {
                let place = self.pack.entries()[pair.real].place();
                let Blended { real, fake, mask } = forge::self_blend(&original, &place, &config.forge, forging)?;
                (real, fake, Some(mask))
            }
            Making::UpSampled => {
                let (fake, twin) = forge::up_sampling_traces(&original, &config.forge, forging)?;
                let all = Plane::filled(fake.height, fake.width, 1.0);
                (twin, fake, Some(all))
            }
        };
        let looks = &mut at(config.seed, Stream::Looks, step, slot);
        let moves = config.augment.draw(looks);
        let plan = config.degrade.draw(looks);
        let look = |picture: &Rgb8, share: f32| {
            let seen = plan.apply(&moves.place(picture, share))?;
            moves.blank(crop::resize(&seen, side_px, side_px)?)
        };
        let class = self.classes.of_making(pair.fake, self.pack.entries()) as i32;
        let map = mask.filter(|_| self.supervised()).map(|mask| map_of(&mask, &moves, fake_share, places(side_px)));
        let map = map.transpose()?;
        Ok(Made { real: look(&real, share(pair.real))?, fake: look(&fake, fake_share)?, class, map })
    }
}

/// A pair as the network sees it.
struct Made {
    real: Rgb8,
    fake: Rgb8,
    /// Of the fake.
    class: i32,
    /// Of the fake.
    map: Option<Vec<f32>>,
}

/// Places of the last feature map along a side.
fn places(side_px: usize) -> usize {
    side_px / STRIDE
}

/// A blend mask, moved like its picture, of which the middle `share` is seen, as the share of each of `side` x `side` places.
fn map_of(mask: &Plane, moves: &Moves, share: f32, side: usize) -> Result<Vec<f32>> {
    let grey = mask.data.iter().flat_map(|share| [pixels::to_byte(255.0 * share); 3]).collect();
    let moved = moves.place(&Rgb8::new(mask.height, mask.width, grey)?, share);
    let small = pixels::resize_with(&moved, side, side, Kernel::Box)?;
    Ok(small.luma().into_iter().map(|value| f32::from(value) / 255.0).collect())
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
        side_px: impl Fn(u64) -> usize + Send + Sync + 'static,
        ahead: usize,
        threads: usize,
    ) -> Result<Self> {
        Self::of(first_step, ahead, threads, move |step| {
            let side_px = side_px(step);
            maker.batch(step, side_px)
        })
    }

    /// The same for anything that makes the batch of a step.
    ///
    /// # Errors
    /// `Io` when threads cannot be started.
    pub fn of(
        first_step: u64,
        ahead: usize,
        threads: usize,
        make: impl Fn(u64) -> Result<Batch> + Send + Sync + 'static,
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
                let batch = pool.install(|| make(step));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_follows_its_mask_through_a_flip() {
        let (side, cells) = (64, 4);
        let mut mask = Plane::filled(side, side, 0.0);
        // The upper left quarter, half strong.
        (0..side * side).filter(|i| i / side < 32 && i % side < 32).for_each(|i| mask.data[i] = 0.5);
        let still = Moves { flip: false, corners: None, zoom: 1.0, cut_out: None };
        let at =
            |moves: &Moves, row: usize, column: usize| map_of(&mask, moves, 1.0, cells).unwrap()[row * cells + column];
        assert!((at(&still, 0, 0) - 0.5).abs() < 0.01 && at(&still, 0, 3) == 0.0 && at(&still, 3, 0) == 0.0);
        // The middle half shows that quarter in its own.
        let middle = map_of(&mask, &still, 0.5, cells).unwrap();
        assert!((middle[0] - 0.5).abs() < 0.01 && (middle[5] - 0.5).abs() < 0.01 && middle[2] == 0.0);
        let flipped = Moves { flip: true, ..still };
        assert!((at(&flipped, 0, 3) - 0.5).abs() < 0.01 && at(&flipped, 0, 0) == 0.0);
    }
}
