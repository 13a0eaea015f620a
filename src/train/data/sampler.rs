//! Which pictures make a batch: pairs of a real and a fake. A swap or reconstruction comes with its own original, a
//! self-made fake with the picture it is made from; other fakes with a real picture drawn by source.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand::Rng;

use super::pack::Entry;
use super::table::{FAKE, REAL, Split};
use crate::train::config::SamplingConfig;
use crate::train::rng::{Stream, TrainRng, at, pick, pick_weighted};
use crate::{Error, ErrorKind, Result};

/// Whether a picture is kept out of training.
pub fn leaves_out(config: &SamplingConfig, entry: &Entry) -> bool {
    let names = [&entry.set, &entry.source, &entry.generator];
    config.leave_out.iter().any(|left_out| names.contains(&left_out))
}

/// How the fake of a pair comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Making {
    /// It is a picture of the data.
    Given(usize),
    /// The pair's real picture, blended with itself.
    SelfBlended,
    /// The pair's real picture with up-sampling traces.
    UpSampled,
}

/// One real and one fake picture, as places in the list of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The real picture.
    pub real: usize,
    /// The fake.
    pub fake: Making,
}

/// Draws pairs by source.
#[derive(Debug)]
pub struct Sampler {
    reals: Vec<(String, Vec<usize>)>,
    real_shares: Vec<f64>,
    fakes: Vec<(String, Vec<usize>)>,
    fake_shares: Vec<f64>,
    /// Real pictures of a fake's group.
    twins: HashMap<usize, Vec<usize>>,
    self_blended: f64,
    up_sampled: f64,
    /// What the configuration names and the data lacks, or the other way round.
    pub notices: Vec<String>,
}

impl Sampler {
    /// Prepares drawing from the packed training rows of `entries`.
    ///
    /// # Errors
    /// `BadData` when a class has no picture that may be drawn.
    pub fn new(entries: &[Entry], config: &SamplingConfig) -> Result<Self> {
        let mut by_source: [BTreeMap<&str, Vec<usize>>; 2] = Default::default();
        let mut reals_of_group: HashMap<&str, Vec<usize>> = HashMap::new();
        let hidden: HashSet<&str> =
            entries.iter().filter(|e| e.label == REAL && leaves_out(config, e)).map(|e| e.path.as_str()).collect();
        for (index, entry) in entries.iter().enumerate() {
            if !entry.packed()
                || entry.split != Split::Train
                || leaves_out(config, entry)
                || rebuilt_from(entry).is_some_and(|original| hidden.contains(original))
                || ![REAL, FAKE].contains(&entry.label)
            {
                continue;
            }
            by_source[entry.label as usize].entry(&entry.source).or_default().push(index);
            if entry.label == REAL {
                reals_of_group.entry(&entry.group).or_default().push(index);
            }
        }
        let mut notices = Vec::new();
        let [reals, fakes] = by_source;
        let family = |index: usize| entries[index].set.as_str();
        for missing in config.families.keys().filter(|name| {
            !reals.values().chain(fakes.values()).any(|members| members.first().is_some_and(|i| family(*i) == *name))
        }) {
            notices.push(format!(
                "no pictures of the family {missing} in the training data, its share goes to the others"
            ));
        }
        let mut share = |sources: BTreeMap<&str, Vec<usize>>, wanted: &BTreeMap<String, f64>, class: &str| {
            if config.families.is_empty() {
                return shares(sources, wanted, class, &mut notices);
            }
            let wanted = by_family(&sources, &config.families, family);
            shares(sources, &wanted, class, &mut notices)
        };
        let (reals, mut real_shares) = share(reals, &config.reals, "real")?;
        let made = config.self_blended + config.up_sampled;
        let (fakes, fake_shares) = if made < 1.0 { share(fakes, &config.fakes, "fake")? } else { Default::default() };
        let mut twins = HashMap::new();
        // How often each real picture will be drawn as a twin: those draws count towards its source's share.
        let mut twin_shares: HashMap<&str, f64> = HashMap::new();
        for ((_, members), share) in fakes.iter().zip(&fake_shares) {
            for fake in members {
                let Some(group) = reals_of_group.get(entries[*fake].group.as_str()) else { continue };
                let candidates = originals(entries, *fake, group);
                for real in &candidates {
                    let drawn = (1.0 - made) * share / members.len() as f64 / candidates.len() as f64;
                    *twin_shares.entry(&entries[*real].source).or_default() += drawn;
                }
                twins.insert(*fake, candidates);
            }
        }
        let wanted = real_shares.clone();
        for ((source, _), share) in reals.iter().zip(&mut real_shares) {
            let as_twins = twin_shares.get(source.as_str()).copied().unwrap_or(0.0);
            if as_twins > *share {
                notices.push(format!(
                    "real pictures of {source} are drawn as originals of fakes alone: {:.1} % of all, its share says {:.1} %",
                    100.0 * as_twins,
                    100.0 * *share
                ));
            }
            *share = (*share - as_twins).max(0.0);
        }
        if real_shares.iter().all(|share| *share <= 1e-9) {
            real_shares = wanted;
        }
        let (self_blended, up_sampled) = (config.self_blended, config.up_sampled);
        Ok(Sampler { reals, real_shares, fakes, fake_shares, twins, self_blended, up_sampled, notices })
    }

    /// The pair at one place of one step of the run with this seed.
    pub fn pair(&self, seed: u64, step: u64, slot: u64) -> Pair {
        let rng = &mut at(seed, Stream::Sampling, step, slot);
        let kind: f64 = rng.random();
        if kind < self.self_blended {
            return Pair { real: self.real(rng), fake: Making::SelfBlended };
        }
        if kind < self.self_blended + self.up_sampled {
            return Pair { real: self.real(rng), fake: Making::UpSampled };
        }
        let (_, members) = &self.fakes[pick_weighted(rng, &self.fake_shares)];
        let fake = *pick(rng, members);
        let real = match self.twins.get(&fake) {
            Some(twins) => *pick(rng, twins),
            None => self.real(rng),
        };
        Pair { real, fake: Making::Given(fake) }
    }

    fn real(&self, rng: &mut TrainRng) -> usize {
        let (_, members) = &self.reals[pick_weighted(rng, &self.real_shares)];
        *pick(rng, members)
    }
}

/// The path of the picture that a fake of `grnet reconstruct` was made from; nothing for others.
pub(in crate::train) fn rebuilt_from(entry: &Entry) -> Option<&str> {
    entry.path.strip_prefix(&entry.source)?.strip_prefix('/')
}

/// Out of the real pictures of a fake's group the one that it was made from; all of them where no path tells.
fn originals(entries: &[Entry], fake: usize, group: &[usize]) -> Vec<usize> {
    let path = rebuilt_from(&entries[fake]);
    let own: Vec<usize> = group.iter().filter(|real| Some(entries[**real].path.as_str()) == path).copied().collect();
    if own.is_empty() { group.to_vec() } else { own }
}

/// Shares of sources from those of their families: within one, a source weighs the square root of its pictures.
fn by_family<'e>(
    sources: &BTreeMap<&str, Vec<usize>>,
    families: &BTreeMap<String, f64>,
    family: impl Fn(usize) -> &'e str,
) -> BTreeMap<String, f64> {
    let weight = |members: &[usize]| (members.len() as f64).sqrt();
    let of = |members: &[usize]| members.first().map_or("", |index| family(*index));
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    sources.values().for_each(|members| *totals.entry(of(members)).or_default() += weight(members));
    let share = |members: &[usize]| {
        let family = of(members);
        families.get(family).map_or(0.0, |share| share * weight(members) / totals[family])
    };
    sources.iter().map(|(source, members)| (source.to_string(), share(members))).collect()
}

/// Sources with their members and shares (summing to one).
type Shares = (Vec<(String, Vec<usize>)>, Vec<f64>);

fn shares(
    sources: BTreeMap<&str, Vec<usize>>,
    wanted: &BTreeMap<String, f64>,
    class: &str,
    notices: &mut Vec<String>,
) -> Result<Shares> {
    for missing in wanted.keys().filter(|name| !sources.contains_key(name.as_str())) {
        notices.push(format!("no {class} pictures of {missing} in the training data, its share goes to the others"));
    }
    let mut members = Vec::new();
    let mut drawn = Vec::new();
    for (source, indices) in sources {
        let share = if wanted.is_empty() { 1.0 } else { wanted.get(source).copied().unwrap_or(0.0) };
        if share > 0.0 {
            members.push((source.to_string(), indices));
            drawn.push(share);
        } else {
            notices.push(format!("{} {class} pictures of {source} are not drawn: no share", indices.len()));
        }
    }
    let total: f64 = drawn.iter().sum();
    if total <= 0.0 {
        let message = format!("expected {class} pictures to train on, found none: both classes are needed");
        return Err(Error::new(ErrorKind::BadData, message));
    }
    Ok((members, drawn.iter().map(|share| share / total).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::pack::Status;
    use crate::train::data::table::{Row, parse_table};

    fn entries() -> Vec<Entry> {
        let mut text = String::from("path,label,source,generator,group,split\n");
        for index in 0..40 {
            text += &format!("video{index}.jpg,0,video,,v{index},train\nswap{index}.jpg,1,swap,dfdc,v{index},train\n");
            text +=
                &format!("photo{index}.jpg,0,photo,,p{index},train\ngan{index}.jpg,1,gan,stylegan,g{index},train\n");
            text += &format!("held{index}.jpg,0,photo,,h{index},val\n");
        }
        let rows: Vec<Row> = parse_table(text.as_bytes(), "table").unwrap();
        rows.iter().map(|row| Entry { status: Status::Packed, ..Entry::without_crop(row, Status::Packed) }).collect()
    }

    fn config() -> SamplingConfig {
        SamplingConfig {
            reals: [("video".into(), 0.4), ("photo".into(), 0.6)].into(),
            fakes: [("swap".into(), 0.5), ("gan".into(), 0.5)].into(),
            self_blended: 0.2,
            up_sampled: 0.1,
            ..SamplingConfig::default()
        }
    }

    #[test]
    fn shares_are_kept_and_twins_come_together() {
        let entries = entries();
        let sampler = Sampler::new(&entries, &config()).unwrap();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for slot in 0..8000 {
            let pair = sampler.pair(1, 0, slot);
            let real = &entries[pair.real];
            assert_eq!((real.label, real.split), (REAL, Split::Train));
            *counts.entry(&real.source).or_default() += 1;
            let made = match pair.fake {
                Making::SelfBlended => "self",
                Making::UpSampled => "up",
                Making::Given(fake) => {
                    let fake = &entries[fake];
                    assert_eq!(fake.label, FAKE);
                    assert!(fake.source != "swap" || fake.group == real.group);
                    &fake.source
                }
            };
            *counts.entry(made).or_default() += 1;
        }
        for (name, share) in [("self", 0.2), ("up", 0.1), ("swap", 0.35), ("gan", 0.35), ("video", 0.4), ("photo", 0.6)]
        {
            let found = counts[name] as f64 / 8000.0;
            assert!((found - share).abs() < 0.05, "{name}: {found} for {share}");
        }
    }

    #[test]
    fn families_keep_their_shares_and_sources_weigh_by_the_root_of_their_pictures() {
        let mut entries = entries();
        for (index, entry) in entries.iter_mut().enumerate() {
            let family = match entry.source.as_str() {
                "video" | "photo" => "people",
                other => other,
            };
            entry.set = family.into();
            // A quarter of the photos become a family of their own; a ninth of the others another source.
            if entry.source == "photo" && index % 4 == 0 {
                (entry.source, entry.set) = ("studio".into(), "studio".into());
            } else if entry.source == "photo" {
                entry.source = "album".into();
            }
        }
        let families = [("people", 0.6), ("studio", 0.4), ("gan", 1.0), ("nowhere", 0.3)];
        let config = SamplingConfig {
            families: families.map(|(name, share)| (name.to_string(), share)).into(),
            self_blended: 1.0,
            ..SamplingConfig::default()
        };
        let sampler = Sampler::new(&entries, &config).unwrap();
        assert!(sampler.notices.iter().any(|notice| notice.contains("nowhere")), "{:?}", sampler.notices);
        let count = |source: &str| {
            let train = entries.iter().filter(|e| e.source == source && e.split == Split::Train);
            train.count() as f64
        };
        let mut drawn: HashMap<&str, f64> = HashMap::new();
        for slot in 0..8000 {
            *drawn.entry(&entries[sampler.pair(1, 0, slot).real].source).or_default() += 1.0 / 8000.0;
        }
        let roots = count("video").sqrt() + count("album").sqrt();
        let wanted = [
            ("studio", 0.4),
            ("video", 0.6 * count("video").sqrt() / roots),
            ("album", 0.6 * count("album").sqrt() / roots),
        ];
        for (source, share) in wanted {
            assert!((drawn[source] - share).abs() < 0.02, "{source}: {} for {share}", drawn[source]);
        }
    }

    #[test]
    fn a_reconstruction_comes_with_the_picture_it_was_made_from() {
        let mut entries = entries();
        // All photos of one person, and a reconstruction of each.
        for index in 0..entries.len() {
            if entries[index].source == "photo" {
                entries[index].group = "person".into();
                let (source, path) =
                    ("rebuilt_nearest".to_string(), format!("rebuilt_nearest/{}", entries[index].path));
                entries.push(Entry { path, label: FAKE, source, ..entries[index].clone() });
            }
        }
        let sampler = Sampler::new(&entries, &SamplingConfig::default()).unwrap();
        let mut seen = 0;
        for slot in 0..500 {
            let pair = sampler.pair(1, 0, slot);
            let Making::Given(fake) = pair.fake else { panic!("nothing is made here") };
            if entries[fake].source == "rebuilt_nearest" {
                assert_eq!(entries[fake].path, format!("rebuilt_nearest/{}", entries[pair.real].path));
                seen += 1;
            }
        }
        assert!(seen > 50, "{seen}");
        // Where the originals are left out, so are their reconstructions.
        let sampler = Sampler::new(&entries, &SamplingConfig { leave_out: vec!["photo".into()], ..Default::default() });
        let sampler = sampler.unwrap();
        for slot in 0..500 {
            let Making::Given(fake) = sampler.pair(1, 0, slot).fake else { panic!("nothing is made here") };
            assert!(entries[fake].source != "rebuilt_nearest");
        }
    }

    #[test]
    fn what_is_left_out_is_never_drawn_and_what_is_missing_is_named() {
        let entries = entries();
        let mut config = SamplingConfig { leave_out: vec!["stylegan".into()], ..config() };
        config.reals.insert("nowhere".into(), 0.5);
        let sampler = Sampler::new(&entries, &config).unwrap();
        assert!(sampler.notices.iter().any(|notice| notice.contains("nowhere")), "{:?}", sampler.notices);
        for slot in 0..500 {
            if let Making::Given(fake) = sampler.pair(1, 0, slot).fake {
                assert_eq!(entries[fake].source, "swap");
            }
        }
    }

    #[test]
    fn one_class_alone_is_refused() {
        let mut entries = entries();
        entries.retain(|entry| entry.label == REAL);
        let error = Sampler::new(&entries, &config()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadData);
        assert!(error.to_string().contains("fake"), "{error}");
    }

    #[test]
    fn real_pictures_alone_do_when_all_fakes_are_made() {
        let mut entries = entries();
        entries.retain(|entry| entry.label == REAL);
        let config = SamplingConfig { self_blended: 0.5, up_sampled: 0.5, ..config() };
        let sampler = Sampler::new(&entries, &config).unwrap();
        assert!((0..200).all(|slot| !matches!(sampler.pair(3, 1, slot).fake, Making::Given(_))));
    }
}
