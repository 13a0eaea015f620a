//! Training of one entrant: its optimiser and schedule stretched over the budget, the best network on the validation rows
//! kept. A run that is stopped leaves a checkpoint and goes on from there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::data::{Drawing, Exam};
use super::figures::argmax;
use super::{Budget, Entrant, Inputs, Protocol, Setting, Task, Watch};
use crate::infer::architecture::GrNetConfig;
use crate::train::compare::system::{Competitor, Network, class_probabilities};
use crate::train::config::{LearnConfig, Optimiser, cosine};
use crate::train::data::batch::Loader;
use crate::train::learn::checkpoint::{Checkpoint, Parts};
use crate::train::learn::loss::targets;
use crate::train::learn::optim::Adam;
use crate::train::learn::sgd::CaffeSgd;
use crate::train::nn::afm::stream_weights;
use crate::train::nn::input;
use crate::train::nn::recipe::{Decay, Recipe, Span, Update};
use crate::train::rng::{Stream, at};
use crate::{Error, ErrorKind, Result};

/// Pictures that go through a network together when it is judged.
pub const JUDGED_TOGETHER: usize = 32;
/// Measurements on the validation rows over the whole budget.
const MEASUREMENTS: u64 = 5;
/// Minutes between checkpoints.
const CHECKPOINT_MINUTES: f64 = 5.0;
/// Batches made ahead of their use.
const AHEAD: usize = 4;
/// The common setting.
const COMMON_RATE: f64 = 3e-4;
const COMMON_BATCH: usize = 32;
/// Norm to which gradients are cut in the common setting; the authors cut none.
const COMMON_CLIP: f64 = 1.0;

/// What a run has learnt.
#[derive(Debug)]
pub struct Learnt<B: Backend> {
    /// The network that did best on the validation rows.
    pub competitor: Competitor<B>,
    /// Its accuracy there.
    pub validation_acc: f64,
    /// Pictures learnt from.
    pub pictures: u64,
    /// Seconds of training and validation.
    pub seconds: f64,
    /// Whether it started from ImageNet weights.
    pub pretrained: bool,
}

/// Either optimiser.
enum Optimising<B: Backend> {
    Adam(Adam<B>, Box<LearnConfig>),
    Sgd(CaffeSgd<B>),
}

impl<I: Backend> Optimising<I> {
    fn new(recipe: &Recipe, setting: Setting) -> Self {
        let adam = |betas, weight_decay, clip_norm| {
            let config =
                LearnConfig { optimiser: Optimiser::Adam, betas, weight_decay, clip_norm, ..LearnConfig::default() };
            Optimising::Adam(Adam::default(), Box::new(config))
        };
        match (setting, recipe.update) {
            (Setting::Common, _) => adam([0.9, 0.999], 0.0, COMMON_CLIP),
            (Setting::Authors, Update::Adam { betas, weight_decay }) => adam(betas, weight_decay, 0.0),
            (Setting::Authors, Update::CaffeSgd { momentum, weight_decay }) => {
                Optimising::Sgd(CaffeSgd::new(momentum, weight_decay))
            }
        }
    }

    fn step<B: AutodiffBackend<InnerBackend = I>>(
        &mut self,
        network: Network<B>,
        gradients: &B::Gradients,
        rate: f64,
    ) -> Network<B> {
        match self {
            Optimising::Adam(adam, config) => adam.step::<B, _>(network, gradients, rate, config).0,
            Optimising::Sgd(sgd) => sgd.step::<B, _>(network, gradients, rate),
        }
    }

    /// Adds its tensors to a checkpoint; also gives the updates so far, where these count.
    fn store(&self, parts: &mut Parts) -> u64 {
        match self {
            Optimising::Adam(adam, _) => {
                parts.named("first", &adam.first);
                parts.named("second", &adam.second);
                adam.updates
            }
            Optimising::Sgd(sgd) => {
                parts.named("velocity", &sgd.velocities);
                0
            }
        }
    }

    /// Takes back what [`Optimising::store`] gave.
    fn restore(&mut self, file: &Checkpoint, updates: u64, device: &I::Device) {
        match self {
            Optimising::Adam(adam, _) => {
                *adam = Adam { updates, first: file.named("first", device), second: file.named("second", device) };
            }
            Optimising::Sgd(sgd) => sgd.velocities = file.named("velocity", device),
        }
    }
}

/// The learning rate at a share of the run: the authors' falls at the same shares of the whole, or the common cosine.
pub fn rate(recipe: &Recipe, setting: Setting, progress: f64) -> f64 {
    if setting == Setting::Common {
        return COMMON_RATE * cosine(progress);
    }
    let Decay { factor, every, floor } = recipe.decay;
    let falls_in_all = match (recipe.length, every) {
        (Span::Steps(length), Span::Steps(every)) => length as f64 / every as f64,
        (Span::Epochs(length), Span::Epochs(every)) => length / every,
        // No recipe mixes the two.
        _ => 0.0,
    };
    (recipe.rate * factor.powi((progress * falls_in_all) as i32)).max(floor)
}

/// Trains one entrant, from the checkpoint that an earlier call left, if it did.
///
/// # Errors
/// `Cancelled` when stopped, `Internal` when a loss is no number any more, `BadUsage` for the checkpoint of another run,
/// `Io` for one that cannot be read or written, otherwise as the data.
#[allow(clippy::too_many_arguments, reason = "a run is all of these")]
pub fn learn<B: AutodiffBackend>(
    entrant: Entrant,
    protocol: &Protocol,
    drawing: Arc<Drawing>,
    validation: &Exam,
    inputs: &Inputs,
    device: &B::Device,
    stop: &AtomicBool,
    watch: &mut Watch,
) -> Result<Learnt<B::InnerBackend>> {
    let recipe = entrant.system.recipe();
    let (classes, rows) = (drawing.classes(), drawing.rows());
    let batch = if entrant.setting == Setting::Common { COMMON_BATCH } else { recipe.batch };
    let (pictures_in_all, minutes_in_all) = match protocol.budget {
        Budget::Pictures(count) => (count as f64, f64::INFINITY),
        Budget::Epochs(epochs) => ((rows as f64 * epochs).max(1.0), f64::INFINITY),
        Budget::Minutes(minutes) => (f64::INFINITY, minutes),
    };
    let (mut run, pretrained) = Run::<B>::begin(entrant, protocol, classes, inputs, device)?;
    let making = drawing.clone();
    let mut loader = Loader::of(run.step, AHEAD, inputs.loader_threads, move |step| making.batch(step, batch))?;
    let path = checkpoint_path(&entrant, &inputs.out);
    let mut saved = Instant::now();
    loop {
        let progress = (run.pictures as f64 / pictures_in_all).max(run.elapsed_s() / 60.0 / minutes_in_all);
        let due = (progress * MEASUREMENTS as f64) as u64;
        if due > run.measured {
            run.measured = due;
            let judged = run.competitor.judged();
            let found = self::accuracy(&judged, validation, device);
            watch(progress.min(1.0), run.loss, Some(found));
            // Of equals the later one: it has learnt more, and its running statistics have seen more.
            if run.best.as_ref().is_none_or(|(so_far, _)| found >= *so_far) {
                run.best = Some((found, judged));
            }
        }
        if progress >= 1.0 {
            break;
        }
        let stopped = stop.load(Ordering::Relaxed);
        if stopped || saved.elapsed().as_secs_f64() >= 60.0 * CHECKPOINT_MINUTES {
            run.save(&path, Identity::of(&entrant, protocol, inputs))?;
            saved = Instant::now();
        }
        if stopped {
            return Err(Error::new(ErrorKind::Cancelled, format!("stopped while {} learnt", entrant.system.name())));
        }
        let made = loader.next_batch()?;
        // Dropout and the capsules' noise come from burn's one generator.
        B::seed(device, at(protocol.seed, Stream::Noise, made.step, 0).random());
        let unit = Tensor::from_inner(input::batch_unit::<B::InnerBackend>(&made.crops, device));
        let (loss, parts) = run.competitor.loss(unit, targets::<B>(&made.labels, classes, 0.0, device));
        let gradients = loss.clone().backward();
        let rate = rate(&recipe, entrant.setting, progress);
        let network = run.optimising.step::<B>(run.competitor.network, &gradients, rate);
        run.competitor = Competitor { network, ..run.competitor }.project();
        run.loss = scalar(loss);
        if !run.loss.is_finite() {
            let message = format!("expected a finite loss, found {} after {} pictures", run.loss, run.pictures);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        run.step += 1;
        run.pictures += made.crops.len() as u64;
        // Three losses: GRnet with AFM.
        if let [_, spatial, residual] = &parts[..] {
            run.streams.add(scalar(spatial.clone()), scalar(residual.clone()), made.crops.len() as u64);
            run.competitor.grnet.w_spatial = run.streams.weight(rows).unwrap_or(run.competitor.grnet.w_spatial);
        }
        watch(progress, run.loss, None);
    }
    let (pictures, seconds) = (run.pictures, run.elapsed_s());
    let (validation_acc, competitor) = run.best.expect("the end of a run is a measurement");
    Ok(Learnt { competitor, validation_acc, pictures, seconds, pretrained })
}

/// A run under way.
struct Run<B: AutodiffBackend> {
    competitor: Competitor<B>,
    optimising: Optimising<B::InnerBackend>,
    streams: StreamLosses,
    /// Accuracy on the validation rows and network of the best measurement.
    best: Option<(f64, Competitor<B::InnerBackend>)>,
    step: u64,
    pictures: u64,
    /// Measurements done.
    measured: u64,
    /// Loss of the last step.
    loss: f64,
    /// Seconds of earlier sessions.
    before_s: f64,
    started: Instant,
}

impl<B: AutodiffBackend> Run<B> {
    /// A fresh run, or the one in the checkpoint; and whether it starts from ImageNet weights.
    fn begin(
        entrant: Entrant,
        protocol: &Protocol,
        classes: usize,
        inputs: &Inputs,
        device: &B::Device,
    ) -> Result<(Self, bool)> {
        // Capsule's VGG weights cannot be had here: its front learns with the rest.
        let fresh = entrant.system.init::<B>(classes, protocol.side_px, false, device)?.started(protocol.seed)?;
        let (competitor, pretrained) = match &inputs.imagenet {
            Some(bytes) => fresh.with_imagenet_resnet(bytes, device)?,
            None => (fresh, false),
        };
        let mut run = Run {
            competitor,
            optimising: Optimising::new(&entrant.system.recipe(), entrant.setting),
            streams: StreamLosses::default(),
            best: None,
            step: 0,
            pictures: 0,
            measured: 0,
            loss: 0.0,
            before_s: 0.0,
            started: Instant::now(),
        };
        let path = checkpoint_path(&entrant, &inputs.out);
        if path.exists() {
            run.load(&path, &Identity::of(&entrant, protocol, inputs), device)?;
        }
        Ok((run, pretrained))
    }

    fn elapsed_s(&self) -> f64 {
        self.before_s + self.started.elapsed().as_secs_f64()
    }

    fn save(&self, path: &Path, identity: Identity) -> Result<()> {
        let mut parts = Parts::default();
        parts.module::<B, _>("network", &self.competitor.network);
        if let Some((_, best)) = &self.best {
            parts.module::<B::InnerBackend, _>("best", &best.network);
        }
        let updates = self.optimising.store(&mut parts);
        let best_bits = self.best.as_ref().map(|(accuracy, best)| [*accuracy, best.grnet.w_spatial].map(f64::to_bits));
        let state = State {
            identity,
            step: self.step,
            pictures: self.pictures,
            measured: self.measured,
            updates,
            elapsed_s: self.elapsed_s(),
            w_spatial_bits: self.competitor.grnet.w_spatial.to_bits(),
            stream_sum_bits: self.streams.sums.map(f64::to_bits),
            stream_steps: self.streams.steps,
            stream_pictures: self.streams.pictures,
            best_bits,
        };
        parts.write(path, &state)
    }

    fn load(&mut self, path: &Path, identity: &Identity, device: &B::Device) -> Result<()> {
        let file = Checkpoint::read(path)?;
        let state: State = file.state()?;
        if state.identity != *identity {
            let message =
                format!("expected the checkpoint of this protocol and data, found another in {}", path.display());
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        let competitor = &mut self.competitor;
        if let Some([accuracy, w_spatial]) = state.best_bits.map(|bits| bits.map(f64::from_bits)) {
            let blank = competitor.judged();
            let network = file.module::<B::InnerBackend, _>("best", blank.network)?;
            self.best =
                Some((accuracy, Competitor { network, grnet: GrNetConfig { w_spatial, ..blank.grnet }, ..blank }));
        }
        competitor.network = file.module::<B, _>("network", competitor.network.clone())?;
        competitor.grnet.w_spatial = f64::from_bits(state.w_spatial_bits);
        self.optimising.restore(&file, state.updates, device);
        let sums = state.stream_sum_bits.map(f64::from_bits);
        self.streams = StreamLosses { sums, steps: state.stream_steps, pictures: state.stream_pictures };
        (self.step, self.pictures, self.measured) = (state.step, state.pictures, state.measured);
        self.before_s = state.elapsed_s;
        Ok(())
    }
}

/// What a checkpoint keeps besides tensors. Numbers that must come back exactly are kept as bits: JSON readers round.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    identity: Identity,
    step: u64,
    pictures: u64,
    measured: u64,
    /// Updates of Adam.
    updates: u64,
    elapsed_s: f64,
    w_spatial_bits: u64,
    stream_sum_bits: [u64; 2],
    stream_steps: u64,
    stream_pictures: u64,
    /// Accuracy and stream weight of the best network.
    best_bits: Option<[u64; 2]>,
}

/// Which run a checkpoint is of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Identity {
    system: String,
    task: Task,
    setting: Setting,
    protocol: Protocol,
    data_sha256: Vec<String>,
}

impl Identity {
    fn of(entrant: &Entrant, protocol: &Protocol, inputs: &Inputs) -> Self {
        Identity {
            system: entrant.system.name(),
            task: entrant.task,
            setting: entrant.setting,
            protocol: protocol.clone(),
            data_sha256: inputs.data_sha256.clone(),
        }
    }
}

/// Where a run that was stopped stands; gone when it is complete.
pub fn checkpoint_path(entrant: &Entrant, out: &Path) -> PathBuf {
    entrant.folder(out).join("checkpoint.safetensors")
}

fn scalar<B: Backend>(value: Tensor<B, 1>) -> f64 {
    value.into_data().convert::<f32>().iter::<f32>().map(f64::from).sum()
}

/// Share of the pictures whose likeliest class is theirs.
fn accuracy<B: Backend>(competitor: &Competitor<B>, exam: &Exam, device: &B::Device) -> f64 {
    let rows = class_probabilities(&competitor.clone().folded(), &exam.crops, JUDGED_TOGETHER, device);
    let right = rows.iter().zip(&exam.truth).filter(|(row, truth)| argmax(row) == **truth).count();
    right as f64 / exam.truth.len() as f64
}

impl<B: AutodiffBackend> Competitor<B> {
    /// The same without what learning needs.
    fn judged(&self) -> Competitor<B::InnerBackend> {
        let network = self.network.valid();
        Competitor { system: self.system, network, grnet: self.grnet.clone(), mte: self.mte.clone() }
    }
}

/// Sums of GRnet's stream losses over an epoch.
#[derive(Default)]
struct StreamLosses {
    sums: [f64; 2],
    steps: u64,
    pictures: u64,
}

impl StreamLosses {
    fn add(&mut self, spatial: f64, residual: f64, pictures: u64) {
        self.sums = [self.sums[0] + spatial, self.sums[1] + residual];
        self.steps += 1;
        self.pictures += pictures;
    }

    /// The spatial stream's weight (paper, eq. 14) at the end of an epoch of `rows` pictures; none in between.
    fn weight(&mut self, rows: u64) -> Option<f64> {
        if self.pictures < rows {
            return None;
        }
        let [spatial, residual] = self.sums.map(|sum| sum / self.steps as f64);
        *self = StreamLosses::default();
        Some(stream_weights(spatial, residual).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::compare::system::System;

    #[test]
    fn rates_fall_where_the_authors_let_them() {
        let at = |system: System, progress| rate(&system.recipe(), Setting::Authors, progress);
        // Meso: a tenth after each of four quarters, never under 1e-6.
        let meso = [0.0, 0.3, 0.6, 0.9, 1.0].map(|progress| at(System::Meso4, progress));
        for (found, expected) in meso.into_iter().zip([1e-3, 1e-4, 1e-5, 1e-6, 1e-6]) {
            assert!((found - expected).abs() < 1e-9, "{meso:?}");
        }
        // MISLnet: halved twelve times in 675,200 iterations.
        assert!((at(System::MislNet, 0.51) - 1e-3 * 0.5f64.powi(6)).abs() < 1e-12);
        assert_eq!(at(System::Capsule, 0.9), 5e-4);
        let common = |progress| rate(&System::Meso4.recipe(), Setting::Common, progress);
        assert!((common(0.5) - 0.5 * COMMON_RATE).abs() < 1e-12 && common(1.0) < 1e-12);
    }

    #[test]
    fn stream_weights_follow_the_losses_once_an_epoch() {
        let mut losses = StreamLosses::default();
        losses.add(0.7, 0.3, 60);
        assert_eq!(losses.weight(100), None);
        losses.add(0.7, 0.3, 60);
        let weight = losses.weight(100).unwrap();
        assert!((weight - stream_weights(0.7, 0.3).0).abs() < 1e-12 && weight < 0.5);
        assert_eq!(losses.weight(100), None);
    }
}
