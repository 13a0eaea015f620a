//! `grnet reconstruct`: more fakes for training, made from a pack's own real faces by auto-encoders. A reconstruction shows
//! the same face in the same light as its original, so what tells the two apart is the decoder's traces and nothing else: not
//! the look of a studio portrait, which passes for a trace otherwise (market survey 7).

mod align;
mod autoencoder;
mod taef2;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use rand::Rng;

pub use align::Alignment;
pub use autoencoder::{AutoEncoder, Length, Rising, learn};
pub use taef2::Taef2;

use super::rng::{Stream, TrainRng, at, between, chance, pick};
use crate::picture::Rgb8;
use crate::train::data::pack::{self, CROPS_FILE, Entry, MANIFEST_FILE, Pack};
use crate::train::data::prepare::{dhash, io};
use crate::train::data::table::{FAKE, REAL, Split};
use crate::train::looks::detail::as_fine;
use crate::train::looks::forge::{self, ForgeConfig};
use crate::train::looks::pixels::{self, reflect};
use crate::train::nn::input::{self, shown};
use crate::{Error, ErrorKind, Result};

/// Reconstructions nearer to their original than this are left out: nobody could tell them apart, a network would learn
/// noise.
const TOO_NEAR_DB: f64 = 45.0;

/// Family of reconstructions, in the manifest.
pub const FAMILY: &str = "rebuilt";

/// What makes a reconstruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// An auto-encoder that is trained here first.
    Own(Rising),
    /// TAEF2, read from files.
    Taef2,
}

impl Maker {
    /// All of them.
    pub const ALL: [Maker; 5] = [
        Maker::Own(Rising::Nearest),
        Maker::Own(Rising::Bilinear),
        Maker::Own(Rising::Transposed),
        Maker::Own(Rising::Shuffle),
        Maker::Taef2,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Maker::Own(Rising::Nearest) => "nearest",
            Maker::Own(Rising::Bilinear) => "bilinear",
            Maker::Own(Rising::Transposed) => "transposed",
            Maker::Own(Rising::Shuffle) => "shuffle",
            Maker::Taef2 => "taef2",
        }
    }

    /// The maker of this name.
    ///
    /// # Errors
    /// `BadUsage`, listing the names.
    pub fn named(name: &str) -> Result<Self> {
        Maker::ALL.into_iter().find(|maker| maker.name() == name).ok_or_else(|| {
            let names = Maker::ALL.map(Maker::name).join(", ");
            Error::new(ErrorKind::BadUsage, format!("expected a maker out of {names}, found {name}"))
        })
    }

    /// Source of what it makes, in the manifest.
    pub fn source(self) -> String {
        format!("rebuilt_{}", self.name())
    }

    /// Generator of what it makes, in the manifest: the decoder's own name where others use it, too.
    pub fn generator(self) -> String {
        match self {
            Maker::Own(_) => self.source(),
            Maker::Taef2 => self.name().into(),
        }
    }

    fn stride_px(self) -> usize {
        match self {
            Maker::Own(_) => autoencoder::STRIDE_PX,
            Maker::Taef2 => taef2::STRIDE_PX,
        }
    }
}

/// What is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Each picture goes through one of them.
    pub makers: Vec<Maker>,
    /// Real sources that are rebuilt; empty: all.
    pub sources: Vec<String>,
    /// At most so many pictures of each.
    pub per_source: usize,
    /// Share that is rebuilt in a soft region of the face only.
    pub partial: f32,
    /// How near they are brought to their originals.
    pub alignment: Alignment,
    /// How long each auto-encoder learns.
    pub length: Length,
    /// Decides every draw; how far auto-encoders get in their minutes the machine does.
    pub seed: u64,
}

impl Plan {
    /// Checks ranges that the types do not.
    ///
    /// # Errors
    /// `BadUsage`, naming the value.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, what: &str, found: String| {
            if good { Ok(()) } else { Err(Error::new(ErrorKind::BadUsage, format!("expected {what}, found {found}"))) }
        };
        check(!self.makers.is_empty(), "a maker", "none".into())?;
        check(self.per_source > 0, "at least one picture of a source", self.per_source.to_string())?;
        check((0.0..=1.0).contains(&self.partial), "a share of partial ones in 0..=1", self.partial.to_string())?;
        let Alignment { pixels, coefficients, most, compress } = self.alignment;
        for share in [pixels, coefficients, most, compress, pixels + coefficients] {
            check((0.0..=1.0).contains(&share), "shares of mixed and compressed ones in 0..=1", share.to_string())?;
        }
        check(self.length.minutes > 0.0, "more than 0 minutes", self.length.minutes.to_string())?;
        check(self.length.steps > 0, "at least one step", self.length.steps.to_string())
    }
}

/// TAEF2's two files.
#[derive(Debug, Clone)]
pub struct Taef2Files {
    /// `taef2_encoder.safetensors`
    pub encoder: Vec<u8>,
    /// `taef2_decoder.safetensors`
    pub decoder: Vec<u8>,
}

/// What happens, for a progress line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// An auto-encoder learns.
    Learning(Maker, f64, f32),
    /// Pictures are rebuilt: done, all.
    Rebuilding(usize, usize),
    /// What a maker did: pictures, and the mean quality (PSNR in dB against the originals).
    Made(Maker, usize, f64),
}

/// A network that paints a picture again.
type Painter<I> = dyn Fn(Tensor<I, 4>) -> Tensor<I, 4>;
/// A maker with its network.
type Equipped<I> = (Maker, Box<Painter<I>>);

/// Writes to `out` the pack in `folder` with reconstructions of its training faces added: entries with the group and split of
/// their original, label fake, source [`Maker::source`] and the maker's and the original's path. They have no file of their
/// own and are compressed by nothing but the degradations of training, which a pair shares. `tell` returns false to stop.
///
/// # Errors
/// `BadData` when no picture of the sources is in the pack, `BadUsage` when `out` has a manifest already, a number is out of
/// range or TAEF2 is asked for without its files, `BadWeights` for those; `Io` for files; `Cancelled` when stopped: then
/// nothing is kept.
pub fn reconstruct<B: AutodiffBackend>(
    folder: &Path,
    out: &Path,
    plan: &Plan,
    files: Option<&Taef2Files>,
    tell: &mut dyn FnMut(Event) -> bool,
    device: &B::Device,
) -> Result<()> {
    plan.validate()?;
    if out.join(MANIFEST_FILE).exists() {
        let message = format!("expected a new folder, found a pack in {}", out.display());
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    let pack = Pack::open(folder)?;
    let chosen = chosen(pack.entries(), plan)?;
    let painters = painters::<B>(&pack, &chosen, plan, files, tell, device)?;
    fs::create_dir_all(out).map_err(|e| io(out, e))?;
    let part = out.join(format!("{CROPS_FILE}.part"));
    let made = append::<B::InnerBackend>(folder, &part, &pack, &chosen, plan, &painters, tell, device);
    if made.is_err() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(&part);
    }
    let crops = out.join(CROPS_FILE);
    let entries = made?;
    fs::rename(&part, &crops).map_err(|e| io(&crops, e))?;
    pack.info().write(out)?;
    pack::write_manifest(out, &entries)
}

/// The makers of a plan with their networks.
fn painters<B: AutodiffBackend>(
    pack: &Pack,
    chosen: &[usize],
    plan: &Plan,
    files: Option<&Taef2Files>,
    tell: &mut dyn FnMut(Event) -> bool,
    device: &B::Device,
) -> Result<Vec<Equipped<B::InnerBackend>>> {
    // Before anything is learnt, so that a missing file costs no minutes.
    let mut taef2 = match (plan.makers.contains(&Maker::Taef2), files) {
        (false, _) => None,
        (true, Some(files)) => Some(Taef2::parse(&files.encoder, &files.decoder, device)?),
        (true, None) => return Err(Error::new(ErrorKind::BadUsage, "expected the files of taef2, found none")),
    };
    let mut painters: Vec<Equipped<B::InnerBackend>> = Vec::new();
    for maker in &plan.makers {
        if let Maker::Own(rising) = maker {
            let mut draw = |rng: &mut TrainRng| pack.crop(&pack.entries()[*pick(rng, chosen)]);
            let mut progress = |share, loss| tell(Event::Learning(*maker, share, loss));
            let network = learn::<B>(*rising, plan.seed, plan.length, &mut draw, &mut progress, device)?.valid();
            painters.push((*maker, Box::new(move |x| network.forward(x))));
        } else if let Some(network) = taef2.take() {
            painters.push((*maker, Box::new(move |x| network.forward(x))));
        }
    }
    Ok(painters)
}

/// Copies the crops of `folder` to `part` and writes the reconstructions behind them; all entries.
#[expect(clippy::too_many_arguments, reason = "what is read, what is made and who is told")]
fn append<I: Backend>(
    folder: &Path,
    part: &Path,
    pack: &Pack,
    chosen: &[usize],
    plan: &Plan,
    painters: &[Equipped<I>],
    tell: &mut dyn FnMut(Event) -> bool,
    device: &I::Device,
) -> Result<Vec<Entry>> {
    let mut offset = fs::copy(folder.join(CROPS_FILE), part).map_err(|e| io(part, e))?;
    let file = File::options().append(true).open(part).map_err(|e| io(part, e))?;
    let mut crops = BufWriter::new(file);
    let mut entries = pack.entries().to_vec();
    let mut quality: Vec<Vec<f64>> = vec![Vec::new(); painters.len()];
    for (done, index) in chosen.iter().enumerate() {
        let original = &pack.entries()[*index];
        let rng = &mut at(plan.seed, Stream::Forging, u64::MAX, *index as u64);
        let choice = rng.random_range(0..painters.len());
        let (maker, painter) = &painters[choice];
        let crop = pack.crop(original)?;
        let mut rebuilt = rebuild::<I>(&crop, maker.stride_px(), painter, device)?;
        rebuilt = as_fine(&rebuilt, &crop, between(rng, 0.9, 1.1))?;
        if chance(rng, plan.partial) {
            let config = ForgeConfig::default();
            let outline = original.place().outline(config.partial, rng);
            let mask = forge::face_mask(crop.height, crop.width, &outline, &config, rng);
            rebuilt = forge::blend(&crop, &rebuilt, &mask, 1.0)?;
        }
        rebuilt = plan.alignment.apply(rebuilt, &crop, original, rng)?;
        let likeness = psnr(&crop, &rebuilt);
        if likeness < TOO_NEAR_DB {
            quality[choice].push(likeness);
            crops.write_all(&rebuilt.data).map_err(|e| io(part, e))?;
            entries.push(Entry {
                path: format!("{}/{}", maker.source(), original.path),
                label: FAKE,
                source: maker.source(),
                generator: maker.generator(),
                set: FAMILY.into(),
                offset,
                dhash: format!("{:016x}", dhash(&rebuilt)?),
                ..original.clone()
            });
            offset += rebuilt.data.len() as u64;
        }
        if !tell(Event::Rebuilding(done + 1, chosen.len())) {
            let message = format!("stopped after {} pictures; nothing is kept", done + 1);
            return Err(Error::new(ErrorKind::Cancelled, message));
        }
    }
    crops.flush().map_err(|e| io(part, e))?;
    crops.get_ref().sync_all().map_err(|e| io(part, e))?;
    for ((maker, _), values) in painters.iter().zip(quality) {
        tell(Event::Made(*maker, values.len(), values.iter().sum::<f64>() / values.len().max(1) as f64));
    }
    Ok(entries)
}

/// Places of the training faces to rebuild: of every source the first `per_source` in a drawn order.
fn chosen(entries: &[Entry], plan: &Plan) -> Result<Vec<usize>> {
    let mut by_source: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let wanted = plan.sources.is_empty() || plan.sources.contains(&entry.source);
        if entry.packed() && entry.label == REAL && entry.split == Split::Train && wanted {
            let draw = at(plan.seed, Stream::Sampling, u64::MAX, index as u64).random();
            by_source.entry(&entry.source).or_default().push((draw, index));
        }
    }
    let mut chosen = Vec::new();
    for members in by_source.values_mut() {
        members.sort_unstable();
        chosen.extend(members.iter().take(plan.per_source).map(|(_, index)| *index));
    }
    if let Some(missing) = plan.sources.iter().find(|source| !by_source.contains_key(source.as_str())) {
        let message = format!("expected real training pictures of {missing} in the pack, found none");
        return Err(Error::new(ErrorKind::BadData, message));
    }
    if chosen.is_empty() {
        return Err(Error::new(ErrorKind::BadData, "expected real training pictures in the pack, found none"));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// Through the network, with the border mirrored up to a multiple of its stride.
fn rebuild<I: Backend>(crop: &Rgb8, stride_px: usize, painter: &Painter<I>, device: &I::Device) -> Result<Rgb8> {
    let [height, width] = [crop.height, crop.width].map(|side| side.next_multiple_of(stride_px));
    let mut data = Vec::with_capacity(height * width * 3);
    for row in 0..height {
        for column in 0..width {
            let (y, x) = (reflect(row as isize, crop.height), reflect(column as isize, crop.width));
            data.extend(crop.pixel(y, x));
        }
    }
    let padded = Rgb8::new(height, width, data)?;
    let painted = shown(painter(input::batch_unit::<I>(&[padded], device)))?;
    pixels::trimmed(&painted, 0, 0, crop.height, crop.width)
}

/// Peak signal-to-noise ratio in dB; infinite for equal pictures is cut to 99.
fn psnr(a: &Rgb8, b: &Rgb8) -> f64 {
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let mean = a.data.iter().zip(&b.data).map(square).sum::<f64>() / a.data.len() as f64;
    (10.0 * (255.0f64.powi(2) / mean.max(1e-9)).log10()).min(99.0)
}
