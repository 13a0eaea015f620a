//! `grnet residual`: the guided residual of a whole picture, amplified for the eye, as a PNG file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli;
use crate::detector::amplified;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::Units;
use crate::infer::architecture::{GuideMode, GuidedFilterConfig};
use crate::infer::cpu::guided_residual;
use crate::picture::{self, Limits, Rgb8, planes};
use crate::report::evidence;

/// Write what the second stream sees: the guided residual of a picture, amplified for the eye.
#[derive(Debug, Args)]
pub struct ResidualArgs {
    /// Picture to read (JPEG, PNG, WebP, GIF or BMP)
    input: PathBuf,
    /// PNG file to write
    output: PathBuf,
    /// Radius of the filter's window in pixels
    #[arg(long, value_name = "PX", default_value_t = GuidedFilterConfig::default().radius_px)]
    radius: usize,
    /// Regulariser of the filter, in squared intensity on the 0..1 scale
    #[arg(long, default_value_t = GuidedFilterConfig::default().eps)]
    eps: f64,
    /// Factor by which the residual is amplified
    #[arg(long, default_value_t = 10.0)]
    gain: f32,
    /// What guides a channel
    #[arg(long, value_enum, default_value_t = Mode::PerChannel)]
    mode: Mode,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Each channel guides itself
    PerChannel,
    /// All three channels guide each one
    Colour,
}

/// Runs `grnet residual`.
///
/// # Errors
/// `Io`, `BadImage`, or `BadUsage` for a filter setting out of range.
pub fn run(args: &ResidualArgs) -> Result<()> {
    let mode = match args.mode {
        Mode::PerChannel => GuideMode::PerChannel,
        Mode::Colour => GuideMode::Colour,
    };
    let config = GuidedFilterConfig { radius_px: args.radius, eps: args.eps, mode };
    config.validate()?;
    if !(args.gain.is_finite() && args.gain > 0.0) {
        return Err(Error::new(ErrorKind::BadUsage, format!("expected a gain above 0, found {}", args.gain)));
    }
    let picture = picture::decode(&cli::read_picture(&args.input)?, &Limits::default())?.pixels;
    let residual = amplified_residual(&picture, &config, args.gain);
    cli::write(&args.output, &evidence::png(&residual)?)
}

/// The residual times `gain`, white where it is above 1.
fn amplified_residual(picture: &Rgb8, config: &GuidedFilterConfig, gain: f32) -> Rgb8 {
    let (height, width) = (picture.height, picture.width);
    let units = Units { n: 1, height, width, values: planes(std::slice::from_ref(picture)) };
    amplified(&guided_residual(config, &units), height, width, gain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::known_picture;
    use crate::infer::reference;

    #[test]
    fn a_residual_is_that_of_the_reference_times_the_gain() {
        let (side, config) = (60, GuidedFilterConfig { radius_px: 3, ..Default::default() });
        let picture = known_picture(side);
        let found = amplified_residual(&picture, &config, 10.0);
        let planes: Vec<f64> = planes(&[picture]).into_iter().map(f64::from).collect();
        let exact = reference::residual(&planes, side, side, &config);
        for (index, value) in found.data.iter().enumerate() {
            let expected = (exact[index % 3 * side * side + index / 3] * 2550.0).round().clamp(0.0, 255.0);
            assert!((expected - f64::from(*value)).abs() <= 1.0, "value {index}: expected {expected}, found {value}");
        }
        assert!(found.data.iter().any(|&value| value > 20), "an empty residual would do as well");
    }
}
