//! Progress on pictures that are not learnt from: a fixed draw of the validation split, degraded once in fixed ways, and
//! the area under the curve for every source, so that the worst source and the worst degradation are seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use rayon::prelude::*;
use serde::Serialize;

use crate::infer::architecture::{GrNetConfig, GuidedFilterConfig};
use crate::picture::Rgb8;
use crate::picture::crop;
use crate::train::config::TrainConfig;
use crate::train::data::pack::{Entry, Pack};
use crate::train::data::sampler::leaves_out;
use crate::train::data::table::{FAKE, REAL, Split};
use crate::train::looks::degrade::Tier;
use crate::train::metrics::weighted_auc;
use crate::train::nn::GrNet;
use crate::train::nn::input::inputs;
use crate::train::rng::{Stream, at};
use crate::{Error, ErrorKind, Result};

/// Pictures that go through the network together.
const BATCH: usize = 32;

/// `p_fake` by the fused classifier and by each stream's own head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Fused.
    pub fused: f32,
    /// The spatial stream alone.
    pub spatial: f32,
    /// The residual stream alone.
    pub residual: f32,
}

/// Scores crops of one size, in order.
pub fn score<B: Backend>(
    network: &GrNet<B>,
    config: &GrNetConfig,
    filter: &GuidedFilterConfig,
    crops: &[Rgb8],
    device: &B::Device,
) -> Vec<Scores> {
    let mut scores = Vec::with_capacity(crops.len());
    for batch in crops.chunks(BATCH) {
        let [rgb, residual] = inputs(batch, filter, device);
        let output = network.forward(config, rgb, residual);
        let p_fake = |logits: Tensor<B, 2>| -> Vec<f32> {
            let p_real = softmax(logits, 1).narrow(1, 0, 1).into_data().convert::<f32>();
            p_real.iter::<f32>().map(|p| 1.0 - p).collect()
        };
        let (fused, spatial, residual) = (p_fake(output.fused), p_fake(output.spatial), p_fake(output.residual));
        for ((fused, spatial), residual) in fused.into_iter().zip(spatial).zip(residual) {
            scores.push(Scores { fused, spatial, residual });
        }
    }
    scores
}

/// One picture of the validation draw.
#[derive(Debug, Clone)]
struct Sample {
    entry: usize,
    tier: Tier,
}

/// The fixed validation draw, degraded and at the network's size.
#[derive(Debug)]
pub struct ValidationSet {
    samples: Vec<Sample>,
    crops: Vec<Rgb8>,
    tiers: Vec<Tier>,
    opponents: Opponents,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// The figure that decides: the mean AUC over families (over sources where the data name none) in the worst tier.
    pub worst_tier: f64,
    /// The lowest AUC of any source in any tier.
    pub worst_source: f64,
    /// That mean, by tier.
    pub tiers: BTreeMap<String, f64>,
    /// Mean AUC over a family's sources, by tier and family; empty where the data name none.
    pub families: BTreeMap<String, BTreeMap<String, f64>>,
    /// AUC by tier and source.
    pub sources: BTreeMap<String, BTreeMap<String, f64>>,
    /// As `worst_tier`, for the spatial stream's own head.
    pub spatial: f64,
    /// As `worst_tier`, for the residual stream's own head.
    pub residual: f64,
    /// Share of reals with `p_fake` of at least one half, by source, over all tiers.
    pub flagged_reals: BTreeMap<String, f64>,
}

impl ValidationSet {
    /// Draws and degrades the pictures.
    ///
    /// # Errors
    /// `BadData` when the validation split lacks a class, `Io` when the pack cannot be read.
    pub fn new(pack: &Pack, config: &TrainConfig) -> Result<Self> {
        let entries = pack.entries();
        let mut by_source: BTreeMap<(i8, &str), Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            if entry.packed() && entry.split == Split::Val && [REAL, FAKE].contains(&entry.label) {
                by_source.entry((entry.label, &entry.source)).or_default().push(index);
            }
        }
        if config.validate.unseen {
            let learnt = |e: &&Entry| e.packed() && e.split == Split::Train && !leaves_out(&config.sampling, e);
            let learnt: BTreeSet<&str> = entries.iter().filter(learnt).map(|e| e.source.as_str()).collect();
            let unseen = |label: i8| by_source.keys().any(|(own, source)| *own == label && !learnt.contains(source));
            if unseen(REAL) && unseen(FAKE) {
                by_source.retain(|(_, source), _| !learnt.contains(source));
            }
        }
        for label in [REAL, FAKE] {
            if !by_source.keys().any(|(found, _)| *found == label) {
                let message = format!("expected validation pictures with label {label}, found none");
                return Err(Error::new(ErrorKind::BadData, message));
            }
        }
        let drawn: Vec<usize> = by_source.into_values().flat_map(|m| draw(m, config.validate.per_source)).collect();
        let opponents = Opponents::new(entries, Split::Val);
        let tiers = config.validate.tiers.clone();
        let samples: Vec<Sample> =
            tiers.iter().flat_map(|tier| drawn.iter().map(|entry| Sample { entry: *entry, tier: *tier })).collect();
        let crops =
            samples.par_iter().map(|sample| seen(pack, sample.entry, sample.tier, config)).collect::<Result<_>>()?;
        Ok(ValidationSet { samples, crops, tiers, opponents })
    }

    /// How many pictures go through the network at each measurement.
    pub fn len(&self) -> usize {
        self.crops.len()
    }

    /// Never: a set without pictures cannot be made.
    pub fn is_empty(&self) -> bool {
        self.crops.is_empty()
    }

    /// Measures a network.
    pub fn measure<B: Backend>(
        &self,
        pack: &Pack,
        network: &GrNet<B>,
        config: &GrNetConfig,
        filter: &GuidedFilterConfig,
        device: &B::Device,
    ) -> Validation {
        let scores = score(network, config, filter, &self.crops, device);
        let judge = |tier: Tier, part: fn(&Scores) -> f32| {
            let scored: Vec<(&Entry, f32)> = self
                .samples
                .iter()
                .zip(&scores)
                .filter(|(sample, _)| sample.tier == tier)
                .map(|(sample, scores)| (&pack.entries()[sample.entry], part(scores)))
                .collect();
            self.opponents.auc_by_source(&scored)
        };
        let family_of: BTreeMap<&str, &str> = self
            .samples
            .iter()
            .map(|sample| &pack.entries()[sample.entry])
            .map(|entry| (entry.source.as_str(), entry.set.as_str()))
            .collect();
        let by_family = |by_source: &BTreeMap<String, f64>| by_family(by_source, |source| family_of[source]);
        let mean = |by_source: &BTreeMap<String, f64>| {
            let families = by_family(by_source);
            mean(if families.is_empty() { by_source } else { &families })
        };
        let lowest = |values: Vec<f64>| values.into_iter().fold(f64::INFINITY, f64::min);
        let worst = |part: fn(&Scores) -> f32| lowest(self.tiers.iter().map(|t| mean(&judge(*t, part))).collect());
        let sources: BTreeMap<String, BTreeMap<String, f64>> =
            self.tiers.iter().map(|tier| (tier.name().to_string(), judge(*tier, |s| s.fused))).collect();
        let mut flags: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for (sample, scores) in self.samples.iter().zip(&scores) {
            let entry = &pack.entries()[sample.entry];
            if entry.label == REAL {
                let (flagged, all) = flags.entry(entry.source.clone()).or_default();
                *flagged += f64::from(u8::from(scores.fused >= 0.5));
                *all += 1.0;
            }
        }
        Validation {
            worst_tier: worst(|s| s.fused),
            worst_source: lowest(sources.values().flat_map(|s| s.values().copied()).collect()),
            tiers: sources.iter().map(|(tier, by_source)| (tier.clone(), mean(by_source))).collect(),
            families: sources
                .iter()
                .map(|(tier, by_source)| (tier.clone(), by_family(by_source)))
                .filter(|(_, families)| !families.is_empty())
                .collect(),
            sources,
            spatial: worst(|s| s.spatial),
            residual: worst(|s| s.residual),
            flagged_reals: flags.into_iter().map(|(source, (flagged, all))| (source, flagged / all)).collect(),
        }
    }
}

fn mean(figures: &BTreeMap<String, f64>) -> f64 {
    figures.values().sum::<f64>() / figures.len().max(1) as f64
}

/// The mean over the sources of each family; sources without one are left out.
fn by_family<'e>(by_source: &BTreeMap<String, f64>, family: impl Fn(&str) -> &'e str) -> BTreeMap<String, f64> {
    let mut families: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for (source, auc) in by_source {
        families.entry(family(source).into()).or_default().insert(source.clone(), *auc);
    }
    families.remove("");
    families.into_iter().map(|(family, sources)| (family, mean(&sources))).collect()
}

/// What the network gets to see of an entry in a degradation: its crop as the model wants it, at the network's size.
///
/// # Errors
/// `Io` when the pack cannot be read.
pub fn seen(pack: &Pack, index: usize, tier: Tier, config: &TrainConfig) -> Result<Rgb8> {
    let entry = &pack.entries()[index];
    let seen = degraded_crop(&pack.crop_at(entry, config.model.crop_margin)?, entry, tier, index)?;
    crop::resize(&seen, config.model.input_px, config.model.input_px)
}

/// A crop of an entry as it would look had the whole picture been degraded: sides are those of the picture, scaled to the
/// crop. What alternates goes by `index`.
///
/// # Errors
/// As [`crate::train::looks::degrade::Plan::apply`].
pub fn degraded_crop(crop: &Rgb8, entry: &Entry, tier: Tier, index: usize) -> Result<Rgb8> {
    use crate::train::looks::degrade::Step;
    let mut plan = tier.plan(index % 2 == 1);
    for step in &mut plan.steps {
        if let Step::Shrink { side_px, .. } = step {
            let square_px = f64::from(entry.square_px) * crop.height as f64 / entry.side_px.max(1) as f64;
            let scale = square_px / f64::from(entry.picture_px.max(1));
            *side_px = ((*side_px as f64 * scale).round() as usize).max(8);
        }
    }
    plan.apply(crop)
}

/// A fixed draw of at most `count`, the same for every run.
pub(in crate::train) fn draw(mut members: Vec<usize>, count: usize) -> Vec<usize> {
    use rand::seq::SliceRandom;
    let rng = &mut at(0, Stream::Validation, 0, members.len() as u64);
    members.shuffle(rng);
    members.truncate(count);
    members
}

/// Against which pictures a source is judged: fakes that have their originals among the reals are judged against those
/// sources only, since telling a swap from somebody else's studio portrait shows nothing.
#[derive(Debug, Clone)]
pub struct Opponents {
    /// Source of fakes -> sources of reals; fakes without originals are not in it.
    originals: HashMap<String, BTreeSet<String>>,
}

impl Opponents {
    /// Finds out by the groups of one split.
    pub fn new(entries: &[Entry], split: Split) -> Self {
        let in_split = || entries.iter().filter(|entry| entry.split == split);
        let mut reals: HashMap<&str, &str> = HashMap::new();
        in_split().filter(|e| e.label == REAL).for_each(|e| {
            reals.insert(&e.group, &e.source);
        });
        let mut found: HashMap<String, (usize, usize, BTreeSet<String>)> = HashMap::new();
        for entry in in_split().filter(|e| e.label == FAKE) {
            let (paired, all, sources) = found.entry(entry.source.clone()).or_default();
            *all += 1;
            if let Some(source) = reals.get(entry.group.as_str()) {
                *paired += 1;
                sources.insert((*source).to_string());
            }
        }
        let originals = found.into_iter().filter(|(_, (paired, all, _))| 2 * paired >= *all);
        Opponents { originals: originals.map(|(source, (.., sources))| (source, sources)).collect() }
    }

    /// AUC by source: of fakes against their opponents, of reals against all fakes; opponents weigh the same by source.
    pub fn auc_by_source(&self, scored: &[(&Entry, f32)]) -> BTreeMap<String, f64> {
        let mut counts: HashMap<(i8, &str), f64> = HashMap::new();
        for (entry, _) in scored {
            *counts.entry((entry.label, &entry.source)).or_default() += 1.0;
        }
        let mut aucs = BTreeMap::new();
        for (label, source) in counts.keys() {
            let chosen = scored.iter().filter(|(entry, _)| {
                if entry.label == *label {
                    return entry.source == *source;
                }
                *label == REAL || self.originals.get(*source).is_none_or(|sources| sources.contains(&entry.source))
            });
            let weighted: Vec<(f32, bool, f64)> = chosen
                .map(|(entry, score)| {
                    (*score, entry.label == FAKE, 1.0 / counts[&(entry.label, entry.source.as_str())])
                })
                .collect();
            if let Some(auc) = weighted_auc(&weighted) {
                aucs.insert((*source).to_string(), auc);
            }
        }
        aucs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_many_sources_weighs_no_more_than_one_of_one() {
        let sources = [("a", 0.9), ("b", 0.7), ("c", 0.6), ("lost", 0.1)].map(|(name, auc)| (name.to_string(), auc));
        let families = by_family(&sources.into(), |source| match source {
            "a" | "b" => "many",
            "c" => "one",
            _ => "",
        });
        assert_eq!(families.keys().collect::<Vec<_>>(), ["many", "one"]);
        assert!((families["many"] - 0.8).abs() < 1e-12 && (mean(&families) - 0.7).abs() < 1e-12);
    }
}
