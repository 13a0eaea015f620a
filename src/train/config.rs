//! Everything that decides a training run, as a TOML file with defaults; the effective configuration is saved with the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::infer::architecture::{GrNetConfig, GuidedFilterConfig};
use crate::picture::crop::CROP_MARGIN;
use crate::train::looks::augment::AugmentConfig;
use crate::train::looks::degrade::{DegradeConfig, Tier};
use crate::train::looks::forge::ForgeConfig;
use crate::{Error, ErrorKind, Result};

/// A training run. The same configuration, data and seed give the same losses on the CPU, unless `minutes` decides the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Decides every draw.
    pub seed: u64,
    /// What the model is called in its file.
    pub name: String,
    /// What is told apart.
    pub task: Task,
    /// Steps of the run. With `minutes` set: at most so many.
    pub steps: u64,
    /// Minutes of training after which the run ends, schedules spread over them. 0: `steps` alone decide.
    pub minutes: f64,
    /// Pictures a step, half real and half fake.
    pub batch: usize,
    /// The architecture and the residual.
    pub model: ModelConfig,
    /// Losses and what is learnt.
    pub learn: LearnConfig,
    /// Which pictures are drawn.
    pub sampling: SamplingConfig,
    /// How crops are moved.
    pub augment: AugmentConfig,
    /// How pictures are degraded.
    pub degrade: DegradeConfig,
    /// How fakes are made from real pictures.
    pub forge: ForgeConfig,
    /// How progress is measured.
    pub validate: ValidateConfig,
    /// Minutes between checkpoints.
    pub checkpoint_minutes: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            seed: 1,
            name: "grnet".into(),
            task: Task::default(),
            steps: 2000,
            minutes: 0.0,
            batch: 32,
            model: ModelConfig::default(),
            learn: LearnConfig::default(),
            sampling: SamplingConfig::default(),
            augment: AugmentConfig::default(),
            degrade: DegradeConfig::default(),
            forge: ForgeConfig::default(),
            validate: ValidateConfig::default(),
            checkpoint_minutes: 5.0,
        }
    }
}

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Fake or not.
    #[default]
    Binary,
    /// One class for each generator of the training split, and one for each way of making fakes on the fly.
    Generator,
}

/// The architecture and the residual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Side of the network's input, a multiple of 32; what the model file says.
    pub input_px: usize,
    /// Side of the crop, in sides of the face's box; what the model file says. Training draws crops about it
    /// ([`AugmentConfig::zoom`]).
    pub crop_margin: f32,
    /// Smaller inputs early on: pairs of (share of the run, side), in order. Empty: `input_px` throughout.
    pub growth: Vec<(f64, usize)>,
    /// Fusion and attention. The number of classes follows from the task and the data.
    pub network: GrNetConfig,
    /// The gain of the residual is measured on real pictures (1 / standard deviation) instead of taken from `network`.
    pub measure_gain: bool,
    /// The guided filter.
    pub mte: GuidedFilterConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            input_px: 128,
            crop_margin: CROP_MARGIN,
            growth: Vec::new(),
            network: GrNetConfig::default(),
            measure_gain: true,
            mte: GuidedFilterConfig::default(),
        }
    }
}

/// How the learning rate moves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// The paper's: times `gamma` after every epoch.
    Exponential {
        /// Factor an epoch.
        gamma: f64,
    },
    /// Down to zero along half a cosine.
    Cosine,
    /// Always the same.
    Constant,
}

/// Which optimiser; both are Adam, they differ in where the weight decay goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimiser {
    /// Weight decay is part of the gradient (the paper's).
    Adam,
    /// Weight decay is apart from it.
    AdamW,
}

/// What the trunks compute in; weights, heads, losses and the optimiser are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compute {
    /// 32 bits throughout.
    F32,
    /// bfloat16 (8 bits of mantissa, the range of f32, so that no loss needs scaling): half the memory of the maps, and faster
    /// where the device computes in it: 1.6 times the steps by LibTorch on a CPU with AVX-512 BF16 (docs/training-log.md).
    Bf16,
}

/// Losses and what is learnt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnConfig {
    /// Adam or AdamW.
    pub optimiser: Optimiser,
    /// Highest learning rate.
    pub rate: f64,
    /// How it moves.
    pub schedule: Schedule,
    /// Steps over which it first rises from zero.
    pub warm_up_steps: u64,
    /// Decay rates of the moments.
    pub betas: [f64; 2],
    /// Weight decay.
    pub weight_decay: f64,
    /// The norm of all gradients together is cut to this; 0 leaves them.
    pub clip_norm: f64,
    /// Decay of the averaged weights per step; 0: none are kept. Validated and exported are the averaged ones.
    pub average: f64,
    /// Weight of each stream's own loss beside that of the fused classifier.
    pub stream_loss: f64,
    /// Weight of the manipulation map's loss; 0: not supervised. Where it is known which part of a picture was made (none
    /// of an untouched one, the blend mask of a self-blended one, all of an up-sampled one), every place of the last
    /// feature map is asked for it through the fused classifier (see [`crate::train::nn::cam`]).
    pub map_loss: f64,
    /// Targets are (this / 2) and 1 - (this / 2) instead of 0 and 1.
    pub label_smoothing: f64,
    /// Steps of an epoch: after each the stream weights follow the losses (paper, eq. 14), and the exponential schedule.
    pub epoch_steps: u64,
    /// Share of the old stream weight that is kept at each update; the paper keeps nothing.
    pub stream_weight_smoothing: f64,
    /// Normalisation layers keep their statistics.
    pub freeze_norm: bool,
    /// Batches that the normalisation layers see before their statistics are frozen; where they are not, before averaged
    /// weights are measured or kept.
    pub settle_steps: u64,
    /// So many first stages (1: the stem, 2: also layer1, ...) do not learn at first.
    pub freeze_stages: usize,
    /// Until this share of the run; 1 for throughout.
    pub freeze_until: f64,
    /// What the trunks compute in while training; measurements are f32.
    pub compute: Compute,
}

impl Default for LearnConfig {
    fn default() -> Self {
        LearnConfig {
            optimiser: Optimiser::AdamW,
            rate: 3e-4,
            schedule: Schedule::Cosine,
            warm_up_steps: 100,
            betas: [0.9, 0.999],
            weight_decay: 1e-4,
            clip_norm: 1.0,
            average: 0.998,
            stream_loss: 1.0,
            map_loss: 0.0,
            label_smoothing: 0.0,
            epoch_steps: 200,
            stream_weight_smoothing: 0.0,
            freeze_norm: true,
            settle_steps: 0,
            freeze_stages: 0,
            freeze_until: 0.0,
            compute: Compute::F32,
        }
    }
}

/// Which pictures are drawn. Shares need not sum to one. A source of the data without a share is not drawn (and named in
/// the log); with no shares at all, all sources of a class weigh the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// Share of each source of real pictures.
    pub reals: BTreeMap<String, f64>,
    /// Share of each source of fakes among those not made on the fly.
    pub fakes: BTreeMap<String, f64>,
    /// Share of each family (column `set`) in its class, instead of shares by source: drawn are a family, a source of it (its
    /// weight is the square root of its pictures), a picture.
    pub families: BTreeMap<String, f64>,
    /// Share of the fakes that are self-blended.
    pub self_blended: f64,
    /// Share of the fakes that carry up-sampling traces.
    pub up_sampled: f64,
    /// Families, sources and generators that are kept out of training, to see how unseen ones fare.
    pub leave_out: Vec<String>,
}

/// How progress is measured: on a fixed draw from the validation split, with fixed degradations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidateConfig {
    /// Steps between measurements.
    pub every_steps: u64,
    /// Pictures of each source.
    pub per_source: usize,
    /// Degradations.
    pub tiers: Vec<Tier>,
    /// The run ends after so many measurements without a better one; 0: never.
    pub patience: usize,
    /// Only sources without training rows are measured on, where both classes have some: what users meet is none that was
    /// trained on.
    pub unseen: bool,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        ValidateConfig {
            every_steps: 200,
            per_source: 40,
            tiers: vec![Tier::Raw, Tier::Web, Tier::Hard, Tier::Avatar],
            patience: 0,
            unseen: false,
        }
    }
}

impl TrainConfig {
    /// Reads a TOML document; what it does not name keeps its default.
    ///
    /// # Errors
    /// `BadUsage` for unknown names, wrong types and values out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let config: TrainConfig = toml::from_str(text)
            .map_err(|e| Error::caused(ErrorKind::BadUsage, "expected a training configuration in TOML", e))?;
        config.validate()?;
        Ok(config)
    }

    /// The document that [`TrainConfig::parse`] reads.
    ///
    /// # Errors
    /// `Internal`, when a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::caused(ErrorKind::Internal, "cannot write the configuration", e))
    }

    /// Checks ranges that the types do not.
    ///
    /// # Errors
    /// `BadUsage`, naming the value.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, what: &str, found: String| {
            if good { Ok(()) } else { Err(Error::new(ErrorKind::BadUsage, format!("expected {what}, found {found}"))) }
        };
        let batch = self.batch;
        check(batch >= 2 && batch.is_multiple_of(2), "an even batch of at least 2", batch.to_string())?;
        check(self.steps > 0, "at least one step", self.steps.to_string())?;
        let sides = self.model.growth.iter().map(|(_, px)| *px).chain([self.model.input_px]);
        for px in sides {
            check(
                px.is_multiple_of(32) && (32..=512).contains(&px),
                "sides as multiples of 32 up to 512",
                px.to_string(),
            )?;
        }
        let margin = self.model.crop_margin;
        check((1.0..=3.0).contains(&margin), "a crop margin in 1..=3", margin.to_string())?;
        let growth = self.model.growth.iter().map(|(share, _)| *share).collect::<Vec<_>>();
        check(growth.is_sorted(), "growth in the order of its shares", format!("{growth:?}"))?;
        let learn = &self.learn;
        check(learn.rate > 0.0 && learn.rate < 1.0, "a learning rate in 0..1", learn.rate.to_string())?;
        check((0.0..1.0).contains(&learn.average), "an averaging decay in 0..1", learn.average.to_string())?;
        check(learn.epoch_steps > 0, "at least one step an epoch", learn.epoch_steps.to_string())?;
        check(learn.freeze_stages <= 5, "at most 5 frozen stages", learn.freeze_stages.to_string())?;
        let made = self.sampling.self_blended + self.sampling.up_sampled;
        let whole = self.sampling.self_blended >= 0.0 && self.sampling.up_sampled >= 0.0 && made <= 1.0;
        check(whole, "self_blended + up_sampled in 0..=1", made.to_string())?;
        let sampling = &self.sampling;
        let by_source = !sampling.reals.is_empty() || !sampling.fakes.is_empty();
        check(!by_source || sampling.families.is_empty(), "shares of sources or of families", "both".into())?;
        let shares = sampling.reals.iter().chain(&sampling.fakes).chain(&sampling.families);
        for (source, share) in shares {
            check(share.is_finite() && *share >= 0.0, "shares of at least 0", format!("{share} for {source}"))?;
        }
        check(!self.validate.tiers.is_empty() && self.validate.every_steps > 0, "a validation tier", "none".into())?;
        self.model.mte.validate()
    }

    /// The side of the network's input at a share of the run.
    pub fn side_px(&self, progress: f64) -> usize {
        let stage = self.model.growth.iter().find(|(until, _)| progress < *until);
        stage.map_or(self.model.input_px, |(_, px)| *px)
    }

    /// The learning rate at a step that is `progress` (0..1) into the run.
    pub fn rate(&self, step: u64, progress: f64) -> f64 {
        let learn = &self.learn;
        let scheduled = match learn.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => cosine(progress),
            Schedule::Exponential { gamma } => gamma.powi((step / learn.epoch_steps) as i32),
        };
        let rise = if step < learn.warm_up_steps { (step + 1) as f64 / learn.warm_up_steps as f64 } else { 1.0 };
        learn.rate * scheduled * rise
    }
}

/// Half a cosine: 1 at the start of a run, 0 at its end; `progress` is 0..1.
pub fn cosine(progress: f64) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::learn::bench::Bench;

    #[test]
    fn the_defaults_survive_toml() {
        let config = TrainConfig::default();
        assert_eq!(TrainConfig::parse(&config.to_toml().unwrap()).unwrap(), config);
        assert_eq!(TrainConfig::parse("").unwrap(), config);
    }

    #[test]
    fn wrong_values_and_names_are_refused() {
        for (text, word) in [
            ("batch = 3", "even batch"),
            ("bach = 32", "bach"),
            ("[model]\ninput_px = 100", "multiples of 32"),
            ("[sampling]\nself_blended = 0.8\nup_sampled = 0.4", "self_blended"),
            ("[learn]\nrate = 0.0", "learning rate"),
            ("[model]\ncrop_margin = 0.5", "crop margin"),
            ("[sampling.families]\ngan = 1.0\n[sampling.fakes]\nsd21 = 1.0", "of families"),
        ] {
            let error = TrainConfig::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::BadUsage);
            assert!(error.full_message().contains(word), "{}", error.full_message());
        }
    }

    #[test]
    fn the_recipe_and_its_bench_are_readable() {
        let recipe = include_str!("../../configs/seventh.toml");
        let config = TrainConfig::parse(recipe).unwrap();
        let margins = config.augment.zoom.map(|zoom| zoom * config.model.crop_margin);
        assert!(margins[0] < 1.2 && margins[1] > 1.7, "{margins:?}");
        let runs = Bench::parse(include_str!("../../configs/bench.toml")).unwrap().runs(recipe).unwrap();
        assert!(runs.len() >= 9 && runs.iter().all(|run| !run.config.sampling.leave_out.is_empty()));
    }

    #[test]
    fn rates_rise_and_fall() {
        let mut config = TrainConfig::default();
        assert!(config.rate(0, 0.0) < config.rate(50, 0.0));
        assert!((config.rate(1000, 0.5) - 1.5e-4).abs() < 1e-12);
        assert!(config.rate(2000, 1.0) < 1e-12);
        config.learn.schedule = Schedule::Exponential { gamma: 0.9 };
        assert!((config.rate(400, 0.2) - 3e-4 * 0.81).abs() < 1e-12);
    }

    #[test]
    fn sides_grow() {
        let mut config = TrainConfig::default();
        config.model.growth = vec![(0.3, 64), (0.6, 96)];
        assert_eq!([0.0, 0.3, 0.59, 0.6, 1.0].map(|share| config.side_px(share)), [64, 96, 96, 128, 128]);
    }
}
