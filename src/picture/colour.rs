//! Colour profiles -> sRGB, the colours that the network was trained on and that people see. Read are profiles of three
//! primaries (Display P3, Adobe RGB, ProPhoto, those of monitors and cameras) and of grey; both by their curves
//! (ICC.1:2022, sections 8.3 and 10); and of four inks, by their tables (`inks.rs`).

mod inks;

pub(super) use inks::Inks;

/// Steps of the table that turns light into sRGB values: a fifth of a level at black, where it is steepest.
const STEPS: usize = 16_384;

/// XYZ under D50 -> linear sRGB: the inverse of sRGB's primaries as profiles state them.
const XYZ_TO_SRGB: [[f64; 3]; 3] = [
    [3.133_856_1, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454_0],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];

/// White of profiles in XYZ.
const D50: [f64; 3] = [0.964_202_88, 1.0, 0.824_905_4];

/// Brings pixels to sRGB.
#[derive(Debug)]
pub(super) enum ToSrgb {
    /// Of grey or of three primaries.
    Light(Box<Light>),
    /// Of four inks.
    Inks(Box<Inks>),
}

/// Colours that are lights added up.
pub(super) struct Light {
    /// Light of each value of each channel.
    light: [[f32; 256]; 3],
    /// Linear RGB of the profile -> linear sRGB.
    matrix: [[f32; 3]; 3],
    screen: Screen,
}

impl std::fmt::Debug for Light {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Light")
    }
}

/// sRGB values of light from 0 to 1.
struct Screen(Vec<u8>);

impl Screen {
    fn new() -> Screen {
        Screen((0..=STEPS).map(|step| (255.0 * encoded(step as f64 / STEPS as f64)).round() as u8).collect())
    }

    /// Colours that sRGB does not hold become the nearest value of each channel. NaN becomes 0.
    fn value(&self, light: f32) -> u8 {
        self.0[(light * STEPS as f32 + 0.5).clamp(0.0, STEPS as f32) as usize]
    }
}

/// What a profile asks for.
#[derive(Debug)]
pub(super) enum Profile {
    /// Nothing: its colours are those of sRGB.
    Srgb,
    /// Pixels are to be changed.
    Other(ToSrgb),
    /// It is broken, or of a kind that is not read.
    Unread,
}

impl Profile {
    /// Reads an ICC profile for a picture of grey or of R G B.
    pub(super) fn read(icc: &[u8], grey: bool) -> Profile {
        let transform = if grey { grey_curve(icc) } else { primaries(icc) };
        match transform {
            None => Profile::Unread,
            Some(transform) if transform.changes_nothing() => Profile::Srgb,
            Some(transform) => Profile::Other(ToSrgb::Light(Box::new(transform))),
        }
    }

    /// Reads an ICC profile for a picture of C M Y K.
    pub(super) fn read_inks(icc: &[u8]) -> Profile {
        Inks::read(icc).map_or(Profile::Unread, |inks| Profile::Other(ToSrgb::Inks(Box::new(inks))))
    }
}

impl Light {
    fn new(light: [[f32; 256]; 3], to_xyz: [[f64; 3]; 3]) -> Light {
        let cell = |row: usize, column: usize| -> f64 { (0..3).map(|k| XYZ_TO_SRGB[row][k] * to_xyz[k][column]).sum() };
        let matrix = std::array::from_fn(|row| std::array::from_fn(|column| cell(row, column) as f32));
        Light { light, matrix, screen: Screen::new() }
    }

    fn pixel(&self, pixel: [u8; 3]) -> [u8; 3] {
        let [r, g, b]: [f32; 3] = std::array::from_fn(|channel| self.light[channel][usize::from(pixel[channel])]);
        self.matrix.map(|row| self.screen.value(row[0] * r + row[1] * g + row[2] * b))
    }

    /// Changes the pixels of a row.
    pub(super) fn row(&self, pixels: &mut [[u8; 3]]) {
        for pixel in pixels {
            *pixel = self.pixel(*pixel);
        }
    }

    /// Whether it is sRGB but for rounding.
    fn changes_nothing(&self) -> bool {
        let levels = || (0..=255u8).step_by(17);
        levels().all(|r| {
            levels().all(|g| {
                levels().all(|b| {
                    let other = self.pixel([r, g, b]);
                    other.iter().zip([r, g, b]).all(|(&a, b)| a.abs_diff(b) <= 1)
                })
            })
        })
    }
}

/// sRGB's curve (IEC 61966-2-1).
fn encoded(light: f64) -> f64 {
    if light <= 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

fn primaries(icc: &[u8]) -> Option<Light> {
    if colour_space(icc)? != *b"RGB " {
        return None;
    }
    let curves = [curve(tag(icc, b"rTRC")?)?, curve(tag(icc, b"gTRC")?)?, curve(tag(icc, b"bTRC")?)?];
    let columns = [xyz(tag(icc, b"rXYZ")?)?, xyz(tag(icc, b"gXYZ")?)?, xyz(tag(icc, b"bXYZ")?)?];
    Some(Light::new(curves, std::array::from_fn(|row| std::array::from_fn(|column| columns[column][row]))))
}

fn grey_curve(icc: &[u8]) -> Option<Light> {
    if colour_space(icc)? != *b"GRAY" {
        return None;
    }
    let light = curve(tag(icc, b"kTRC")?)?;
    // White's XYZ is that of D50; a third of it from each of three equal channels.
    Some(Light::new([light; 3], D50.map(|value| [value / 3.0; 3])))
}

fn colour_space(icc: &[u8]) -> Option<[u8; 4]> {
    let header = icc.get(..128)?;
    (&header[36..40] == b"acsp").then(|| [header[16], header[17], header[18], header[19]])
}

/// The data of a tag.
fn tag<'a>(icc: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let count = usize::try_from(u32_at(icc, 128)?).ok()?.min(200);
    let entry = icc.get(132..)?.as_chunks::<12>().0.iter().take(count).find(|entry| entry.starts_with(name))?;
    let (start, length) = (u32_at(entry, 4)? as usize, u32_at(entry, 8)? as usize);
    icc.get(start..start.checked_add(length)?)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|four| u32::from_be_bytes(*four))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|two| u16::from_be_bytes(*two))
}

/// A number with 16 fractional bits.
fn fixed_at(bytes: &[u8], at: usize) -> Option<f64> {
    u32_at(bytes, at).map(|bits| f64::from(bits.cast_signed()) / 65_536.0)
}

fn xyz(tag: &[u8]) -> Option<[f64; 3]> {
    tag.starts_with(b"XYZ ").then_some(())?;
    Some([fixed_at(tag, 8)?, fixed_at(tag, 12)?, fixed_at(tag, 16)?])
}

/// The light, 0..1, of each value of a channel.
fn curve(tag: &[u8]) -> Option<[f32; 256]> {
    let of: Box<dyn Fn(f64) -> f64> = match tag.first_chunk::<4>()? {
        b"curv" => match u32_at(tag, 8)? as usize {
            0 => Box::new(|x| x),
            1 => {
                let gamma = f64::from(u16_at(tag, 12)?) / 256.0;
                Box::new(move |x: f64| x.powf(gamma))
            }
            count => {
                let bytes = tag.get(12..12usize.checked_add(count.checked_mul(2)?)?)?;
                let points: Vec<f64> =
                    bytes.as_chunks::<2>().0.iter().map(|two| f64::from(u16::from_be_bytes(*two)) / 65_535.0).collect();
                Box::new(move |x| interpolated(&points, x))
            }
        },
        b"para" => parametric(tag)?,
        _ => return None,
    };
    let light: [f32; 256] = std::array::from_fn(|value| of(value as f64 / 255.0).clamp(0.0, 1.0) as f32);
    light.iter().all(|value| value.is_finite()).then_some(light)
}

/// Between the points, two at least, of a curve over 0..1.
fn interpolated(points: &[f64], x: f64) -> f64 {
    let place = x.clamp(0.0, 1.0) * (points.len() - 1) as f64;
    let low = (place as usize).min(points.len() - 2);
    points[low] + (points[low + 1] - points[low]) * (place - low as f64)
}

/// ICC.1:2022, table 68.
fn parametric(tag: &[u8]) -> Option<Box<dyn Fn(f64) -> f64>> {
    let parameter = |index: usize| fixed_at(tag, 12 + 4 * index);
    let gamma = parameter(0)?;
    Some(match u16_at(tag, 8)? {
        0 => Box::new(move |x| x.powf(gamma)),
        kind @ 1..=4 => {
            let (a, b) = (parameter(1)?, parameter(2)?);
            // Above `from` a power, moved by `lift`; below it a line, `slope * x + floor`.
            let (from, lift, slope, floor) = match kind {
                1 => (-b / a, 0.0, 0.0, 0.0),
                2 => (-b / a, parameter(3)?, 0.0, parameter(3)?),
                3 => (parameter(4)?, 0.0, parameter(3)?, 0.0),
                _ => (parameter(4)?, parameter(5)?, parameter(3)?, parameter(6)?),
            };
            Box::new(move |x| if x >= from { (a * x + b).max(0.0).powf(gamma) + lift } else { slope * x + floor })
        }
        _ => return None,
    })
}
