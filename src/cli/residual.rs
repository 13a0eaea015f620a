//! `grnet residual`: the guided residual of a whole picture, amplified for the eye, as a PNG file.

use std::path::PathBuf;

use burn::tensor::Tensor;
use clap::{Args, ValueEnum};
use image::{ImageFormat, RgbImage};

use crate::cli;
use crate::error::{Error, ErrorKind, Result};
use crate::picture::{self, Limits, Rgb8};
use crate::train::backend::Cpu;
use crate::train::mte::{self, GuideMode, GuidedFilterConfig};
use crate::train::nn::input;

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
    let picture = picture::decode(&cli::read(&args.input)?, &Limits::default())?.pixels;
    let residual = amplified_residual(&picture, &config, args.gain)?;
    let (width, height) = (residual.width as u32, residual.height as u32);
    let buffer = RgbImage::from_raw(width, height, residual.data);
    let buffer = buffer.ok_or_else(|| Error::new(ErrorKind::Internal, "expected as many bytes as pixels"))?;
    buffer
        .save_with_format(&args.output, ImageFormat::Png)
        .map_err(|error| Error::caused(ErrorKind::Io, format!("cannot write {}", args.output.display()), error))
}

/// The residual times `gain`, white where it is above 1.
fn amplified_residual(picture: &Rgb8, config: &GuidedFilterConfig, gain: f32) -> Result<Rgb8> {
    // In tiles, because the filter's time and memory grow faster than the pixels. A pixel of the result depends on
    // those within two radii (a mean of means), so tiles with that much surroundings join without a seam.
    let halo = 2 * config.radius_px;
    let tile = (2 * halo).max(256);
    let mut result = vec![0; picture.data.len()];
    for top in (0..picture.height).step_by(tile) {
        for left in (0..picture.width).step_by(tile) {
            let rows = Span::new(top, tile, halo, picture.height);
            let columns = Span::new(left, tile, halo, picture.width);
            let values = tile_residual(picture, &rows, &columns, config)?;
            for y in rows.start..rows.end {
                for x in columns.start..columns.end {
                    for channel in 0..3 {
                        let plane = channel * rows.outer_len() + y - rows.outer_start;
                        let value = values[plane * columns.outer_len() + x - columns.outer_start];
                        let amplified = (value * gain * 255.0).round().clamp(0.0, 255.0);
                        result[(y * picture.width + x) * 3 + channel] = amplified as u8;
                    }
                }
            }
        }
    }
    Rgb8::new(picture.height, picture.width, result)
}

/// A tile along one side, and the same with its surroundings.
struct Span {
    start: usize,
    end: usize,
    outer_start: usize,
    outer_end: usize,
}

impl Span {
    fn new(start: usize, tile: usize, halo: usize, length: usize) -> Self {
        let end = (start + tile).min(length);
        Span { start, end, outer_start: start.saturating_sub(halo), outer_end: (end + halo).min(length) }
    }

    fn outer_len(&self) -> usize {
        self.outer_end - self.outer_start
    }
}

/// The residual of a tile with its surroundings, [3, rows, columns].
fn tile_residual(picture: &Rgb8, rows: &Span, columns: &Span, config: &GuidedFilterConfig) -> Result<Vec<f32>> {
    let mut data = Vec::with_capacity(rows.outer_len() * columns.outer_len() * 3);
    for y in rows.outer_start..rows.outer_end {
        let row = y * picture.width;
        data.extend_from_slice(&picture.data[(row + columns.outer_start) * 3..(row + columns.outer_end) * 3]);
    }
    let tile = Rgb8::new(rows.outer_len(), columns.outer_len(), data)?;
    let unit: Tensor<Cpu, 4> = input::batch_unit(&[tile], &Default::default());
    let residual = mte::residual(unit, config).into_data().convert::<f32>().into_vec::<f32>();
    residual.map_err(|error| Error::new(ErrorKind::Internal, format!("expected f32 values, found {error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_join_without_a_seam() {
        let picture = crate::detector::known_picture(300);
        let config = GuidedFilterConfig { radius_px: 3, ..Default::default() };
        let tiled = amplified_residual(&picture, &config, 10.0).expect("a residual");
        let whole = Span { start: 0, end: 300, outer_start: 0, outer_end: 300 };
        let values = tile_residual(&picture, &whole, &whole, &config).expect("a residual");
        let worst = (0..300 * 300 * 3)
            .map(|i| {
                let expected = (values[i % 3 * 300 * 300 + i / 3] * 2550.0).round().clamp(0.0, 255.0);
                (expected - f32::from(tiled.data[i])).abs()
            })
            .fold(0.0, f32::max);
        // f32 sums in another order may round the other way.
        assert!(worst <= 1.0, "largest difference {worst}");
        assert!(tiled.data.iter().any(|&value| value > 20), "an empty residual would join as well");
    }
}
