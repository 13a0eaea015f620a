//! The training run: steps, measurements, checkpoints. Generic over the backend; files go to one folder.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn::module::{AutodiffModule, Module};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor};
use serde::Serialize;

use super::checkpoint::{self, Learner, State};
pub use super::folder::RunFolder;
use super::folder::cannot_use;
use super::loss::{cross_entropy, map_loss, targets};
use super::optim::{Adam, freeze_stages, move_average};
use super::start::Start;
use crate::model::{ModelFile, ModelMeta, Precision, sha256_hex};
use crate::train::backend::learning_trunk;
use crate::train::config::{Compute, TrainConfig};
use crate::train::data::batch::{Batch, BatchMaker, Loader};
use crate::train::data::classes::Classes;
use crate::train::data::pack::{MANIFEST_FILE, Pack};
use crate::train::data::sampler::Sampler;
use crate::train::files::write_atomically;
use crate::train::formats::export::finish_model;
use crate::train::measure::curves;
use crate::train::measure::validate::{Validation, ValidationSet};
use crate::train::nn::GrNet;
use crate::train::nn::afm::stream_weights;
use crate::train::nn::input::{self, inputs};
use crate::train::nn::mte;
use crate::train::nn::parameters::load_trunk;
use crate::train::nn::recipe::{Scheme, started};
use crate::train::nn::resnet::ResNet18;
use crate::{Error, ErrorKind, Result};

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// Means since the last such line.
    Step(StepLine),
    /// A measurement.
    Validation {
        /// Steps done.
        step: u64,
        /// Seconds of training.
        elapsed_s: f64,
        /// The figures.
        #[serde(flatten)]
        figures: Validation,
    },
}

/// Means over the steps since the last line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StepLine {
    /// Steps done.
    pub step: u64,
    /// Seconds of training.
    pub elapsed_s: f64,
    /// Cross entropy of the fused classifier.
    pub loss_fused: f64,
    /// Of the spatial stream's head.
    pub loss_spatial: f64,
    /// Of the residual stream's head.
    pub loss_residual: f64,
    /// Norm of the gradients before clipping.
    pub gradient_norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Side of the crops.
    pub side_px: usize,
    /// Weight of the spatial stream in AFM.
    pub w_spatial: f64,
    /// Pictures a second.
    pub pictures_per_s: f64,
    /// Share of the time spent waiting for the loader.
    pub loader_share: f64,
}

/// What a run tells whoever watches it.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something worth a line of text.
    Notice(String),
    /// A step is done; `progress` is 0..1.
    Step {
        /// Share of the run.
        progress: f64,
        /// Figures of the last steps.
        line: &'a StepLine,
    },
    /// A measurement is done.
    Validation {
        /// Steps done.
        step: u64,
        /// Its figures.
        figures: &'a Validation,
        /// Whether it is the best so far.
        best: bool,
    },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps or minutes are done.
    Finished,
    /// The validation figure did not rise any more.
    NoProgress,
    /// Stopped from outside; a checkpoint was written.
    Stopped,
}

/// What a run is given besides its configuration.
#[derive(Debug)]
pub struct Inputs {
    /// Folder of a complete pack.
    pub pack: PathBuf,
    /// Folder of the run.
    pub folder: RunFolder,
    /// Weights to start from; absent: random start.
    pub start: Option<Start>,
    /// Go on from the folder's checkpoint.
    pub resume: bool,
    /// Threads of the loader.
    pub loader_threads: usize,
    /// The commit of this program, for the record.
    pub commit: String,
}

/// Steps between lines of `metrics.jsonl`.
const LINE_STEPS: u64 = 10;
/// Batches made ahead of their use.
const AHEAD: usize = 6;

/// Trains. `watch` is told of every step and measurement; `stop` ends the run after the current step.
///
/// # Errors
/// `BadData` and `BadUsage` for what cannot be trained on, `Io` for files, `Internal` when a loss is no number any more.
pub fn train<B: AutodiffBackend>(
    config: &TrainConfig,
    inputs: &Inputs,
    device: &B::Device,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Event),
) -> Result<Ending> {
    config.validate()?;
    let mut config = config.clone();
    let folder = &inputs.folder;
    let _held = folder.hold()?;
    let manifest = inputs.pack.join(MANIFEST_FILE);
    let data_sha256 = sha256_hex(&fs::read(&manifest).map_err(|e| cannot_use(&manifest, e))?);
    let pack = Pack::open(&inputs.pack)?;
    let sampler = Sampler::new(pack.entries(), &config.sampling)?;
    sampler.notices.iter().for_each(|notice| watch(Event::Notice(notice.clone())));
    let classes = Classes::new(config.task, pack.entries(), &config.sampling)?;
    config.model.network.classes = classes.names().len();
    let validation = ValidationSet::new(&pack, &config)?;
    watch(Event::Notice(format!("{} validation pictures in {} tiers", validation.len(), config.validate.tiers.len())));
    let maker = Arc::new(BatchMaker { pack, sampler, classes, config: config.clone() });
    let mut run = Run::<B>::begin(&config, inputs, device, data_sha256, &maker, watch)?;
    write_atomically(&folder.config(), config.to_toml()?.as_bytes())?;
    let ending = run.go(&maker, &validation, inputs.loader_threads, stop, watch)?;
    run.save()?;
    let model = run.model_bytes(&run.judged(&maker)?, &maker.classes, None)?;
    write_atomically(&folder.last(), &model)?;
    curves::draw(&folder.metrics(), &folder.curves())?;
    if let Some(sentence) = chance(run.state.best()) {
        watch(Event::Notice(sentence));
    }
    Ok(ending)
}

/// Below this the area under the ROC curve is a guess: of the few hundred pictures of a validation it is .5 within .03.
const CHANCE: f64 = 0.55;

/// What is to be said of a run whose best validation figure is no better than a guess.
fn chance(best: f64) -> Option<String> {
    (0.0 < best && best < CHANCE).then(|| {
        format!(
            "the validation stayed at chance (best {best:.3}, a guess is .5): this network has learnt nothing that holds for \
             other sources; look at the labels (`grnet audit`), train longer, or lower the learning rate"
        )
    })
}

/// A run under way.
struct Run<'a, B: AutodiffBackend> {
    config: TrainConfig,
    inputs: &'a Inputs,
    device: B::Device,
    learner: Learner<B>,
    state: State,
    /// Seconds of earlier sessions.
    before_s: f64,
    started: Instant,
}

impl<'a, B: AutodiffBackend> Run<'a, B> {
    /// A fresh run, or the one in the folder's checkpoint.
    fn begin(
        config: &TrainConfig,
        inputs: &'a Inputs,
        device: &B::Device,
        data_sha256: String,
        maker: &BatchMaker,
        watch: &mut dyn FnMut(Event),
    ) -> Result<Self> {
        let mut config = config.clone();
        let mut network = started(config.model.network.init::<B>(device), Scheme::He, config.seed)?;
        let path = inputs.folder.checkpoint();
        if path.exists() && !inputs.resume {
            let message =
                format!("expected a folder without a run, found {}: resume it or take another", path.display());
            return Err(Error::new(ErrorKind::BadUsage, message));
        }
        let average = config.learn.average;
        let averaged = |network: &GrNet<B>| (average > 0.0).then(|| network.valid());
        let (mut learner, state);
        if inputs.resume {
            let blank = Learner { average: averaged(&network), network, adam: Adam::default() };
            (learner, state) = checkpoint::load(&path, blank, device)?;
            if state.data_sha256 != data_sha256 {
                watch(Event::Notice("the data differ from those the run began with".into()));
            }
        } else {
            match &inputs.start {
                Some(Start::Model(model)) => {
                    network = model.fill(network)?;
                    watch(Event::Notice(format!("starts from the model {}", model.meta.name)));
                    adopt(&mut config, model, watch);
                }
                other => {
                    if let Some(Start::Trunk(tensors)) = other {
                        network.spatial = load_trunk(network.spatial, tensors)?;
                        network.residual = load_trunk(network.residual, tensors)?;
                    }
                    if config.model.measure_gain {
                        config.model.network.residual_gain = measure_gain::<B>(maker, &config, device)?;
                    }
                    if config.learn.freeze_norm {
                        settle_norm(&network, maker, &config, config.side_px(0.0), device)?;
                    }
                }
            }
            learner = Learner { average: averaged(&network), network, adam: Adam::default() };
            let model = &config.model.network;
            state = State::new(config.to_toml()?, data_sha256, model.w_spatial, model.residual_gain);
        }
        config.model.network.w_spatial = f64::from_bits(state.w_spatial_bits);
        config.model.network.residual_gain = f64::from_bits(state.gain_bits);
        learner.network.set_frozen_norm(config.learn.freeze_norm);
        watch(Event::Notice(format!(
            "{} parameters, residual gain {:.2}, from step {}",
            learner.network.num_params(),
            config.model.network.residual_gain,
            state.step
        )));
        let before_s = state.elapsed_s;
        Ok(Run { config, inputs, device: device.clone(), learner, state, before_s, started: Instant::now() })
    }

    fn elapsed_s(&self) -> f64 {
        self.before_s + self.started.elapsed().as_secs_f64()
    }

    /// Share of the run that is done.
    fn progress(&self) -> f64 {
        let by_steps = self.state.step as f64 / self.config.steps as f64;
        let by_time = if self.config.minutes > 0.0 { self.elapsed_s() / 60.0 / self.config.minutes } else { 0.0 };
        by_steps.max(by_time)
    }

    fn go(
        &mut self,
        maker: &Arc<BatchMaker>,
        validation: &ValidationSet,
        threads: usize,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event),
    ) -> Result<Ending> {
        let folder = &self.inputs.folder;
        let mut log = folder.metrics_after(self.state.step)?;
        // Without a limit in minutes the side depends on the step alone, so that a run repeats exactly.
        let clock = Arc::new(AtomicU64::new(self.progress().to_bits()));
        let (side_clock, side_config) = (clock.clone(), self.config.clone());
        let side_px = move |step: u64| {
            let by_steps = step as f64 / side_config.steps as f64;
            let by_time =
                if side_config.minutes > 0.0 { f64::from_bits(side_clock.load(Ordering::Relaxed)) } else { 0.0 };
            side_config.side_px(by_steps.max(by_time))
        };
        let mut loader = Loader::start(maker.clone(), self.state.step, side_px, AHEAD, threads)?;
        let mut frozen = None;
        let mut means = Means::default();
        let mut saved = Instant::now();
        let mut slow_loader_told = false;
        while self.progress() < 1.0 {
            let stages =
                if self.progress() < self.config.learn.freeze_until { self.config.learn.freeze_stages } else { 0 };
            if frozen != Some(stages) {
                self.learner.network = freeze_stages(self.learner.network.clone(), stages);
                frozen = Some(stages);
            }
            let batch = loader.next_batch()?;
            let losses = self.step(&batch)?;
            clock.store(self.progress().to_bits(), Ordering::Relaxed);
            means.add(losses, &batch, std::mem::take(&mut loader.waited));
            if self.state.step.is_multiple_of(LINE_STEPS) {
                let line = means.line(self);
                write_line(&mut log, &Line::Step(line.clone()))?;
                watch(Event::Step { progress: self.progress(), line: &line });
                if line.loader_share > 0.3 && self.state.step > 5 * LINE_STEPS && !slow_loader_told {
                    slow_loader_told = true;
                    let share = 100.0 * line.loader_share;
                    watch(Event::Notice(format!(
                        "the loader is the bottleneck: the device waits {share:.0} % of the time"
                    )));
                }
                means = Means::default();
            }
            let stopped = stop.load(Ordering::Relaxed);
            let due = self.state.step.is_multiple_of(self.config.validate.every_steps) || self.progress() >= 1.0;
            if due && !stopped {
                self.measure(validation, maker, &mut log, watch)?;
                let patience = self.config.validate.patience;
                if patience > 0 && self.state.since_best >= patience {
                    return Ok(Ending::NoProgress);
                }
                means = Means::default();
            }
            if stopped {
                return Ok(Ending::Stopped);
            }
            if saved.elapsed().as_secs_f64() >= 60.0 * self.config.checkpoint_minutes {
                self.save()?;
                saved = Instant::now();
            }
        }
        Ok(Ending::Finished)
    }

    /// One update; the three losses and the gradients' norm.
    fn step(&mut self, batch: &Batch) -> Result<[f64; 4]> {
        let model = &self.config.model;
        let learn = &self.config.learn;
        let [rgb, residual] = inputs::<B::InnerBackend>(&batch.crops, &model.mte, &self.device);
        let network = &self.learner.network;
        let kind = match learn.compute {
            Compute::F32 => DType::F32,
            Compute::Bf16 => DType::BF16,
        };
        let trunk = |trunk: &ResNet18<B>, x| learning_trunk(trunk, kind, x);
        let maps = network.maps_by(trunk, &model.network, Tensor::from_inner(rgb), Tensor::from_inner(residual));
        let output = network.heads(&model.network, maps.clone());
        let targets = targets::<B>(&batch.labels, model.network.classes, learn.label_smoothing, &self.device);
        let losses =
            [output.fused, output.spatial, output.residual].map(|logits| cross_entropy(logits, targets.clone()));
        let [fused, spatial, residual] = losses.clone();
        let mut total = fused.add(spatial.add(residual).mul_scalar(learn.stream_loss));
        if learn.map_loss > 0.0 {
            let places = network.place_logits(&model.network, maps);
            total = total.add(map_loss(places, &batch.maps).mul_scalar(learn.map_loss));
        }
        let gradients = total.backward();
        let rate = self.config.rate(self.state.step, self.progress());
        let (network, norm) = self.learner.adam.step::<B, _>(self.learner.network.clone(), &gradients, rate, learn);
        self.learner.network = network;
        let [fused, spatial, residual] =
            losses.map(|l| f64::from(l.into_data().convert::<f32>().iter::<f32>().sum::<f32>()));
        if !(fused + spatial + residual).is_finite() || !norm.is_finite() {
            let message = format!(
                "expected finite losses, found {fused}, {spatial}, {residual} and a gradient norm of {norm} at step {}: lower the learning rate",
                self.state.step
            );
            return Err(Error::new(ErrorKind::Internal, message));
        }
        self.state.step += 1;
        self.state.updates = self.learner.adam.updates;
        if let Some(average) = self.learner.average.take() {
            let current = self.learner.network.valid();
            self.learner.average = Some(move_average(average, &current, learn.average, self.state.step));
        }
        self.count_epoch(spatial, residual);
        Ok([fused, spatial, residual, f64::from(norm)])
    }

    /// At the end of an epoch the stream weights follow the losses.
    fn count_epoch(&mut self, spatial: f64, residual: f64) {
        let sums = self.state.epoch_loss_bits.map(f64::from_bits);
        let (spatial, residual) = (sums[0] + spatial, sums[1] + residual);
        self.state.epoch_loss_bits = [spatial, residual].map(f64::to_bits);
        let steps = self.config.learn.epoch_steps;
        if self.state.step.is_multiple_of(steps) {
            let (fresh, _) = stream_weights(spatial / steps as f64, residual / steps as f64);
            let kept = self.config.learn.stream_weight_smoothing;
            let w_spatial = kept * self.config.model.network.w_spatial + (1.0 - kept) * fresh;
            self.config.model.network.w_spatial = w_spatial;
            self.state.w_spatial_bits = w_spatial.to_bits();
            self.state.epoch_loss_bits = [0.0f64.to_bits(); 2];
        }
    }

    /// The network that is validated and exported. Averaged weights get normalisation statistics of their own where those
    /// still moved: the average of the statistics that were gathered on the way belongs to no weights at all.
    fn judged(&self, maker: &BatchMaker) -> Result<GrNet<B::InnerBackend>> {
        let Some(average) = self.learner.average.clone() else { return Ok(self.learner.network.valid()) };
        if self.config.learn.freeze_norm {
            return Ok(average);
        }
        let network = GrNet::<B>::from_inner(average);
        settle_norm(&network, maker, &self.config, self.config.model.input_px, &self.device)?;
        Ok(network.valid())
    }

    fn measure(
        &mut self,
        validation: &ValidationSet,
        maker: &BatchMaker,
        log: &mut fs::File,
        watch: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let model = &self.config.model;
        let judged = self.judged(maker)?;
        let figures =
            validation.measure(&maker.pack, &judged.clone().folded(), &model.network, &model.mte, &self.device);
        let best = figures.worst_tier > self.state.best();
        self.state.since_best = if best { 0 } else { self.state.since_best + 1 };
        let (step, elapsed_s) = (self.state.step, self.elapsed_s());
        write_line(log, &Line::Validation { step, elapsed_s, figures: figures.clone() })?;
        watch(Event::Validation { step, figures: &figures, best });
        let folder = &self.inputs.folder;
        if best {
            self.state.best_bits = figures.worst_tier.to_bits();
            write_atomically(&folder.best(), &self.model_bytes(&judged, &maker.classes, Some(&figures))?)?;
        }
        curves::draw(&folder.metrics(), &folder.curves())
    }

    fn save(&mut self) -> Result<()> {
        self.state.elapsed_s = self.elapsed_s();
        checkpoint::save(&self.inputs.folder.checkpoint(), &self.learner, &self.state)
    }

    /// The judged network as a model file, f32, not yet calibrated.
    fn model_bytes(
        &self,
        judged: &GrNet<B::InnerBackend>,
        classes: &Classes,
        figures: Option<&Validation>,
    ) -> Result<Vec<u8>> {
        let mut meta = ModelMeta {
            name: self.config.name.clone(),
            class_names: classes.names().to_vec(),
            input_px: self.config.model.input_px,
            crop_margin: self.config.model.crop_margin,
            network: self.config.model.network.clone(),
            mte: self.config.model.mte.clone(),
            ..ModelMeta::default()
        };
        let mut record = |key: &str, value: String| meta.training.insert(key.into(), value);
        record("commit", self.inputs.commit.clone());
        record("data_sha256", self.state.data_sha256.clone());
        record("steps", self.state.step.to_string());
        record("pictures", (self.state.step * self.config.batch as u64).to_string());
        record("seed", self.config.seed.to_string());
        if let Some(figures) = figures {
            record("validation_worst_tier_auc", format!("{:.4}", figures.worst_tier));
            record("validation_worst_source_auc", format!("{:.4}", figures.worst_source));
        }
        finish_model(judged, &meta, Precision::F32)
    }
}

/// What weights of an earlier model were trained with and would not fit without.
fn adopt(config: &mut TrainConfig, model: &ModelFile, watch: &mut dyn FnMut(Event)) {
    config.model.network.residual_gain = model.meta.network.residual_gain;
    config.model.network.w_spatial = model.meta.network.w_spatial;
    if config.model.crop_margin != model.meta.crop_margin {
        let (found, used) = (model.meta.crop_margin, config.model.crop_margin);
        watch(Event::Notice(format!(
            "the start model was trained with a crop margin of {found}, this run uses {used}"
        )));
    }
    if config.model.mte != model.meta.mte {
        let (found, used) = (&model.meta.mte, &config.model.mte);
        watch(Event::Notice(format!("the start model was trained with {found:?}, this run uses {used:?}")));
    }
}

fn write_line(log: &mut fs::File, line: &Line) -> Result<()> {
    let mut text =
        serde_json::to_string(line).map_err(|e| Error::caused(ErrorKind::Internal, "a line of metrics", e))?;
    text.push('\n');
    log.write_all(text.as_bytes()).map_err(|e| Error::caused(ErrorKind::Io, "cannot write the metrics", e))
}

/// Lets the normalisation statistics see training data of `side_px`, as many batches as the configuration says, and nothing
/// else learn. Those that come with a trunk belong to photographs, and the residual looks nothing like one.
fn settle_norm<B: AutodiffBackend>(
    network: &GrNet<B>,
    maker: &BatchMaker,
    config: &TrainConfig,
    side_px: usize,
    device: &B::Device,
) -> Result<()> {
    // Without gradients: a graph that is never walked back is never freed. The clone shares the running statistics.
    let mut watching = network.clone().no_grad();
    watching.set_frozen_norm(false);
    for step in 0..config.learn.settle_steps {
        let batch = maker.batch(step, side_px)?;
        let [rgb, residual] =
            inputs::<B::InnerBackend>(&batch.crops, &config.model.mte, device).map(Tensor::from_inner);
        // Running statistics move as a side effect; the maps are of no interest.
        watching.maps_by(|trunk, x| learning_trunk(trunk, DType::F32, x), &config.model.network, rgb, residual);
    }
    Ok(())
}

/// 1 / standard deviation of the residual on the first batches, at the final size: a constant from then on.
fn measure_gain<B: AutodiffBackend>(maker: &BatchMaker, config: &TrainConfig, device: &B::Device) -> Result<f64> {
    let batch = maker.batch(0, config.model.input_px)?;
    let unit = input::batch_unit::<B::InnerBackend>(&batch.crops, device);
    let residual = mte::tensor::residual(unit, &config.model.mte);
    let values: Vec<f32> = residual.into_data().convert::<f32>().iter::<f32>().collect();
    let count = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    if variance <= 0.0 {
        return Err(Error::new(ErrorKind::BadData, "expected pictures with texture, found flat ones only"));
    }
    // Three digits: the number is a scale, and should read as one.
    let digits = 10f64.powi(2 - variance.sqrt().recip().log10().floor() as i32);
    Ok((variance.sqrt().recip() * digits).round() / digits)
}

/// Sums over the steps between two lines.
struct Means {
    since: Instant,
    steps: u64,
    pictures: usize,
    sums: [f64; 4],
    waited: Duration,
    side_px: usize,
}

impl Default for Means {
    fn default() -> Self {
        Means { since: Instant::now(), steps: 0, pictures: 0, sums: [0.0; 4], waited: Duration::ZERO, side_px: 0 }
    }
}

impl Means {
    fn add(&mut self, figures: [f64; 4], batch: &Batch, waited: Duration) {
        self.steps += 1;
        self.pictures += batch.crops.len();
        self.sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        self.waited += waited;
        self.side_px = batch.crops.first().map_or(0, |crop| crop.width);
    }

    fn line<B: AutodiffBackend>(&self, run: &Run<B>) -> StepLine {
        let seconds = self.since.elapsed().as_secs_f64();
        let mean = self.sums.map(|sum| sum / self.steps.max(1) as f64);
        StepLine {
            step: run.state.step,
            elapsed_s: run.elapsed_s(),
            loss_fused: mean[0],
            loss_spatial: mean[1],
            loss_residual: mean[2],
            gradient_norm: mean[3],
            rate: run.config.rate(run.state.step, run.progress()),
            side_px: self.side_px,
            w_spatial: run.config.model.network.w_spatial,
            pictures_per_s: self.pictures as f64 / seconds,
            loader_share: self.waited.as_secs_f64() / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_learnt_nothing_is_told_so() {
        let told = chance(0.512).expect("a sentence");
        assert!(told.contains("stayed at chance (best 0.512"), "{told}");
        // One that learnt, and one that was never measured.
        assert_eq!([chance(0.56), chance(f64::NEG_INFINITY)], [None, None]);
    }
}
