//! The short-cut audit: how well a classifier that never sees a face tells fakes from reals, by what files happen to be like;
//! and what tells a made fake from its original besides the traces that are meant. Whatever it finds, a network finds too, and
//! learns instead of traces.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;

use super::pack::{Entry, Pack};
use super::sampler::rebuilt_from;
use super::table::{FAKE, REAL, Split};
use crate::Result;
use crate::picture::{Rgb8, crop};
use crate::train::config::TrainConfig;
use crate::train::looks::degrade::encode_jpeg;
use crate::train::looks::ring::{self, Finding, Painted};
use crate::train::looks::{detail, forge};
use crate::train::rng::{Stream, at};

/// Balanced accuracy above which a pair of sources deserves a warning.
pub const WARN_ABOVE: f64 = 0.6;
/// Pictures of each source and class that are looked at.
const PER_SOURCE: usize = 400;
/// Below so many pictures on either side an accuracy says nothing.
const FEWEST: usize = 40;
/// Depth of the decision tree.
const DEPTH: usize = 4;
/// What the network's input is encoded at to see how much detail it holds.
const PROBE_QUALITY: u8 = 75;

/// How well a fake source can be told from a real one without looking at faces.
#[derive(Debug, Clone, PartialEq)]
pub struct PairAudit {
    /// Source of fakes; `all` for the classes as a whole.
    pub fake: String,
    /// Source of reals; `all` for the classes as a whole.
    pub real: String,
    /// Balanced accuracy from the files: width, height, bytes a pixel, JPEG quality, chroma subsampling.
    pub before: f64,
    /// Balanced accuracy from what the network gets to see: bytes a pixel of the degraded crop at the network's size.
    pub after: f64,
}

impl PairAudit {
    /// Whether the network could learn a short cut here.
    pub fn suspicious(&self) -> bool {
        self.after > WARN_ABOVE
    }
}

/// What tells the fakes of one maker from their originals that should not.
#[derive(Debug, Clone, PartialEq)]
pub struct MakerAudit {
    /// What makes them: a maker on the fly, or the source of given fakes that come with their originals.
    pub maker: String,
    /// What the ring along the border tells.
    pub ring: Finding,
    /// Gradient energy of a fake over that of its original, in the median: below 1 fakes are softer.
    pub detail: f64,
    /// Share of the fakes that are softer than their original.
    pub softer: f64,
}

impl MakerAudit {
    /// Whether a network could learn the maker's slip: by the border, or because its fakes are softer or sharper throughout.
    pub fn suspicious(&self) -> bool {
        !self.ring.is_chance() || !DETAIL.contains(&self.detail)
    }
}

/// Median ratio of fine detail that passes as equal.
const DETAIL: std::ops::Range<f64> = 0.85..1.15;
/// Pairs of each maker that are looked at.
const PAIRS: usize = 600;

/// Audits the makers of fakes: those on the fly on the real training crops of a pack, and its given fakes that were made from
/// a crop in it ([`crate::train::reconstruct`]). A maker with too few pairs is left out.
///
/// # Errors
/// `Io` when the pack cannot be read.
pub fn makers(pack: &Pack, config: &TrainConfig) -> Result<Vec<MakerAudit>> {
    let entries = pack.entries();
    let reals: Vec<usize> = (0..entries.len())
        .filter(|index| {
            let entry = &entries[*index];
            entry.packed() && entry.label == REAL && entry.split == Split::Train
        })
        .collect();
    let reals: Vec<usize> = reals.iter().copied().step_by(reals.len().div_ceil(PAIRS).max(1)).collect();
    let rng = |index: usize| at(config.seed, Stream::Forging, u64::MAX - 1, index as u64);
    let mut found = Vec::new();
    found.extend(maker_audit("self_blended", Painted::Face, &reals, |index| {
        let entry = &entries[index];
        let made = forge::self_blend(&pack.crop(entry)?, &entry.place(), &config.forge, &mut rng(index))?;
        Ok([made.real, made.fake])
    })?);
    found.extend(maker_audit("up_sampled", Painted::Everything, &reals, |index| {
        let (fake, twin) = forge::up_sampling_traces(&pack.crop(&entries[index])?, &config.forge, &mut rng(index))?;
        Ok([twin, fake])
    })?);
    found.extend(maker_audit("coarse_face", Painted::Face, &reals, |index| {
        let crop = pack.crop(&entries[index])?;
        let fake = forge::coarse_face(&crop, &entries[index].place(), &mut rng(index))?;
        Ok([crop, fake])
    })?);
    let originals: HashMap<&str, usize> =
        entries.iter().enumerate().filter(|(_, e)| e.packed()).map(|(index, e)| (e.path.as_str(), index)).collect();
    let mut rebuilt: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.packed()) {
        if rebuilt_from(entry).is_some_and(|path| originals.contains_key(path)) {
            rebuilt.entry(&entry.source).or_default().push(index);
        }
    }
    for (source, mut fakes) in rebuilt {
        fakes.truncate(PAIRS);
        found.extend(maker_audit(source, Painted::Everything, &fakes, |index| {
            let original = rebuilt_from(&entries[index]).and_then(|path| originals.get(path)).copied().unwrap_or(index);
            Ok([pack.crop(&entries[original])?, pack.crop(&entries[index])?])
        })?);
    }
    Ok(found)
}

/// `make` gives the original and the fake of a place.
fn maker_audit(
    maker: &str,
    painted: Painted,
    places: &[usize],
    make: impl Fn(usize) -> Result<[Rgb8; 2]> + Sync,
) -> Result<Option<MakerAudit>> {
    let made = places.par_iter().map(|place| {
        let pair = make(*place)?;
        let detail = detail::ratio(&pair[1], &pair[0]);
        Ok((pair.map(|picture| ring::statistics(&picture)), detail))
    });
    let made: Vec<_> = made.collect::<Result<_>>()?;
    let rings: Vec<_> = made.iter().map(|(ring, _)| *ring).collect();
    let mut ratios: Vec<f64> = made.iter().filter_map(|(_, detail)| *detail).collect();
    ratios.sort_by(f64::total_cmp);
    let (Some(ring), Some(median)) = (ring::tell(&rings, painted), ratios.get(ratios.len() / 2)) else {
        return Ok(None);
    };
    let softer = ratios.iter().filter(|ratio| **ratio < 1.0).count() as f64 / ratios.len() as f64;
    Ok(Some(MakerAudit { maker: maker.into(), ring, detail: *median, softer }))
}

/// The audit of the makers as a text table.
pub fn makers_text(audits: &[MakerAudit]) -> String {
    if audits.is_empty() {
        return format!("nothing to compare: expected at least {} real training faces\n", ring::FEWEST_PAIRS);
    }
    let mut lines =
        format!("{:<20} {:>6} {:>16} {:>12} {:>8}\n", "maker", "pairs", "border auc", "fine detail", "softer");
    for audit in audits {
        let border = format!("{:.3} +- {:.3}", audit.ring.auc, audit.ring.error());
        lines += &format!(
            "{:<20} {:>6} {border:>16} {:>12.2} {:>6.0} %{}\n",
            audit.maker,
            audit.ring.pairs,
            audit.detail,
            100.0 * audit.softer,
            if audit.suspicious() { "  leaks" } else { "" }
        );
    }
    lines
}

/// One picture: what its file is like, and what the network's input is like.
struct Sample {
    label: i8,
    source: String,
    group: String,
    before: Vec<f64>,
    after: Vec<f64>,
}

/// Audits every pair of a fake and a real source of a pack, and both classes as a whole (first). Degradations, seed and
/// input size are those of `config`.
///
/// # Errors
/// `Io` when the pack cannot be read. With one class alone there is nothing to compare: no pairs.
pub fn audit(pack: &Pack, config: &TrainConfig) -> Result<Vec<PairAudit>> {
    let mut chosen: BTreeMap<(i8, &str), Vec<(usize, &Entry)>> = BTreeMap::new();
    for (index, entry) in pack.entries().iter().enumerate().filter(|(_, entry)| entry.packed()) {
        if entry.label == REAL || entry.label == FAKE {
            chosen.entry((entry.label, &entry.source)).or_default().push((index, entry));
        }
    }
    // Evenly over a source: neighbours in a table are often alike.
    let chosen: Vec<(usize, &Entry)> = chosen
        .into_values()
        .flat_map(|members| {
            let step = members.len().div_ceil(PER_SOURCE).max(1);
            members.into_iter().step_by(step)
        })
        .collect();
    let samples =
        chosen.par_iter().map(|(index, entry)| sample(pack, *index, entry, config)).collect::<Result<Vec<_>>>()?;
    let sources =
        |label| samples.iter().filter(|s| s.label == label).map(|s| s.source.as_str()).collect::<BTreeSet<_>>();
    let mut pairs = vec![("all", "all")];
    for fake in sources(FAKE) {
        pairs.extend(sources(REAL).iter().map(|real| (fake, *real)));
    }
    let of_pair = |(fake, real): (&str, &str)| {
        let belongs = |s: &&Sample| fake == "all" || s.source == if s.label == FAKE { fake } else { real };
        let members: Vec<&Sample> = samples.iter().filter(belongs).collect();
        let before = accuracy(&members, |sample| &sample.before)?;
        let after = accuracy(&members, |sample| &sample.after)?;
        Some(PairAudit { fake: fake.into(), real: real.into(), before, after })
    };
    Ok(pairs.into_par_iter().filter_map(of_pair).collect())
}

fn sample(pack: &Pack, index: usize, entry: &Entry, config: &TrainConfig) -> Result<Sample> {
    let pixels = f64::from(entry.picture_height.max(1)) * f64::from(entry.picture_width.max(1));
    let chroma = match entry.chroma.as_str() {
        "" => 0.0,
        "4:2:0" => 1.0,
        "4:2:2" => 2.0,
        "4:4:4" => 3.0,
        _ => 4.0,
    };
    let before = vec![
        f64::from(entry.picture_width),
        f64::from(entry.picture_height),
        entry.file_bytes as f64 / pixels,
        entry.jpeg_quality.map_or(0.0, f64::from),
        chroma,
    ];
    let plan = config.degrade.draw(&mut at(config.seed, Stream::Looks, u64::MAX, index as u64));
    let side_px = config.model.input_px;
    let seen = plan.apply(&pack.crop_at(entry, config.model.crop_margin)?)?;
    let seen = crop::resize(&seen, side_px, side_px)?;
    let bytes = encode_jpeg(&seen, PROBE_QUALITY, false)?.len();
    let after = vec![bytes as f64 / (side_px * side_px) as f64];
    Ok(Sample { label: entry.label, source: entry.source.clone(), group: entry.group.clone(), before, after })
}

/// Balanced accuracy on one half of the groups of a tree grown on the other half, meaned over both ways; `None` when a half
/// has too few of a class.
fn accuracy(samples: &[&Sample], features: impl Fn(&Sample) -> &[f64]) -> Option<f64> {
    let half = |wanted: bool| -> Vec<(&[f64], bool)> {
        let members = samples.iter().filter(|s| side_of(&s.group) == wanted);
        members.map(|s| (features(s), s.label == FAKE)).collect()
    };
    let halves = [half(false), half(true)];
    let enough = |half: &[(&[f64], bool)]| {
        let fakes = half.iter().filter(|(_, fake)| *fake).count();
        fakes.min(half.len() - fakes) * 2 >= FEWEST
    };
    if !halves.iter().all(|half| enough(half)) {
        return None;
    }
    let [first, second] = &halves;
    let [a, b] = [(first, second), (second, first)].map(|(grown, tested)| Tree::grow(grown, DEPTH).accuracy(tested));
    Some((a + b) / 2.0)
}

/// Which half a group is in, by its name alone.
fn side_of(group: &str) -> bool {
    group.bytes().fold(5381u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte)).count_ones() % 2 == 1
}

/// A decision tree over numbers; classes weigh the same however many members they have.
#[derive(Debug)]
enum Tree {
    Leaf(bool),
    Branch { feature: usize, below: f64, low: Box<Tree>, high: Box<Tree> },
}

impl Tree {
    fn grow(samples: &[(&[f64], bool)], depth: usize) -> Tree {
        let fakes = samples.iter().filter(|(_, fake)| *fake).count() as f64;
        let weights = [1.0 / (samples.len() as f64 - fakes).max(1.0), 1.0 / fakes.max(1.0)];
        Tree::grow_weighted(samples, weights, depth)
    }

    fn grow_weighted(samples: &[(&[f64], bool)], weights: [f64; 2], depth: usize) -> Tree {
        let total = class_weights(samples, weights);
        let leaf = Tree::Leaf(total[1] > total[0]);
        if depth == 0 || total[0].min(total[1]) <= 0.0 {
            return leaf;
        }
        let features = samples.first().map_or(0, |(values, _)| values.len());
        let best = (0..features)
            .filter_map(|feature| best_cut(samples, weights, total, feature))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, feature, below)) = best else { return leaf };
        let (low, high): (Vec<_>, Vec<_>) = samples.iter().copied().partition(|(values, _)| values[feature] < below);
        let grow = |part: Vec<_>| Box::new(Tree::grow_weighted(&part, weights, depth - 1));
        Tree::Branch { feature, below, low: grow(low), high: grow(high) }
    }

    fn says_fake(&self, values: &[f64]) -> bool {
        match self {
            Tree::Leaf(fake) => *fake,
            Tree::Branch { feature, below, low, high } => {
                if values[*feature] < *below { low } else { high }.says_fake(values)
            }
        }
    }

    fn accuracy(&self, samples: &[(&[f64], bool)]) -> f64 {
        let mut counts = [[0.0f64; 2]; 2];
        for (values, fake) in samples {
            counts[usize::from(*fake)][usize::from(self.says_fake(values) == *fake)] += 1.0;
        }
        counts.iter().map(|[wrong, right]| right / (wrong + right).max(1.0)).sum::<f64>() / 2.0
    }
}

fn class_weights(samples: &[(&[f64], bool)], weights: [f64; 2]) -> [f64; 2] {
    let mut total = [0.0; 2];
    samples.iter().for_each(|(_, fake)| total[usize::from(*fake)] += weights[usize::from(*fake)]);
    total
}

/// The cut of one feature with the least Gini impurity: (impurity, feature, threshold).
fn best_cut(
    samples: &[(&[f64], bool)],
    weights: [f64; 2],
    total: [f64; 2],
    feature: usize,
) -> Option<(f64, usize, f64)> {
    let mut sorted: Vec<(f64, usize)> =
        samples.iter().map(|(values, fake)| (values[feature], usize::from(*fake))).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut low = [0.0; 2];
    let mut best: Option<(f64, usize, f64)> = None;
    for pair in sorted.windows(2) {
        low[pair[0].1] += weights[pair[0].1];
        if pair[0].0 == pair[1].0 {
            continue;
        }
        let gini = |part: [f64; 2]| 2.0 * part[0] * part[1] / (part[0] + part[1]).max(f64::MIN_POSITIVE);
        let impurity = gini(low) + gini([total[0] - low[0], total[1] - low[1]]);
        if best.is_none_or(|(least, ..)| impurity < least) {
            best = Some((impurity, feature, (pair[0].0 + pair[1].0) / 2.0));
        }
    }
    best
}

/// The audit as a text table, worst pairs first, with a warning where the network could learn a short cut.
pub fn text(audits: &[PairAudit]) -> String {
    if audits.is_empty() {
        return format!(
            "nothing to compare: no pair of a real and a fake source has {FEWEST} pictures on either side\n"
        );
    }
    let mut lines = format!("{:<18} {:<18} {:>7} {:>9}\n", "fakes of", "against reals of", "files", "net input");
    let mut sorted: Vec<&PairAudit> = audits.iter().collect();
    sorted.sort_by(|a, b| b.after.total_cmp(&a.after));
    for pair in &sorted {
        let mark = if pair.suspicious() { "  short cut" } else { "" };
        lines += &format!(
            "{:<18} {:<18} {:>6.1}% {:>8.1}%{mark}\n",
            pair.fake,
            pair.real,
            100.0 * pair.before,
            100.0 * pair.after
        );
    }
    let suspicious = sorted.iter().filter(|pair| pair.suspicious()).count();
    if suspicious > 0 {
        lines += &format!(
            "warning: {suspicious} of {} pairs can be told apart in more than {:.0} % without looking at a face, even after\n\
             the training degradations; balance sources or crops, and read figures by source\n",
            sorted.len(),
            100.0 * WARN_ABOVE
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_finds_a_band_and_nothing_in_noise() {
        let noise = |i: usize| ((i * 7919 + 13) % 1009) as f64;
        let banded: Vec<[f64; 2]> = (0..400).map(|i| [noise(i), noise(i * 31 + 5)]).collect();
        let labelled: Vec<(&[f64], bool)> =
            banded.iter().map(|values| (values.as_slice(), (300.0..600.0).contains(&values[1]))).collect();
        assert!(Tree::grow(&labelled[..200], DEPTH).accuracy(&labelled[200..]) > 0.95);
        let mixed: Vec<(&[f64], bool)> =
            banded.iter().enumerate().map(|(i, values)| (values.as_slice(), noise(i * 17 + 3) > 500.0)).collect();
        let found = Tree::grow(&mixed[..200], DEPTH).accuracy(&mixed[200..]);
        assert!((found - 0.5).abs() < 0.12, "{found}");
    }

    #[test]
    fn classes_weigh_the_same() {
        let values: Vec<[f64; 1]> = (0..100).map(|_| [1.0]).collect();
        let rare: Vec<(&[f64], bool)> = values.iter().enumerate().map(|(i, v)| (v.as_slice(), i < 3)).collect();
        assert_eq!(Tree::grow(&rare, DEPTH).accuracy(&rare), 0.5);
    }

    #[test]
    fn the_text_names_the_short_cuts_first() {
        let pair = |fake: &str, after| PairAudit { fake: fake.into(), real: "r".into(), before: 1.0, after };
        let text = text(&[pair("fair", 0.55), pair("foul", 0.8)]);
        assert!(text.find("foul").unwrap() < text.find("fair").unwrap());
        assert!(text.contains("warning: 1 of 2 pairs"), "{text}");
    }
}
