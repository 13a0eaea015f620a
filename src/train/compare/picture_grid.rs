//! The paper's pictures of residuals as grids: what a high-pass filter and the guided filter leave of faces at several JPEG
//! qualities (Fig. 5), and what each front end lets through (Fig. 10).

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use super::Kept;
use super::back_propagation::{centred, guided_back_propagation};
use super::system::Competitor;
use crate::infer::architecture::GuidedFilterConfig;
use crate::picture::Rgb8;
use crate::picture::crop;
use crate::train::backend::Cpu;
use crate::train::looks::degrade::{Plan, Step};
use crate::train::nn::input::{self, shown};
use crate::train::nn::mte;
use crate::train::nn::residuals::highpass::{HighPass, Kernel};
use crate::train::nn::residuals::srm::Srm;
use crate::{Error, ErrorKind, Result};

/// White pixels between the cells.
pub const GUTTER_PX: usize = 4;

/// How residuals are shown.
#[derive(Debug, Clone)]
pub struct Look {
    /// Side of a cell.
    pub side_px: usize,
    /// Factor by which magnitudes of residuals are amplified, the same for all filters.
    pub gain: f32,
    /// The high-pass filter.
    pub kernel: Kernel,
    /// The guided filter.
    pub mte: GuidedFilterConfig,
}

/// Puts rows of pictures into one, white in between; every picture becomes `side_px` x `side_px`.
///
/// # Errors
/// `BadUsage` without pictures or for a side of 0.
pub fn grid(rows: &[Vec<Rgb8>], side_px: usize) -> Result<Rgb8> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if columns == 0 || side_px == 0 {
        let message = format!("expected pictures and a side above 0, found {columns} columns of {side_px} px");
        return Err(Error::new(ErrorKind::BadUsage, message));
    }
    let extent = |count: usize| count * (side_px + GUTTER_PX) + GUTTER_PX;
    let (height, width) = (extent(rows.len()), extent(columns));
    let mut data = vec![255; height * width * 3];
    for (row, cells) in rows.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let cell = crop::resize(cell, side_px, side_px)?;
            for (y, line) in cell.data.chunks_exact(side_px * 3).enumerate() {
                let start = ((extent(row) + y) * width + extent(column)) * 3;
                data[start..start + line.len()].copy_from_slice(line);
            }
        }
    }
    Rgb8::new(height, width, data)
}

/// Fig. 5. For every face three rows: the picture, what the high-pass filter leaves, what the guided filter leaves; the
/// columns are the picture as it is and at each JPEG quality (4:2:0).
///
/// # Errors
/// `BadUsage` without faces, `Internal` should a codec fail.
pub fn residuals(faces: &[Rgb8], qualities: &[u8], look: &Look) -> Result<Rgb8> {
    let mut rows = Vec::new();
    for face in faces {
        let face = crop::resize(face, look.side_px, look.side_px)?;
        let encoded =
            |quality: &u8| Plan { steps: vec![Step::Jpeg { quality: *quality, full_chroma: false }] }.apply(&face);
        let versions: Vec<Rgb8> =
            std::iter::once(Ok(face.clone())).chain(qualities.iter().map(encoded)).collect::<Result<_>>()?;
        let high_pass = versions.iter().map(|version| look.high_pass(version)).collect::<Result<_>>()?;
        let guided = versions.iter().map(|version| look.guided_residual(version)).collect::<Result<_>>()?;
        rows.extend([versions, high_pass, guided]);
    }
    grid(&rows, look.side_px)
}

/// Fig. 10 without models: for every face a row of the picture and the outputs of the front ends that learn nothing:
/// high-pass filter, SRM, guided residual.
///
/// # Errors
/// As [`grid`].
pub fn outputs(faces: &[Rgb8], look: &Look) -> Result<Rgb8> {
    let row = |face: &Rgb8| {
        let face = crop::resize(face, look.side_px, look.side_px)?;
        Ok(vec![face.clone(), look.high_pass(&face)?, look.srm(&face)?, look.guided_residual(&face)?])
    };
    grid(&faces.iter().map(row).collect::<Result<Vec<_>>>()?, look.side_px)
}

/// Fig. 10: for every face a row of the picture and the guided gradients of each model's likeliest class.
///
/// # Errors
/// `BadWeights` for what is no model of a compared system, `BadUsage` for one that is not AMTENnet's network.
pub fn features<B: AutodiffBackend>(
    faces: &[Rgb8],
    models: &[Kept],
    side_px: usize,
    device: &B::Device,
) -> Result<Rgb8> {
    let mut rows: Vec<Vec<Rgb8>> = faces.iter().map(|face| vec![face.clone()]).collect();
    for model in models {
        let (competitor, meta) = Competitor::<B>::from_bytes(&model.bytes, device)?;
        for (face, row) in faces.iter().zip(&mut rows) {
            let crop = crop::resize(face, meta.side_px, meta.side_px)?;
            let unit = input::batch_unit::<B::InnerBackend>(&[crop], device);
            row.push(shown(centred(guided_back_propagation(&competitor, unit)?))?);
        }
    }
    grid(&rows, side_px)
}

impl Look {
    fn high_pass(&self, picture: &Rgb8) -> Result<Rgb8> {
        self.amplified(picture, |unit| HighPass { kernel: self.kernel }.forward(unit))
    }

    fn srm(&self, picture: &Rgb8) -> Result<Rgb8> {
        self.amplified(picture, |unit| Srm.forward(unit))
    }

    fn guided_residual(&self, picture: &Rgb8) -> Result<Rgb8> {
        self.amplified(picture, |unit| mte::residual(unit, &self.mte))
    }

    /// Magnitudes of a residual, amplified.
    fn amplified(&self, picture: &Rgb8, residual: impl Fn(Tensor<Cpu, 4>) -> Tensor<Cpu, 4>) -> Result<Rgb8> {
        let unit = input::batch_unit(std::slice::from_ref(picture), &Default::default());
        shown(residual(unit).abs().mul_scalar(self.gain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::known_picture;

    fn look() -> Look {
        Look { side_px: 48, gain: 8.0, kernel: Kernel::default(), mte: GuidedFilterConfig::default() }
    }

    /// A cell of a grid.
    fn cell(grid: &Rgb8, row: usize, column: usize) -> Vec<[u8; 3]> {
        let start = |at: usize| GUTTER_PX + at * (48 + GUTTER_PX);
        (0..48 * 48).map(|i| grid.pixel(start(row) + i / 48, start(column) + i % 48)).collect()
    }

    #[test]
    fn cells_hold_what_the_references_say() {
        let face = known_picture(48);
        let grid = residuals(&[face.clone(), known_picture(64)], &[90, 30], &look()).unwrap();
        assert_eq!((grid.height, grid.width), (6 * 52 + 4, 3 * 52 + 4));
        assert_eq!(grid.pixel(0, 0), [255; 3]);
        assert!(cell(&grid, 0, 0).iter().flatten().eq(&face.data));
        let planes: Vec<f64> =
            (0..3).flat_map(|c| face.data.iter().skip(c).step_by(3).map(|v| f64::from(*v) / 255.0)).collect();
        let byte = |value: f64| (value.abs() * 8.0 * 255.0).round().clamp(0.0, 255.0);
        let guided = crate::infer::reference::residual(&planes, 48, 48, &GuidedFilterConfig::default());
        let taps = Kernel::default().taps();
        let filtered = |c: usize, y: usize, x: usize| -> f64 {
            let at = |dy: usize, dx: usize| match ((y + dy).checked_sub(2), (x + dx).checked_sub(2)) {
                (Some(y), Some(x)) if y < 48 && x < 48 => planes[c * 48 * 48 + y * 48 + x],
                _ => 0.0,
            };
            (0..25).map(|i| f64::from(taps[i / 5][i % 5]) * at(i / 5, i % 5)).sum()
        };
        let (shown_high, shown_guided) = (cell(&grid, 1, 0), cell(&grid, 2, 0));
        for i in 0..48 * 48 {
            for c in 0..3 {
                // Rounding in f32 may fall on the other side.
                assert!((f64::from(shown_high[i][c]) - byte(filtered(c, i / 48, i % 48))).abs() <= 1.0, "{i} {c}");
                assert!((f64::from(shown_guided[i][c]) - byte(guided[c * 48 * 48 + i])).abs() <= 1.0, "{i} {c}");
            }
        }
        // Every quality is another picture with another residual.
        for row in 0..3 {
            assert_ne!(cell(&grid, row, 0), cell(&grid, row, 2));
            assert_ne!(cell(&grid, row, 1), cell(&grid, row, 2));
        }
    }

    #[test]
    fn outputs_have_a_cell_for_every_front_end_that_learns_nothing() {
        let grid = outputs(&[known_picture(48)], &look()).unwrap();
        assert_eq!((grid.height, grid.width), (52 + 4, 4 * 52 + 4));
        let cells: Vec<_> = (0..4).map(|column| cell(&grid, 0, column)).collect();
        assert!((0..4).all(|a| (0..a).all(|b| cells[a] != cells[b])), "two cells are alike");
        assert_eq!(outputs(&[], &look()).unwrap_err().kind(), ErrorKind::BadUsage);
    }
}
