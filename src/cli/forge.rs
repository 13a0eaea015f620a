//! `grnet forge`: a forgery made from a photo, by the self-blending that training uses, so that anybody can see what the
//! detector is meant to catch without a stranger's picture. It puts nobody's face on anybody else.

use std::path::PathBuf;

use clap::Args;

use crate::cli;
use crate::error::{Error, ErrorKind, Result};
use crate::picture::crop::CROP_MARGIN;
use crate::picture::face::{FaceFinder, Finder};
use crate::picture::{self, Limits, Rgb8};
use crate::report::Bounds;
use crate::report::evidence;
use crate::train::looks::forge::{Blended, ForgeConfig, self_blend};
use crate::train::looks::hull::Place;
use crate::train::looks::pixels;
use crate::train::rng::{Stream, at};

/// Make a self-blended forgery of a photo: its largest face is blended with a slightly changed copy of itself.
#[derive(Debug, Args)]
pub struct ForgeArgs {
    /// Photo with a face
    input: PathBuf,
    /// JPEG or PNG file to write
    output: PathBuf,
    /// The same seed gives the same forgery
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Quality of a JPEG file, 1 to 100
    #[arg(long, default_value_t = 92, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
}

/// So many draws are tried for a blend that leaves the surroundings of the face alone; each has a chance of one half.
const TRIES: u64 = 64;

/// Runs `grnet forge`.
///
/// # Errors
/// `Io`, `BadImage` for a photo that cannot be read or shows no face, `BadUsage` for an output of another kind.
pub fn run(args: &ForgeArgs) -> Result<()> {
    let extension = args.output.extension().unwrap_or_default().to_ascii_lowercase();
    let as_png = extension == "png";
    if !as_png && extension != "jpg" && extension != "jpeg" {
        let message = format!("expected an output that ends in .jpg or .png, found {}", args.output.display());
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    let photo = picture::decode(&cli::read_picture(&args.input)?, &Limits::default())?.pixels;
    let faces = Finder::new()?.find(&photo);
    let face =
        faces.first().ok_or_else(|| Error::new(ErrorKind::BadImage, "expected a photo with a face, found none"))?;
    let forged = forge(&photo, &face.bounds, args.seed)?;
    let bytes = if as_png { evidence::png(&forged)? } else { picture::encode_jpeg(&forged, args.quality, false)? };
    cli::write(&args.output, &bytes)
}

/// The photo with the face inside `bounds` blended with a changed copy of itself.
fn forge(photo: &Rgb8, bounds: &Bounds, seed: u64) -> Result<Rgb8> {
    let Area { top, left, height, width } = Area::around(photo, bounds);
    let crop = pixels::trimmed(photo, top, left, height, width)?;
    // Self-blending changes either the copy or what it is laid on; the latter would leave a seam round the crop.
    let config = ForgeConfig { encode: 0.0, ..ForgeConfig::default() };
    let blends =
        (0..TRIES).map(|slot| self_blend(&crop, &Place::default(), &config, &mut at(seed, Stream::Forging, 0, slot)));
    for blend in blends {
        let Blended { real, fake, .. } = blend?;
        if fake == crop || real != crop {
            continue;
        }
        let mut forged = photo.clone();
        for row in 0..height {
            let at = ((top + row) * photo.width + left) * 3;
            forged.data[at..at + width * 3].copy_from_slice(&fake.data[row * width * 3..(row + 1) * width * 3]);
        }
        return Ok(forged);
    }
    Err(Error::new(ErrorKind::Internal, format!("expected a seamless blend within {TRIES} draws, found none")))
}

/// Part of a photo.
struct Area {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

impl Area {
    /// The crop of a face as far as it lies inside the photo.
    fn around(photo: &Rgb8, bounds: &Bounds) -> Area {
        let side = bounds.width.max(bounds.height) * CROP_MARGIN;
        let span = |start: f32, extent: f32, length: usize| {
            let from = (start + (extent - side) / 2.0).round().clamp(0.0, length as f32 - 1.0);
            let to = (start + (extent + side) / 2.0).round().clamp(from + 1.0, length as f32);
            (from as usize, (to - from) as usize)
        };
        let (top, height) = span(bounds.y, bounds.height, photo.height);
        let (left, width) = span(bounds.x, bounds.width, photo.width);
        Area { top, left, height, width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgery_changes_the_face_alone_and_repeats() {
        let bytes = include_bytes!("../../tests/pictures/astronaut.jpg");
        let photo = picture::decode(bytes, &Limits::default()).expect("a photo").pixels;
        let bounds = Finder::new().expect("a finder").find(&photo)[0].bounds;
        let forged = forge(&photo, &bounds, 3).expect("a forgery");
        assert_eq!(forged, forge(&photo, &bounds, 3).expect("a forgery"));
        assert_ne!(forged, forge(&photo, &bounds, 4).expect("a forgery"));
        let Area { top, left, height, width } = Area::around(&photo, &bounds);
        let changed: Vec<(usize, usize)> = (0..photo.height * photo.width)
            .map(|index| (index / photo.width, index % photo.width))
            .filter(|&(y, x)| photo.pixel(y, x) != forged.pixel(y, x))
            .collect();
        assert!(changed.len() > height * width / 20, "{} pixels changed", changed.len());
        // Strictly inside: the border of the crop is left alone.
        let inside = |&(y, x): &(usize, usize)| {
            (top + 1..top + height - 1).contains(&y) && (left + 1..left + width - 1).contains(&x)
        };
        assert!(changed.iter().all(inside), "something outside the face changed");
    }
}
