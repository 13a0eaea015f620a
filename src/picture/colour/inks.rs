//! Profiles of C M Y K: a table of the colours that inks have on paper, with curves before and behind it (ICC.1:2022, sections
//! 10.10 and 10.11, lut16Type and lut8Type, to Lab). Between its nodes colours are interpolated linearly.

use super::{D50, Screen, XYZ_TO_SRGB, colour_space, interpolated, tag, u16_at};

/// Nodes of each ink that are read: makers write 9 to 17.
const MOST_NODES: usize = 33;
/// Points of a curve: the most that the format allows.
const MOST_POINTS: usize = 4096;

/// Brings pixels of four inks to sRGB.
pub(in crate::picture) struct Inks {
    /// Of each value of each ink: where the node below it lies among the colours, and how far it is to the next one, 0..1.
    places: [[(usize, f32); 256]; 4],
    /// From a node to the next one of each ink.
    steps: [usize; 4],
    /// Lab of each node as the file states it, 0..1; black is the innermost ink.
    colours: Vec<[f32; 3]>,
    /// Curves behind the table, of L, a and b.
    curves: [Vec<f64>; 3],
    /// What 1 stands for in the file's numbers of L, and of a and b, which begin at -128.
    scale: [f32; 2],
    screen: Screen,
}

impl std::fmt::Debug for Inks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inks")
    }
}

impl Inks {
    /// Reads the table of a profile: that for photos, as browsers take it. `None` for other kinds and for broken ones.
    pub(super) fn read(icc: &[u8]) -> Option<Inks> {
        if colour_space(icc)? != *b"CMYK" || icc.get(20..24)? != b"Lab " {
            return None;
        }
        let table = tag(icc, b"A2B0")?;
        let nodes = usize::from(*table.get(10)?);
        if table.get(8..10)? != [4, 3] || !(2..=MOST_NODES).contains(&nodes) {
            return None;
        }
        // Numbers of the table as 0..1, from a place in it.
        let (mut at, width, points, scale): (usize, usize, _, _) = match table.first_chunk::<4>()? {
            b"mft1" => (48, 1, [256, 256], [100.0, 255.0]),
            // Its Lab has the highest byte for the whole numbers, so that L = 100 is 65280.
            b"mft2" => {
                let points = [usize::from(u16_at(table, 48)?), usize::from(u16_at(table, 50)?)];
                (52, 2, points, [100.0 * 65_535.0 / 65_280.0, 65_535.0 / 256.0])
            }
            _ => return None,
        };
        if !points.iter().all(|points| (2..=MOST_POINTS).contains(points)) {
            return None;
        }
        let mut take = |count: usize| -> Option<Vec<f32>> {
            let bytes = table.get(at..at.checked_add(count * width)?)?;
            at += count * width;
            let number = |bytes: &[u8]| match bytes {
                [high, low] => f32::from(u16::from_be_bytes([*high, *low])) / 65_535.0,
                _ => f32::from(bytes[0]) / 255.0,
            };
            Some(bytes.chunks_exact(width).map(number).collect())
        };
        let wide = |values: Vec<f32>| -> Vec<f64> { values.into_iter().map(f64::from).collect() };
        let before = wide(take(4 * points[0])?);
        let colours = take(nodes.pow(4) * 3)?.as_chunks::<3>().0.to_vec();
        let behind = wide(take(3 * points[1])?);
        let mut before = before.chunks(points[0]);
        let steps = [3, 2, 1, 0].map(|inner| nodes.pow(inner));
        let places = steps.map(|step| {
            let curve = before.next().expect("four of them were taken");
            std::array::from_fn(|value| {
                let place = interpolated(curve, value as f64 / 255.0) as f32 * (nodes - 1) as f32;
                let low = (place as usize).min(nodes - 2);
                (low * step, place - low as f32)
            })
        });
        let mut behind = behind.chunks(points[1]);
        let curves = [(); 3].map(|()| behind.next().expect("three of them were taken").to_vec());
        Some(Inks { places, steps, colours, curves, scale, screen: Screen::new() })
    }

    /// Brings a row of C M Y K, with 255 for no ink, to sRGB.
    pub(in crate::picture) fn row(&self, inks: &[u8], pixels: &mut [[u8; 3]]) {
        let mut last = ([0; 4], self.pixel([0; 4]));
        for (pixel, &inks) in pixels.iter_mut().zip(inks.as_chunks::<4>().0) {
            if inks != last.0 {
                last = (inks, self.pixel(inks));
            }
            *pixel = last.1;
        }
    }

    fn pixel(&self, inks: [u8; 4]) -> [u8; 3] {
        let places: [(usize, f32); 4] = std::array::from_fn(|ink| self.places[ink][usize::from(255 - inks[ink])]);
        let node: usize = places.iter().map(|(node, _)| node).sum();
        let mut lab = [0f32; 3];
        for corner in 0..16 {
            let (mut at, mut share) = (node, 1.0);
            for (ink, (_, part)) in places.iter().enumerate() {
                if corner >> ink & 1 == 1 {
                    at += self.steps[ink];
                    share *= part;
                } else {
                    share *= 1.0 - part;
                }
            }
            for (sum, value) in lab.iter_mut().zip(self.colours[at]) {
                *sum += share * value;
            }
        }
        let [l, a, b]: [f32; 3] =
            std::array::from_fn(|axis| interpolated(&self.curves[axis], f64::from(lab[axis])) as f32);
        let y = (l * self.scale[0] + 16.0) / 116.0;
        let [a, b] = [a, b].map(|value| value * self.scale[1] - 128.0);
        let xyz = [light(y + a / 500.0), light(y), light(y - b / 200.0)];
        XYZ_TO_SRGB.map(|row| {
            let sum: f64 = (0..3).map(|axis| row[axis] * D50[axis] * f64::from(xyz[axis])).sum();
            self.screen.value(sum as f32)
        })
    }
}

/// X, Y or Z as a share of white's, of the numbers that Lab is made of (CIE 15).
fn light(f: f32) -> f32 {
    const BEND: f32 = 6.0 / 29.0;
    if f > BEND { f * f * f } else { 3.0 * BEND * BEND * (f - 4.0 / 29.0) }
}
