//! `grnet figure`: the paper's pictures of residuals (Fig. 5) and of what front ends let through (Fig. 10), from one's own
//! photos.

use std::path::{Path, PathBuf};

use burn::tensor::backend::AutodiffBackend;
use clap::{Args, Subcommand};

use crate::infer::architecture::GuidedFilterConfig;
use crate::picture::crop::{CROP_MARGIN, whole_square};
use crate::picture::face::{FaceFinder, Finder};
use crate::picture::{self, Limits, Rgb8};
use crate::report::evidence::{RESIDUAL_GAIN, png};
use crate::train::backend::{TrainDevice, TrainJob, train_on};
use crate::train::compare::picture_grid::{self, Look};
use crate::train::compare::system::System;
use crate::train::compare::{Kept, kept_models};
use crate::train::nn::residuals::highpass::Kernel;
use crate::{Error, ErrorKind, Result, cli};

/// Options of `grnet figure`.
#[derive(Debug, Args)]
pub struct FigureArgs {
    #[command(subcommand)]
    figure: Figure,
}

#[derive(Debug, Subcommand)]
enum Figure {
    /// High-pass against guided residuals of faces at several JPEG qualities, as one PNG (Fig. 5)
    Residuals(ResidualsArgs),
    /// What each front end lets through, as one PNG (Fig. 10): guided gradients of trained models, or plain outputs
    Features(FeaturesArgs),
}

/// What both have.
#[derive(Debug, Args)]
struct Common {
    /// Photos; the largest face of each, or its middle where there is none
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    /// PNG file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Side of a cell in pixels
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u16).range(16..=1024))]
    side: u16,
    /// Factor by which residuals are amplified for the eye
    #[arg(long, default_value_t = RESIDUAL_GAIN)]
    gain: f32,
    /// The high-pass filter: first_order_h, first_order_v, second_order_h, laplacian4, laplacian8, square3x3, kv5x5
    #[arg(long, default_value = Kernel::default().name())]
    kernel: String,
}

/// Options of `grnet figure residuals`.
#[derive(Debug, Args)]
struct ResidualsArgs {
    #[command(flatten)]
    common: Common,
    /// JPEG qualities, beside the photo as it is
    #[arg(long, value_delimiter = ',', default_value = "90,60,30", value_parser = clap::value_parser!(u8).range(1..=100))]
    qualities: Vec<u8>,
}

/// Options of `grnet figure features`.
#[derive(Debug, Args)]
struct FeaturesArgs {
    #[command(flatten)]
    common: Common,
    /// Folder of a `grnet compare` that trained systems of Table 2: guided back-propagation through their networks
    #[arg(long, value_name = "FOLDER")]
    run: Option<PathBuf>,
}

/// Runs `grnet figure`.
///
/// # Errors
/// `Io`, `BadImage` for photos that cannot be read, `BadUsage` for unknown names and a folder without models.
pub fn run(args: &FigureArgs) -> Result<()> {
    match &args.figure {
        Figure::Residuals(args) => residuals(args),
        Figure::Features(args) => features(args),
    }
}

fn residuals(args: &ResidualsArgs) -> Result<()> {
    let look = args.common.look()?;
    write(&args.common.out, &picture_grid::residuals(&args.common.faces()?, &args.qualities, &look)?)?;
    let qualities: Vec<String> = args.qualities.iter().map(u8::to_string).collect();
    println!("rows, for each photo: the face; {} high-pass x {}; guided x {1}", look.kernel.name(), look.gain);
    println!("columns: as it is; JPEG at {}", qualities.join(", "));
    Ok(())
}

fn features(args: &FeaturesArgs) -> Result<()> {
    let (look, faces) = (args.common.look()?, args.common.faces()?);
    let Some(run) = &args.run else {
        write(&args.common.out, &picture_grid::outputs(&faces, &look)?)?;
        let kernel = look.kernel.name();
        println!("outputs of the front ends that learn nothing, x {}; name trained models with --run", look.gain);
        println!("columns: the face; {kernel} high-pass; srm; guided residual");
        return Ok(());
    };
    let models = kept_models(run, &System::front_ends())?;
    let names: Vec<String> = models.iter().map(Kept::describe).collect();
    if models.is_empty() {
        let message =
            format!("expected models of Table 2 (`grnet compare --tables 2`), found none in {}", run.display());
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    let job = FeaturesJob { faces: &faces, models: &models, side_px: look.side_px };
    write(&args.common.out, &train_on(TrainDevice::Cpu, job)?)?;
    println!("guided back-propagation of the likeliest class; grey is none, each cell scaled by its largest value");
    println!("columns: the face; {}", names.join("; "));
    Ok(())
}

struct FeaturesJob<'a> {
    faces: &'a [Rgb8],
    models: &'a [Kept],
    side_px: usize,
}

impl TrainJob for FeaturesJob<'_> {
    type Out = Rgb8;

    fn run<B: AutodiffBackend>(self, device: &B::Device) -> Result<Rgb8> {
        picture_grid::features::<B>(self.faces, self.models, self.side_px, device)
    }
}

fn write(path: &Path, picture: &Rgb8) -> Result<()> {
    cli::write(path, &png(picture)?)
}

impl Common {
    fn look(&self) -> Result<Look> {
        if !(self.gain.is_finite() && self.gain > 0.0) {
            return Err(Error::new(ErrorKind::BadUsage, format!("expected a gain above 0, found {}", self.gain)));
        }
        let kernel = Kernel::ALL.into_iter().find(|kernel| kernel.name() == self.kernel).ok_or_else(|| {
            let names = Kernel::ALL.map(Kernel::name).join(", ");
            Error::new(ErrorKind::BadUsage, format!("expected a kernel out of {names}, found {}", self.kernel))
        })?;
        Ok(Look { side_px: self.side.into(), gain: self.gain, kernel, mte: GuidedFilterConfig::default() })
    }

    fn faces(&self) -> Result<Vec<Rgb8>> {
        let mut finder = Finder::new()?;
        let mut face = |path: &PathBuf| {
            let photo = picture::decode(&cli::read_picture(path)?, &Limits::default())?.pixels;
            let found = finder.find(&photo);
            Ok(found.first().map_or_else(|| whole_square(&photo), |face| face.upright_crop(&photo, CROP_MARGIN)))
        };
        self.photos.iter().map(&mut face).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: FigureArgs,
    }

    /// Runs the command on a photo with a face; the picture that it writes.
    fn made(arguments: &[&str], name: &str) -> Result<Rgb8> {
        let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures/astronaut.jpg");
        let out = std::env::temp_dir().join(format!("grnet-figure-{}-{name}.png", std::process::id()));
        let fixed = [photo, "--side", "64", "--out", out.to_str().expect("a path in UTF-8")];
        let line = Line::parse_from(["figure"].iter().chain(&arguments[..1]).chain(&fixed).chain(&arguments[1..]));
        run(&line.args)?;
        let picture = picture::decode(&cli::read(&out)?, &Limits::default())?.pixels;
        std::fs::remove_file(&out).expect("the picture can be removed");
        Ok(picture)
    }

    #[test]
    fn figures_of_a_photo_have_the_stated_cells() {
        let extent = |count: usize| count * (64 + picture_grid::GUTTER_PX) + picture_grid::GUTTER_PX;
        let residuals = made(&["residuals", "--qualities", "90,40"], "residuals").expect("a figure");
        assert_eq!((residuals.height, residuals.width), (extent(3), extent(3)));
        let outputs = made(&["features"], "outputs").expect("a figure");
        assert_eq!((outputs.height, outputs.width), (extent(1), extent(4)));
        // The first cell of both is the same face.
        let first = |picture: &Rgb8| (0..64).map(|x| picture.pixel(40, extent(0) + x)).collect::<Vec<_>>();
        assert_eq!(first(&residuals), first(&outputs));
    }

    #[test]
    fn unknown_kernels_and_folders_without_models_are_refused() {
        let kind = |arguments: &[&str]| made(arguments, "refused").expect_err("no figure").kind();
        assert_eq!(kind(&["residuals", "--kernel", "sobel"]), ErrorKind::BadUsage);
        assert_eq!(kind(&["features", "--run", "/nonexistent"]), ErrorKind::BadUsage);
        assert_eq!(kind(&["residuals", "--gain", "0"]), ErrorKind::BadUsage);
    }
}
