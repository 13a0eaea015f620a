//! What the web does to a picture: rescaling, re-encoding, blur, noise, colour. A [`Plan`] is drawn once and may be applied
//! to several pictures, so that both of a pair go through the same (market survey 7.4). Also the fixed degradations of
//! evaluation.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::disguise::{self, Disguise};
use super::pixels::{self, Colour, Kernel, SMOOTH_KERNELS};
pub use crate::picture::encode_jpeg;
use crate::picture::{self, Limits, Rgb8};
use crate::train::rng::{self, TrainRng, between, between_log, chance, pick};
use crate::{Error, ErrorKind, Result};

/// How often and how strongly pictures are degraded in training. Shares are probabilities 0..1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DegradeConfig {
    /// Share of pictures left as they are, so that raw traces stay learnable.
    pub clean: f32,
    /// Share of the others that become thumbnails.
    pub thumbnail: f32,
    /// Sides of thumbnails, log-uniform.
    pub thumbnail_px: [f32; 2],
    /// Sides of the rest, log-uniform: one distribution for both classes, because the sources differ in resolution.
    pub side_px: [f32; 2],
    /// Share of shrunk pictures that are enlarged again (to 1.1 - 2 times).
    pub enlarge: f32,
    /// Share with Gaussian blur.
    pub blur: f32,
    /// Blur in pixels of the shrunk picture.
    pub blur_px: [f32; 2],
    /// Share with additive noise.
    pub noise: f32,
    /// Spread of the noise, 0..255 scale.
    pub noise_level: [f32; 2],
    /// Share with changed colours.
    pub colour: f32,
    /// Strength of the change of colours, 0..1.
    pub colour_strength: f32,
    /// Share that is encoded at least once.
    pub encode: f32,
    /// Share of those that are encoded twice, with a shift of the block grid in between.
    pub encode_again: f32,
    /// Quality of JPEG and WebP, uniform.
    pub quality: [f32; 2],
    /// Share of encodings that are WebP.
    pub webp: f32,
    /// Share of JPEG encodings without chroma subsampling (4:4:4 instead of 4:2:0).
    pub full_chroma: f32,
    /// Share that is shrunk and enlarged again before all else but retouching, as dual data alignment does; both of a pair alike,
    /// with the same kernels.
    pub resample: f32,
    /// New side / old side of the first of the two steps.
    pub resample_down: [f32; 2],
    /// Of the second.
    pub resample_up: [f32; 2],
    /// Share with smoothed skin, as beauty filters and phones make it, before all else and of the clean ones too: a
    /// face is not forged for that.
    pub smooth: f32,
    /// Radius of the smoothing guided filter as a share of the longer side, log-uniform.
    pub smooth_radius: [f32; 2],
    /// Its eps (0..1 scale), log-uniform.
    pub smooth_eps: [f32; 2],
    /// How much of the smoothed picture is mixed in.
    pub smooth_strength: [f32; 2],
    /// Share that is sharpened (unsharp mask), as phones do; like `smooth`.
    pub sharpen: f32,
    /// Sigma of the mask in pixels.
    pub sharpen_px: [f32; 2],
    /// How much of the detail is added.
    pub sharpen_amount: [f32; 2],
}

impl Default for DegradeConfig {
    fn default() -> Self {
        DegradeConfig {
            clean: 0.15,
            thumbnail: 0.30,
            thumbnail_px: [64.0, 160.0],
            side_px: [112.0, 224.0],
            enlarge: 0.15,
            blur: 0.10,
            blur_px: [0.3, 1.5],
            noise: 0.10,
            noise_level: [1.0, 8.0],
            colour: 0.30,
            colour_strength: 0.5,
            encode: 0.85,
            encode_again: 0.30,
            quality: [30.0, 95.0],
            webp: 0.25,
            full_chroma: 0.30,
            resample: 0.0,
            resample_down: [0.2, 1.0],
            resample_up: [1.0, 3.5],
            smooth: 0.0,
            smooth_radius: [0.008, 0.04],
            smooth_eps: [0.001, 0.02],
            smooth_strength: [0.4, 1.0],
            sharpen: 0.0,
            sharpen_px: [0.5, 1.5],
            sharpen_amount: [0.3, 1.5],
        }
    }
}

/// One thing that happens to a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The longer side becomes at most so many pixels.
    Shrink {
        /// Longer side.
        side_px: usize,
        /// With which kernel.
        kernel: Kernel,
    },
    /// Enlarged (or shrunk) by a factor.
    Scale {
        /// New side / old side.
        factor: f32,
        /// With which kernel.
        kernel: Kernel,
    },
    /// Gaussian blur.
    Blur {
        /// Sigma.
        sigma_px: f32,
    },
    /// Mean filter over `side_px` x `side_px` (ME5 of the paper: 5).
    Mean {
        /// Side of the window, odd.
        side_px: usize,
    },
    /// Edges kept, what lies between them smoothed: a guided filter, mixed in.
    Smooth {
        /// Radius as a share of the longer side.
        radius: f32,
        /// Its eps, 0..1 scale.
        eps: f64,
        /// Share of the smoothed picture in the result.
        strength: f32,
    },
    /// Unsharp mask.
    Sharpen {
        /// Sigma of the blur whose difference is added.
        sigma_px: f32,
        /// How much of it.
        amount: f32,
    },
    /// Additive Gaussian noise.
    Noise {
        /// Spread on the 0..255 scale.
        level: f32,
        /// Seed of the noise.
        seed: u64,
    },
    /// Changed colours.
    Colour(Colour),
    /// Trimmed at the upper left, so that a second encoding meets another block grid.
    Trim {
        /// Rows dropped at the top.
        top: usize,
        /// Columns dropped at the left.
        left: usize,
    },
    /// JPEG.
    Jpeg {
        /// 1..=100.
        quality: u8,
        /// 4:4:4 instead of 4:2:0.
        full_chroma: bool,
    },
    /// Lossy WebP.
    Webp {
        /// 0..=100.
        quality: u8,
    },
    /// Made into something that is no photo.
    Disguise(Disguise),
}

/// What happens to a picture, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps; none leaves the picture as it is.
    pub steps: Vec<Step>,
}

impl DegradeConfig {
    /// Draws what happens to one picture or pair.
    pub fn draw(&self, rng: &mut TrainRng) -> Plan {
        let mut steps = self.draw_retouching(rng);
        if self.resample > 0.0 && chance(rng, self.resample) {
            for [low, high] in [self.resample_down, self.resample_up] {
                steps.push(Step::Scale { factor: between(rng, low, high), kernel: *pick(rng, &SMOOTH_KERNELS) });
            }
        }
        if chance(rng, self.clean) {
            return Plan { steps };
        }
        let [low, high] = if chance(rng, self.thumbnail) { self.thumbnail_px } else { self.side_px };
        let side_px = between_log(rng, low, high).round() as usize;
        steps.push(Step::Shrink { side_px, kernel: *pick(rng, &SMOOTH_KERNELS) });
        if chance(rng, self.colour) {
            steps.push(Step::Colour(self.draw_colour(rng)));
        }
        if chance(rng, self.blur) {
            steps.push(Step::Blur { sigma_px: between(rng, self.blur_px[0], self.blur_px[1]) });
        }
        if chance(rng, self.noise) {
            let level = between(rng, self.noise_level[0], self.noise_level[1]);
            steps.push(Step::Noise { level, seed: rng.random() });
        }
        if chance(rng, self.encode) {
            let first = self.draw_encoding(rng);
            steps.push(first);
            if chance(rng, self.encode_again) {
                steps.push(Step::Trim { top: rng.random_range(0..8), left: rng.random_range(0..8) });
                if chance(rng, 0.5) {
                    steps.push(Step::Scale { factor: between(rng, 0.7, 1.0), kernel: *pick(rng, &SMOOTH_KERNELS) });
                }
                let second = self.draw_encoding(rng);
                steps.push(second);
            }
        }
        if chance(rng, self.enlarge) {
            steps.push(Step::Scale { factor: between(rng, 1.1, 2.0), kernel: *pick(rng, &SMOOTH_KERNELS) });
        }
        Plan { steps }
    }

    /// Draws nothing where nothing is wanted, so that the draws of configurations from before stay what they were.
    fn draw_retouching(&self, rng: &mut TrainRng) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.smooth > 0.0 && chance(rng, self.smooth) {
            steps.push(Step::Smooth {
                radius: between_log(rng, self.smooth_radius[0], self.smooth_radius[1]),
                eps: f64::from(between_log(rng, self.smooth_eps[0], self.smooth_eps[1])),
                strength: between(rng, self.smooth_strength[0], self.smooth_strength[1]),
            });
        }
        if self.sharpen > 0.0 && chance(rng, self.sharpen) {
            steps.push(Step::Sharpen {
                sigma_px: between(rng, self.sharpen_px[0], self.sharpen_px[1]),
                amount: between(rng, self.sharpen_amount[0], self.sharpen_amount[1]),
            });
        }
        steps
    }

    fn draw_colour(&self, rng: &mut TrainRng) -> Colour {
        let strength = self.colour_strength;
        Colour {
            brightness: 60.0 * strength * between(rng, -1.0, 1.0),
            contrast: 1.0 + 0.5 * strength * between(rng, -1.0, 1.0),
            saturation: 1.0 + 0.8 * strength * between(rng, -1.0, 1.0),
            shift: std::array::from_fn(|_| 20.0 * strength * between(rng, -1.0, 1.0)),
        }
    }

    fn draw_encoding(&self, rng: &mut TrainRng) -> Step {
        let quality = between(rng, self.quality[0], self.quality[1]).round() as u8;
        if chance(rng, self.webp) {
            Step::Webp { quality }
        } else {
            Step::Jpeg { quality, full_chroma: chance(rng, self.full_chroma) }
        }
    }
}

impl Plan {
    /// The picture after all steps.
    ///
    /// # Errors
    /// When a codec fails, which no valid picture brings about.
    pub fn apply(&self, picture: &Rgb8) -> Result<Rgb8> {
        let mut seen = picture.clone();
        for step in &self.steps {
            seen = step.apply(&seen)?;
        }
        Ok(seen)
    }
}

impl Step {
    fn apply(&self, picture: &Rgb8) -> Result<Rgb8> {
        match *self {
            Step::Shrink { side_px, kernel } => pixels::shrink_to(picture, side_px, kernel),
            Step::Scale { factor, kernel } => {
                let scaled = |side: usize| ((side as f32 * factor).round() as usize).max(8);
                pixels::resize_with(picture, scaled(picture.height), scaled(picture.width), kernel)
            }
            Step::Blur { sigma_px } => pixels::blur(picture, sigma_px),
            Step::Mean { side_px } => mean_filter(picture, side_px),
            Step::Smooth { radius, eps, strength } => disguise::smoothed(picture, radius, eps, strength),
            Step::Sharpen { sigma_px, amount } => pixels::against_blur(picture, sigma_px, |v, b| v + amount * (v - b)),
            Step::Noise { level, seed } => Ok(noisy(picture, level, seed)),
            Step::Colour(colour) => Ok(colour.apply(picture)),
            Step::Trim { top, left } => {
                let (top, left) = (top.min(picture.height / 8), left.min(picture.width / 8));
                pixels::trimmed(picture, top, left, picture.height - top, picture.width - left)
            }
            Step::Jpeg { quality, full_chroma } => reread(&encode_jpeg(picture, quality, full_chroma)?),
            Step::Webp { quality } => reread(&encode_webp(picture, quality)?),
            Step::Disguise(disguise) => disguise.apply(picture),
        }
    }
}

fn reread(bytes: &[u8]) -> Result<Rgb8> {
    Ok(picture::decode(bytes, &Limits::default())?.pixels)
}

/// The picture as a lossy WebP.
///
/// # Errors
/// `Internal` when the encoder refuses.
pub fn encode_webp(picture: &Rgb8, quality: u8) -> Result<Vec<u8>> {
    let encoder = webp::Encoder::from_rgb(&picture.data, picture.width as u32, picture.height as u32);
    let encoded = encoder
        .encode_simple(false, f32::from(quality))
        .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot encode as WebP: {e:?}")))?;
    Ok(encoded.to_vec())
}

fn mean_filter(picture: &Rgb8, side_px: usize) -> Result<Rgb8> {
    let reach = (side_px / 2) as isize;
    let average = |plane: pixels::Plane| {
        let mut out = pixels::Plane::filled(plane.height, plane.width, 0.0);
        for row in 0..plane.height as isize {
            for column in 0..plane.width as isize {
                let mut sum = 0.0;
                for dy in -reach..=reach {
                    for dx in -reach..=reach {
                        sum += plane.reflected(row + dy, column + dx);
                    }
                }
                out.data[row as usize * plane.width + column as usize] =
                    sum / ((2 * reach + 1) * (2 * reach + 1)) as f32;
            }
        }
        out
    };
    pixels::from_planes(&pixels::planes(picture).map(average))
}

fn noisy(picture: &Rgb8, level: f32, seed: u64) -> Rgb8 {
    let mut noise = rng::at(seed, rng::Stream::Looks, 0, 0);
    let mut out = picture.clone();
    for value in &mut out.data {
        *value = pixels::to_byte(f32::from(*value) + level * rng::normal(&mut noise));
    }
    out
}

/// A named, fixed degradation of evaluation; whole pictures meet it before the face is looked for. Written as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Tier {
    /// As the file is.
    Raw,
    /// JPEG at quality 60 (paper).
    Jp60,
    /// 5x5 mean filter (paper).
    Me5,
    /// Longer side at most 768 px, JPEG quality 60.
    Web,
    /// Longer side at most 512 px, JPEG quality 40.
    Hard,
    /// Longer side 200 px, quality 60, JPEG or WebP in turn.
    Avatar,
    /// No photo any more.
    Disguised(Disguise),
}

impl TryFrom<String> for Tier {
    type Error = Error;

    fn try_from(name: String) -> Result<Tier> {
        Tier::named(&name)
    }
}

impl From<Tier> for String {
    fn from(tier: Tier) -> String {
        tier.name().into()
    }
}

impl Tier {
    /// All tiers, in the order of reports; random draws of a tier are numbered by its place, so new ones go to the end.
    pub fn all() -> impl Iterator<Item = Tier> {
        let photos = [Tier::Raw, Tier::Jp60, Tier::Me5, Tier::Web, Tier::Hard, Tier::Avatar];
        photos.into_iter().chain(Disguise::ALL.map(Tier::Disguised))
    }

    /// The place among [`Tier::all`].
    pub fn number(self) -> u64 {
        Self::all().take_while(|tier| *tier != self).count() as u64
    }

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Raw => "raw",
            Tier::Jp60 => "jp60",
            Tier::Me5 => "me5",
            Tier::Web => "web",
            Tier::Hard => "hard",
            Tier::Avatar => "avatar",
            Tier::Disguised(disguise) => disguise.name(),
        }
    }

    /// The tier of that name.
    ///
    /// # Errors
    /// `BadUsage`, listing the names.
    pub fn named(name: &str) -> Result<Tier> {
        Self::all().find(|tier| tier.name() == name).ok_or_else(|| {
            let names = Self::all().map(Tier::name).collect::<Vec<_>>().join(", ");
            Error::new(ErrorKind::BadUsage, format!("expected a degradation out of {names}, found {name}"))
        })
    }

    /// What happens to a picture whose longer side is `longer_px`. `odd` decides what alternates; chroma subsampling
    /// is always 4:2:0.
    pub fn plan(self, odd: bool) -> Plan {
        let jpeg = |quality| Step::Jpeg { quality, full_chroma: false };
        let shrink = |side_px| Step::Shrink { side_px, kernel: Kernel::Lanczos3 };
        let steps = match self {
            Tier::Raw => vec![],
            Tier::Jp60 => vec![jpeg(60)],
            Tier::Me5 => vec![Step::Mean { side_px: 5 }],
            Tier::Web => vec![shrink(768), jpeg(60)],
            Tier::Hard => vec![shrink(512), jpeg(40)],
            Tier::Avatar => vec![shrink(200), if odd { Step::Webp { quality: 60 } } else { jpeg(60) }],
            Tier::Disguised(disguise) => vec![Step::Disguise(disguise)],
        };
        Plan { steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::Stream;

    fn picture(side: usize) -> Rgb8 {
        let mut rng = rng::at(3, Stream::Looks, 0, 9);
        let mut value = 120.0f32;
        let data = (0..side * side * 3)
            .map(|_| {
                value = (value + 12.0 * rng::normal(&mut rng)).clamp(0.0, 255.0);
                value as u8
            })
            .collect();
        Rgb8::new(side, side, data).unwrap()
    }

    #[test]
    fn one_plan_does_the_same_to_equal_pictures_and_another_plan_differs() {
        let config = DegradeConfig { clean: 0.0, noise: 1.0, ..Default::default() };
        let plan = config.draw(&mut rng::at(1, Stream::Looks, 0, 0));
        let other = config.draw(&mut rng::at(1, Stream::Looks, 0, 1));
        let picture = picture(96);
        assert!(plan.apply(&picture).unwrap() == plan.apply(&picture).unwrap());
        assert!(plan.apply(&picture).unwrap() != other.apply(&picture).unwrap());
    }

    #[test]
    fn about_the_configured_share_stays_clean() {
        let config = DegradeConfig::default();
        let clean =
            (0..4000).filter(|slot| config.draw(&mut rng::at(5, Stream::Looks, 0, *slot)).steps.is_empty()).count();
        assert!((500..700).contains(&clean), "{clean} of 4000");
    }

    #[test]
    fn retouching_comes_first_meets_clean_pictures_and_changes_no_other_draw() {
        let config = DegradeConfig { clean: 1.0, smooth: 0.4, sharpen: 0.4, ..Default::default() };
        let plans: Vec<Plan> = (0..1000).map(|slot| config.draw(&mut rng::at(5, Stream::Looks, 0, slot))).collect();
        let share = |of: fn(&Step) -> bool| plans.iter().filter(|plan| plan.steps.iter().any(of)).count();
        assert!((340..460).contains(&share(|step| matches!(step, Step::Smooth { .. }))));
        assert!((340..460).contains(&share(|step| matches!(step, Step::Sharpen { .. }))));
        assert!(plans.iter().all(|plan| plan.steps.len() <= 2));

        // Bands of another range, but a share of 0: the draws are those of the defaults.
        let unused = DegradeConfig { smooth_eps: [0.5, 0.6], sharpen_px: [7.0, 8.0], ..Default::default() };
        let draw = |config: &DegradeConfig| config.draw(&mut rng::at(5, Stream::Looks, 0, 3));
        assert_eq!(draw(&unused), draw(&DegradeConfig::default()));
    }

    #[test]
    fn smoothing_takes_grain_and_sharpening_adds_to_it() {
        let grain = |seen: &Rgb8| -> f64 {
            let steps = seen.data.chunks_exact(6).map(|two| (f64::from(two[0]) - f64::from(two[3])).abs());
            steps.sum()
        };
        let picture = noisy(&Rgb8::new(96, 96, vec![128; 96 * 96 * 3]).unwrap(), 6.0, 1);
        let after = |step: Step| grain(&step.apply(&picture).unwrap());
        let smooth = |strength| after(Step::Smooth { radius: 0.03, eps: 0.02, strength });
        assert!(smooth(1.0) < 0.6 * grain(&picture));
        assert!(smooth(1.0) < smooth(0.5) && smooth(0.5) < grain(&picture));
        assert_eq!(smooth(0.0), grain(&picture));
        assert!(after(Step::Sharpen { sigma_px: 1.0, amount: 1.0 }) > 1.2 * grain(&picture));
    }

    #[test]
    fn every_drawn_plan_works_on_small_pictures() {
        let config = DegradeConfig {
            clean: 0.0,
            encode_again: 1.0,
            enlarge: 0.5,
            smooth: 0.5,
            sharpen: 0.5,
            ..Default::default()
        };
        for slot in 0..60 {
            let plan = config.draw(&mut rng::at(11, Stream::Looks, 0, slot));
            let seen = plan.apply(&picture(70)).unwrap();
            assert!(seen.height >= 8 && seen.width >= 8, "{plan:?}");
        }
    }

    #[test]
    fn lower_quality_makes_smaller_files_and_larger_errors() {
        let picture = picture(64);
        let error = |seen: &Rgb8| -> f64 {
            picture.data.iter().zip(&seen.data).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        let (poor, good) = (encode_jpeg(&picture, 30, false).unwrap(), encode_jpeg(&picture, 95, true).unwrap());
        assert!(poor.len() < good.len());
        assert!(error(&reread(&poor).unwrap()) > 2.0 * error(&reread(&good).unwrap()));
        let webp = |quality| reread(&encode_webp(&picture, quality).unwrap()).unwrap();
        assert!(error(&webp(30)) > error(&webp(95)));
    }

    #[test]
    fn tiers_have_the_stated_sizes_and_names() {
        let large = picture(300);
        assert_eq!(Tier::Avatar.plan(true).apply(&large).unwrap().width, 200);
        assert_eq!(Tier::Hard.plan(false).apply(&large).unwrap().width, 300);
        assert!(Tier::Raw.plan(false).apply(&large).unwrap() == large);
        for (number, tier) in Tier::all().enumerate() {
            assert_eq!(Tier::named(tier.name()).unwrap(), tier);
            assert_eq!(tier.number(), number as u64);
            assert_eq!(serde_json::to_value(tier).unwrap(), tier.name());
            assert_eq!(serde_json::from_value::<Tier>(tier.name().into()).unwrap(), tier);
        }
        assert_eq!(Tier::named("worst").unwrap_err().kind(), ErrorKind::BadUsage);
    }

    #[test]
    fn the_mean_filter_averages_its_window() {
        let mut spot = Rgb8::new(9, 9, vec![0; 243]).unwrap();
        spot.data[(4 * 9 + 4) * 3] = 250;
        let seen = mean_filter(&spot, 5).unwrap();
        assert_eq!(seen.data[(4 * 9 + 4) * 3], 10);
        assert_eq!(seen.data[(4 * 9 + 7) * 3], 0);
    }
}
