//! The guard of every maker of fakes: a classifier that sees nothing but a narrow ring along the border of a picture, and of it
//! only twenty plain statistics. No maker of fakes touches the border for a reason, so it must stay at chance between a real
//! and the fake made from it; where it does not, a network learns the maker's slip and never looks for traces.

use std::fmt;

use crate::picture::Rgb8;
use crate::train::metrics::{Scored, auc};

/// Width of the ring as a share of the shorter side.
const WIDTH: f64 = 0.08;
/// Statistics of a ring.
pub const STATISTICS: usize = 20;
/// The first of them say how bright, coloured and detailed a ring is; the others by what pattern.
const STRENGTHS: usize = 12;
/// Parts that pairs are dealt into: each is judged by what was learnt on the others.
const FOLDS: usize = 4;
/// Fewer pairs than this say nothing.
pub const FEWEST_PAIRS: usize = 40;
/// Chance is left when the area under the curve is further from one half than so many of its standard errors.
const ERRORS: f64 = 2.6;
/// Pull of the weights towards zero, in pictures.
const PULL: f64 = 4.0;

/// What a maker of fakes paints anew, and hence what the ring may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Painted {
    /// The face: the border is the original's, nothing may tell it.
    Face,
    /// All of it: the pattern of the finest detail is the trace that is meant, but it may be no brighter, no more coloured and
    /// no softer than the original.
    Everything,
}

/// What the ring tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Area under the curve between reals and fakes, on pairs that were not learnt from.
    pub auc: f64,
    /// Pairs of a real and the fake made from it.
    pub pairs: usize,
}

impl Finding {
    /// Standard error of the area under the curve, were there nothing to find.
    pub fn error(&self) -> f64 {
        // Mann and Whitney's variance for two classes of so many.
        (6.0 * self.pairs as f64).sqrt().recip()
    }

    /// Whether the ring tells no more than chance would.
    pub fn is_chance(&self) -> bool {
        (self.auc - 0.5).abs() <= ERRORS * self.error()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} +- {:.3} of {} pairs", self.auc, self.error(), self.pairs)
    }
}

/// How well the rings of reals and of the fakes made from them are told apart; `None` for too few pairs.
pub fn tell(pairs: &[[[f64; STATISTICS]; 2]], painted: Painted) -> Option<Finding> {
    if pairs.len() < FEWEST_PAIRS {
        return None;
    }
    let mut areas = Vec::new();
    for fold in 0..FOLDS {
        let part = |own: bool| -> Vec<(Vec<f64>, bool)> {
            let chosen = pairs.iter().enumerate().filter(|(index, _)| (index % FOLDS == fold) == own);
            let read = |ring: &[f64; STATISTICS]| match painted {
                Painted::Face => ring.to_vec(),
                Painted::Everything => ring[..STRENGTHS].to_vec(),
            };
            chosen.flat_map(|(_, [real, fake])| [(read(real), false), (read(fake), true)]).collect()
        };
        let (learnt, judged) = (part(false), part(true));
        let classifier = Classifier::learn(&learnt);
        let scored: Vec<Scored> = judged.iter().map(|(x, fake)| (classifier.score(x) as f32, *fake)).collect();
        areas.extend(auc(&scored));
    }
    Some(Finding { auc: areas.iter().sum::<f64>() / areas.len() as f64, pairs: pairs.len() })
}

/// A part of the ring: a picture of its own, and where it lies.
struct Strip {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// Twenty statistics of the ring: means and spreads of the channels, strength of detail in luma and chroma, steps on the grid
/// of JPEG, and how much is clipped.
pub fn statistics(picture: &Rgb8) -> [f64; STATISTICS] {
    let (height, width) = (picture.height, picture.width);
    let edge = ((height.min(width) as f64 * WIDTH).round() as usize).clamp(1, height.min(width));
    let inner = height.saturating_sub(2 * edge);
    let strips = [
        Strip { top: 0, left: 0, height: edge, width },
        Strip { top: height - edge, left: 0, height: edge, width },
        Strip { top: edge, left: 0, height: inner, width: edge },
        Strip { top: edge, left: width - edge, height: inner, width: edge },
    ];
    let mut channels = [Moments::default(); 3];
    let mut chroma = [Moments::default(); 2];
    // Steps across and down: to the next, to the one after it, second differences; 2x2 checkers; chroma's own.
    let [mut steps, mut far, mut curves, mut chroma_steps] = [[Moments::default(); 2]; 4];
    let mut checkers = Moments::default();
    // On JPEG's grid and off it.
    let mut grid = [[Moments::default(); 2]; 2];
    let mut clipped = [0.0; 2];
    let colours = |y: usize, x: usize| {
        let [r, g, b] = picture.pixel(y, x).map(f64::from);
        let luma = 0.299 * r + 0.587 * g + 0.114 * b;
        [luma, b - luma, r - luma]
    };
    for strip in strips {
        for y in strip.top..strip.top + strip.height {
            for x in strip.left..strip.left + strip.width {
                let pixel = picture.pixel(y, x);
                pixel.iter().zip(&mut channels).for_each(|(value, moments)| moments.add(f64::from(*value)));
                clipped[0] += pixel.iter().filter(|v| **v == 0).count() as f64;
                clipped[1] += pixel.iter().filter(|v| **v == 255).count() as f64;
                let [luma, blue, red] = colours(y, x);
                chroma[0].add(blue);
                chroma[1].add(red);
                let (below, right) = (strip.top + strip.height - y - 1, strip.left + strip.width - x - 1);
                for (axis, (room, place)) in [(right, x), (below, y)].into_iter().enumerate() {
                    let ahead = |by: usize| if axis == 0 { colours(y, x + by) } else { colours(y + by, x) };
                    if room >= 1 {
                        let [next, next_blue, next_red] = ahead(1);
                        steps[axis].add(next - luma);
                        grid[axis][usize::from(place % 8 == 7)].add(next - luma);
                        chroma_steps[axis].add(next_blue - blue);
                        chroma_steps[axis].add(next_red - red);
                        if room >= 2 {
                            let after = ahead(2)[0];
                            far[axis].add(after - luma);
                            curves[axis].add(after - 2.0 * next + luma);
                        }
                    }
                }
                if below >= 1 && right >= 1 {
                    checkers.add(luma - colours(y, x + 1)[0] - colours(y + 1, x)[0] + colours(y + 1, x + 1)[0]);
                }
            }
        }
    }
    let values = channels[0].count.max(1.0) * 3.0;
    let log = |energy: f64| (energy + 0.1).ln();
    let blocks = |[off, on]: [Moments; 2]| log(on.energy()) - log(off.energy());
    [
        channels[0].mean(),
        channels[1].mean(),
        channels[2].mean(),
        channels[0].spread(),
        channels[1].spread(),
        channels[2].spread(),
        chroma[0].spread(),
        chroma[1].spread(),
        log(steps[0].energy()),
        log(steps[1].energy()),
        log(chroma_steps[0].energy()),
        log(chroma_steps[1].energy()),
        log(far[0].energy() + far[1].energy()),
        (clipped[0] / values).sqrt(),
        (clipped[1] / values).sqrt(),
        log(curves[0].energy()),
        log(curves[1].energy()),
        log(checkers.energy()),
        blocks(grid[0]),
        blocks(grid[1]),
    ]
}

#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    /// Mean square.
    fn energy(&self) -> f64 {
        self.squares / self.count.max(1.0)
    }

    fn spread(&self) -> f64 {
        (self.energy() - self.mean().powi(2)).max(0.0).sqrt()
    }
}

/// Logistic regression on standardised statistics and their squares: a maker that makes some borders softer and others sharper
/// leaks as well as one that always softens.
struct Classifier {
    centre: Vec<f64>,
    scale: Vec<f64>,
    /// The constant first.
    weights: Vec<f64>,
}

impl Classifier {
    fn learn(samples: &[(Vec<f64>, bool)]) -> Self {
        let features = samples.first().map_or(0, |(x, _)| x.len());
        let moments: Vec<Moments> = (0..features)
            .map(|feature| {
                let mut moments = Moments::default();
                samples.iter().for_each(|(x, _)| moments.add(x[feature]));
                moments
            })
            .collect();
        let mut classifier = Classifier {
            centre: moments.iter().map(Moments::mean).collect(),
            // What never changes is left at zero.
            scale: moments.iter().map(|m| if m.spread() > 1e-9 { m.spread().recip() } else { 0.0 }).collect(),
            weights: vec![0.0; 1 + 2 * features],
        };
        let rows: Vec<(Vec<f64>, f64)> =
            samples.iter().map(|(x, fake)| (classifier.row(x), f64::from(u8::from(*fake)))).collect();
        let size = classifier.weights.len();
        // Newton's method on a convex loss.
        for _ in 0..8 {
            let mut gradient: Vec<f64> = classifier.weights.iter().map(|w| PULL * w).collect();
            let mut curvature = vec![vec![0.0; size]; size];
            (0..size).for_each(|i| curvature[i][i] = PULL);
            for (row, target) in &rows {
                let p = 1.0 / (1.0 + (-dot(&classifier.weights, row)).exp());
                let weight = p * (1.0 - p);
                for i in 0..size {
                    gradient[i] += (p - target) * row[i];
                    for j in 0..=i {
                        curvature[i][j] += weight * row[i] * row[j];
                    }
                }
            }
            let step = solve(curvature, gradient);
            classifier.weights.iter_mut().zip(step).for_each(|(weight, step)| *weight -= step);
        }
        classifier
    }

    /// 1, standardised statistics, their squares; what lies far outside is cut, so that one odd picture decides nothing.
    fn row(&self, x: &[f64]) -> Vec<f64> {
        let standard = |(x, (centre, scale)): (&f64, (&f64, &f64))| ((x - centre) * scale).clamp(-3.0, 3.0);
        let plain: Vec<f64> = x.iter().zip(self.centre.iter().zip(&self.scale)).map(standard).collect();
        let squares = plain.iter().map(|v| (v * v - 1.0) / 2.0);
        std::iter::once(1.0).chain(plain.iter().copied()).chain(squares).collect()
    }

    fn score(&self, x: &[f64]) -> f64 {
        dot(&self.weights, &self.row(x))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves for a symmetric positive matrix of which the lower half is filled (Cholesky).
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for i in 0..size {
        for j in 0..=i {
            let sum = matrix[i][j] - (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum::<f64>();
            matrix[i][j] = if i == j { sum.max(1e-12).sqrt() } else { sum / matrix[j][j] };
        }
    }
    for i in 0..size {
        let sum = right[i] - (0..i).map(|k| matrix[i][k] * right[k]).sum::<f64>();
        right[i] = sum / matrix[i][i];
    }
    for i in (0..size).rev() {
        let sum = right[i] - (i + 1..size).map(|k| matrix[k][i] * right[k]).sum::<f64>();
        right[i] = sum / matrix[i][i];
    }
    right
}

#[cfg(test)]
pub(crate) mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::train::looks::detail::as_fine;
    use crate::train::looks::forge::{Blended, ForgeConfig, coarse_face, self_blend, up_sampling_traces};
    use crate::train::looks::hull::Place;
    use crate::train::looks::hull::tests::schematic;
    use crate::train::looks::pixels::{self, Kernel, Plane};
    use crate::train::rng::{Stream, at, between, normal};

    /// A picture like no other, but of one family: soft coloured shapes, texture of a drawn strength, grain.
    pub(crate) fn textured(side: usize, seed: u64) -> Rgb8 {
        let rng = &mut at(seed, Stream::Looks, 77, 0);
        let mut field = |grid: usize| {
            let small = Plane { height: grid, width: grid, data: (0..grid * grid).map(|_| normal(rng)).collect() };
            let mut large = Plane::filled(side, side, 0.0);
            let scale = grid as f32 / side as f32;
            for (index, value) in large.data.iter_mut().enumerate() {
                *value = small.sample((index / side) as f32 * scale, (index % side) as f32 * scale);
            }
            large
        };
        let (shapes, texture) = ([field(5), field(5), field(5)], field(side / 3));
        let (strength, grain) = (between(rng, 4.0, 14.0), between(rng, 2.0, 8.0));
        // Lenses and encoders leave nothing at the finest scale, and what there is all channels share.
        let fine = Plane { height: side, width: side, data: (0..side * side).map(|_| normal(rng)).collect() };
        let fine = fine.blurred(between(rng, 0.8, 1.1));
        let planes: [Plane; 3] = std::array::from_fn(|channel| {
            let level = 128.0 + 18.0 * normal(rng);
            let detail = texture.data.iter().zip(&fine.data).map(|(t, f)| strength * t + grain * f);
            let data = shapes[channel].data.iter().zip(detail).map(|(shape, d)| level + 25.0 * shape + d).collect();
            Plane { height: side, width: side, data }
        });
        pixels::from_planes(&planes).unwrap()
    }

    const SIDE: usize = 64;
    const PAIRS: u64 = 240;

    fn told(painted: Painted, make: impl Fn(&Rgb8, u64) -> [Rgb8; 2] + Sync) -> Finding {
        let pairs: Vec<_> = (0..PAIRS)
            .into_par_iter()
            .map(|slot| make(&textured(SIDE, slot), slot).map(|picture| statistics(&picture)))
            .collect();
        tell(&pairs, painted).unwrap()
    }

    fn blended(picture: &Rgb8, slot: u64) -> Blended {
        let points = schematic([0.5, 0.5], 0.45);
        let place = Place { points: slot.is_multiple_of(2).then_some(&points), margin: 1.6 };
        self_blend(picture, &place, &ForgeConfig::default(), &mut at(1, Stream::Forging, 0, slot)).unwrap()
    }

    #[test]
    fn self_blended_pairs_cannot_be_told_by_their_border() {
        let found = told(Painted::Face, |picture, slot| {
            let Blended { real, fake, .. } = blended(picture, slot);
            [real, fake]
        });
        assert!(found.is_chance(), "{found}");
    }

    #[test]
    fn a_changed_target_beside_the_unchanged_picture_is_told_by_its_border() {
        let found = told(Painted::Face, |picture, slot| [picture.clone(), blended(picture, slot).fake]);
        assert!(!found.is_chance() && found.auc > 0.6, "{found}");
    }

    #[test]
    fn up_sampled_pairs_cannot_be_told_by_their_border_and_soft_ones_could() {
        let config = ForgeConfig { trace_side_px: [SIDE as f32; 2], ..ForgeConfig::default() };
        let make = |picture: &Rgb8, slot: u64| {
            up_sampling_traces(picture, &config, &mut at(2, Stream::Forging, 0, slot)).unwrap()
        };
        let found = told(Painted::Everything, |picture, slot| {
            let (fake, twin) = make(picture, slot);
            [twin, fake]
        });
        assert!(found.is_chance(), "{found}");
        let found = told(Painted::Everything, |picture, slot| {
            let (fake, twin) = make(picture, slot);
            [twin, pixels::blur(&fake, 0.5).unwrap()]
        });
        assert!(!found.is_chance(), "{found}");
    }

    #[test]
    fn coarse_faces_cannot_be_told_by_their_border() {
        let found = told(Painted::Face, |picture, slot| {
            let fake = coarse_face(picture, &Place::default(), &mut at(3, Stream::Forging, 0, slot)).unwrap();
            [picture.clone(), fake]
        });
        assert!(found.is_chance(), "{found}");
    }

    #[test]
    fn what_a_soft_decoder_paints_is_told_by_its_border_until_its_detail_is_brought_to_the_originals() {
        // A stand-in for an auto-encoder of a few minutes: coarser by a half.
        let painted = |picture: &Rgb8| {
            let small = pixels::resize_with(picture, SIDE * 2 / 3, SIDE * 2 / 3, Kernel::Bilinear).unwrap();
            pixels::resize_with(&small, SIDE, SIDE, Kernel::CatmullRom).unwrap()
        };
        let found = told(Painted::Everything, |picture, _| [picture.clone(), painted(picture)]);
        assert!(!found.is_chance(), "{found}");
        let found = told(Painted::Everything, |picture, slot| {
            let strength = between(&mut at(4, Stream::Forging, 0, slot), 0.9, 1.1);
            [picture.clone(), as_fine(&painted(picture), picture, strength).unwrap()]
        });
        assert!(found.is_chance(), "{found}");
    }

    #[test]
    fn a_ring_ignores_the_middle_and_few_pairs_say_nothing() {
        let picture = textured(SIDE, 1);
        let mut other = picture.clone();
        for row in 6..SIDE - 6 {
            other.data[(row * SIDE + 6) * 3..(row * SIDE + SIDE - 6) * 3].fill(7);
        }
        assert_eq!(statistics(&picture), statistics(&other));
        other.data[SIDE * 3 * 4 + 3] ^= 64;
        assert_ne!(statistics(&picture), statistics(&other));
        assert_eq!(tell(&vec![[statistics(&picture); 2]; FEWEST_PAIRS - 1], Painted::Face), None);
    }

    #[test]
    fn the_solver_solves() {
        let matrix = vec![vec![4.0, 0.0, 0.0], vec![2.0, 5.0, 0.0], vec![1.0, 3.0, 6.0]];
        let found = solve(matrix, vec![9.0, 17.0, 22.0]);
        // 4 2 1 / 2 5 3 / 1 3 6 times (1.25 ...) is checked by multiplying back.
        let full = [[4.0, 2.0, 1.0], [2.0, 5.0, 3.0], [1.0, 3.0, 6.0]];
        for (row, wanted) in full.iter().zip([9.0, 17.0, 22.0]) {
            assert!((dot(row, &found) - wanted).abs() < 1e-9, "{found:?}");
        }
    }
}
