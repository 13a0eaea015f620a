//! The 68 points of a face, by the network of face-api.js (MIT), which is read from files when data are prepared and is no
//! part of this project. Plain loops: it runs once a picture.
//!
//! A square of 112 px, less a mean and divided by 255, goes through four blocks of four convolutions whose sums are passed on;
//! all but the very first are separable. What is left is averaged and gives 136 numbers: (x, y) as shares of the square.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::picture::Rgb8;
use crate::train::looks::hull::{Landmarks, POINTS};
use crate::train::looks::pixels::{self, Kernel};
use crate::{Error, ErrorKind, Result};

/// The description of the weights, beside the files it names.
pub const MANIFEST: &str = "face_landmark_68_model-weights_manifest.json";
/// Side of the input.
const SIDE: usize = 112;
/// Subtracted from R, G and B (0..255 scale).
const MEAN: [f32; 3] = [122.782, 117.001, 104.298];
/// Convolutions of a block.
const DEPTH: usize = 4;
/// Channels of the blocks.
const CHANNELS: [usize; 4] = [32, 64, 128, 256];

#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
    weights: Vec<Weight>,
}

#[derive(Deserialize)]
struct Weight {
    name: String,
    shape: Vec<usize>,
    quantization: Quantization,
}

#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: f32,
    min: f32,
}

/// One convolution: 3x3 over all channels, or 3x3 in each channel and then 1x1.
#[derive(Debug, Clone, PartialEq)]
struct Conv {
    /// `[3, 3, in, out]`; with `pointwise`: `[3, 3, in]`.
    filters: Vec<f32>,
    /// `[in, out]`.
    pointwise: Option<Vec<f32>>,
    bias: Vec<f32>,
    inputs: usize,
}

/// The network.
#[derive(Debug, Clone, PartialEq)]
pub struct LandmarkNet {
    blocks: Vec<Vec<Conv>>,
    /// `[256, 136]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// Values by row, column, channel.
#[derive(Debug, Clone)]
struct Maps {
    side: usize,
    channels: usize,
    data: Vec<f32>,
}

impl LandmarkNet {
    /// Reads the manifest and the files it names.
    ///
    /// # Errors
    /// `Io` for files, `BadWeights` for their contents.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))
        };
        Self::parse(&file(MANIFEST)?, file)
    }

    /// From the manifest's bytes; `file` gives those of a file beside it.
    ///
    /// # Errors
    /// As `file`; `BadWeights`, naming what is missing or misshapen.
    pub fn parse(manifest: &[u8], file: impl Fn(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let groups: Vec<Group> = serde_json::from_slice(manifest)
            .map_err(|e| Error::caused(ErrorKind::BadWeights, "expected a manifest of TensorFlow.js weights", e))?;
        let mut tensors = HashMap::new();
        for group in groups {
            let mut bytes = Vec::new();
            for path in &group.paths {
                bytes.extend(file(path)?);
            }
            let mut left = bytes.as_slice();
            for Weight { name, shape, quantization } in group.weights {
                let count: usize = shape.iter().product();
                if quantization.dtype != "uint8" || left.len() < count {
                    let found = format!("{} values as {} in {} bytes", count, quantization.dtype, left.len());
                    return Err(bad(format!("expected {name} as uint8 inside its files, found {found}")));
                }
                let (own, rest) = left.split_at(count);
                left = rest;
                let values = own.iter().map(|byte| quantization.min + quantization.scale * f32::from(*byte)).collect();
                tensors.insert(name, (shape, values));
            }
            if !left.is_empty() {
                return Err(bad(format!("expected the weights' files to end, found {} more bytes", left.len())));
            }
        }
        let mut take = |name: String, shape: &[usize]| match tensors.remove(&name) {
            Some((found, values)) if found == shape => Ok(values),
            Some((found, _)) => Err(bad(format!("expected {name} of shape {shape:?}, found {found:?}"))),
            None => Err(bad(format!("expected {name}, found none"))),
        };
        let mut blocks = Vec::new();
        let mut inputs = 3;
        for (block, channels) in CHANNELS.into_iter().enumerate() {
            let mut convs = Vec::new();
            for depth in 0..DEPTH {
                let name = |part: &str| format!("dense{block}/conv{depth}/{part}");
                let (filters, pointwise) = if (block, depth) == (0, 0) {
                    (take(name("filters"), &[3, 3, inputs, channels])?, None)
                } else {
                    let filters = take(name("depthwise_filter"), &[3, 3, inputs, 1])?;
                    (filters, Some(take(name("pointwise_filter"), &[1, 1, inputs, channels])?))
                };
                convs.push(Conv { filters, pointwise, bias: take(name("bias"), &[channels])?, inputs });
                inputs = channels;
            }
            blocks.push(convs);
        }
        let weights = take("fc/weights".into(), &[inputs, 2 * POINTS])?;
        Ok(LandmarkNet { blocks, weights, bias: take("fc/bias".into(), &[2 * POINTS])? })
    }

    /// The points in a square picture that shows a face and little else, (y, x) as shares of it.
    ///
    /// # Errors
    /// `Internal` when the picture contradicts itself.
    pub fn points(&self, square: &Rgb8) -> Result<[[f32; 2]; POINTS]> {
        let small = pixels::resize_with(square, SIDE, SIDE, Kernel::Bilinear)?;
        let data = small.data.iter().enumerate().map(|(i, v)| (f32::from(*v) - MEAN[i % 3]) / 255.0).collect();
        let mut maps = Maps { side: SIDE, channels: 3, data };
        for block in &self.blocks {
            maps = dense(block, &maps);
        }
        let places = maps.side * maps.side;
        let mut out = self.bias.clone();
        for channel in 0..maps.channels {
            let sum: f32 = maps.data.iter().skip(channel).step_by(maps.channels).sum();
            let row = &self.weights[channel * out.len()..(channel + 1) * out.len()];
            out.iter_mut().zip(row).for_each(|(out, weight)| *out += sum / places as f32 * weight);
        }
        Ok(std::array::from_fn(|point| [out[2 * point + 1], out[2 * point]]))
    }

    /// The points in a crop in which the face takes up the middle `share`: looked for there, then once more in the square
    /// round what was found, because the network knows tight faces.
    ///
    /// # Errors
    /// As [`LandmarkNet::points`].
    pub fn landmarks(&self, crop: &Rgb8, share: f32) -> Result<Landmarks> {
        let first = self.points_in(crop, [0.5, 0.5], share)?;
        let bounds = |axis: usize| {
            let places = first.iter().map(|p| p[axis]);
            (places.clone().fold(f32::INFINITY, f32::min), places.fold(f32::NEG_INFINITY, f32::max))
        };
        let ((top, bottom), (left, right)) = (bounds(0), bounds(1));
        let side = ((bottom - top).max(right - left) * ROOM).clamp(0.2, 1.5);
        Ok(Landmarks::new(self.points_in(crop, [(top + bottom) / 2.0, (left + right) / 2.0], side)?))
    }

    /// The points in a square of `side` about `centre`, all as shares of the crop.
    fn points_in(&self, crop: &Rgb8, centre: [f32; 2], side: f32) -> Result<[[f32; 2]; POINTS]> {
        let length = crop.height as f32;
        let side_px = ((side * length).round() as usize).max(8);
        let first = centre.map(|place| (place * length - side_px as f32 / 2.0).round() as isize);
        // What lies outside is black, as the network's own padding.
        let mut data = Vec::with_capacity(side_px * side_px * 3);
        for index in 0..side_px * side_px {
            let (y, x) = (first[0] + (index / side_px) as isize, first[1] + (index % side_px) as isize);
            let within = (0..crop.height as isize).contains(&y) && (0..crop.width as isize).contains(&x);
            data.extend(if within { crop.pixel(y as usize, x as usize) } else { [0; 3] });
        }
        let found = self.points(&Rgb8::new(side_px, side_px, data)?)?;
        let back = |place: f32, axis: usize| (first[axis] as f32 + place * side_px as f32) / length;
        Ok(found.map(|[y, x]| [back(y, 0), back(x, 1)]))
    }
}

/// Side of the square in which points are looked for again, in sides of what they span.
const ROOM: f32 = 1.15;

fn bad(message: String) -> Error {
    Error::new(ErrorKind::BadWeights, message)
}

/// Four convolutions, the first one halving the side; each but the second reads the sum of all before it.
fn dense(block: &[Conv], input: &Maps) -> Maps {
    let mut sum = block[0].apply(input, 2);
    sum.rectify();
    let mut read = sum.clone();
    for conv in &block[1..] {
        let next = conv.apply(&read, 1);
        sum.data.iter_mut().zip(&next.data).for_each(|(sum, value)| *sum += value);
        read = sum.clone();
        read.rectify();
    }
    read
}

impl Maps {
    fn rectify(&mut self) {
        self.data.iter_mut().for_each(|value| *value = value.max(0.0));
    }
}

impl Conv {
    /// TensorFlow's `same`: at stride 2 an even side is padded below and to the right alone.
    fn apply(&self, input: &Maps, stride: usize) -> Maps {
        let side = input.side.div_ceil(stride);
        let before = (((side - 1) * stride + 3).saturating_sub(input.side) / 2) as isize;
        let (inputs, outputs) = (self.inputs, self.bias.len());
        let mut data = Vec::with_capacity(side * side * outputs);
        let mut gathered = vec![0.0f32; inputs];
        for place in 0..side * side {
            let (top, left) = ((place / side * stride) as isize - before, (place % side * stride) as isize - before);
            let mut out = self.bias.clone();
            gathered.fill(0.0);
            for tap in 0..9 {
                let (y, x) = (top + tap as isize / 3, left + tap as isize % 3);
                let within = 0..input.side as isize;
                if !within.contains(&y) || !within.contains(&x) {
                    continue;
                }
                let start = (y as usize * input.side + x as usize) * inputs;
                let values = &input.data[start..start + inputs];
                if self.pointwise.is_some() {
                    let filters = &self.filters[tap * inputs..(tap + 1) * inputs];
                    gathered.iter_mut().zip(values.iter().zip(filters)).for_each(|(sum, (v, w))| *sum += v * w);
                } else {
                    let filters = &self.filters[tap * inputs * outputs..(tap + 1) * inputs * outputs];
                    add_product(&mut out, values, filters);
                }
            }
            if let Some(pointwise) = &self.pointwise {
                add_product(&mut out, &gathered, pointwise);
            }
            data.extend(out);
        }
        Maps { side, channels: outputs, data }
    }
}

/// `out += values * weights`, weights by row.
fn add_product(out: &mut [f32], values: &[f32], weights: &[f32]) {
    for (value, row) in values.iter().zip(weights.chunks_exact(out.len())) {
        out.iter_mut().zip(row).for_each(|(out, weight)| *out += value * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Manifest and bytes of a network whose every weight is the byte 7 at the given scale.
    fn files(scale: f32, drop: &str) -> (String, Vec<u8>) {
        let mut weights = Vec::new();
        let mut count = 0;
        let mut add = |name: String, shape: &[usize]| {
            if name != drop {
                count += shape.iter().product::<usize>();
                let range = format!("{{\"dtype\":\"uint8\",\"scale\":{scale},\"min\":0}}");
                weights.push(format!("{{\"name\":\"{name}\",\"shape\":{shape:?},\"quantization\":{range}}}"));
            }
        };
        let mut inputs = 3;
        for (block, channels) in CHANNELS.into_iter().enumerate() {
            for depth in 0..DEPTH {
                if (block, depth) == (0, 0) {
                    add("dense0/conv0/filters".into(), &[3, 3, inputs, channels]);
                } else {
                    add(format!("dense{block}/conv{depth}/depthwise_filter"), &[3, 3, inputs, 1]);
                    add(format!("dense{block}/conv{depth}/pointwise_filter"), &[1, 1, inputs, channels]);
                }
                add(format!("dense{block}/conv{depth}/bias"), &[channels]);
                inputs = channels;
            }
        }
        add("fc/weights".into(), &[inputs, 2 * POINTS]);
        add("fc/bias".into(), &[2 * POINTS]);
        (format!("[{{\"paths\":[\"shard\"],\"weights\":[{}]}}]", weights.join(",")), vec![7; count])
    }

    #[test]
    fn a_network_of_zeros_says_its_bias() {
        let (manifest, bytes) = files(0.0, "");
        let mut net = LandmarkNet::parse(manifest.as_bytes(), |_| Ok(bytes.clone())).unwrap();
        net.bias = (0..2 * POINTS).map(|i| i as f32 * 0.001).collect();
        let face = Rgb8::new(90, 90, vec![40; 90 * 90 * 3]).unwrap();
        let points = net.points(&face).unwrap();
        // Numbers are (x, y), places (y, x).
        assert_eq!(points[3], [0.007, 0.006]);
        // In the middle half of a crop a place is a quarter further in and half as far along.
        let inner = net.points_in(&face, [0.5, 0.5], 0.5).unwrap();
        assert!((inner[3][0] - (0.25 + 0.5 * 0.007)).abs() < 0.01, "{:?}", inner[3]);
    }

    #[test]
    fn missing_short_and_long_files_are_refused_by_name() {
        let error = |manifest: &str, bytes: Vec<u8>| {
            LandmarkNet::parse(manifest.as_bytes(), |_| Ok(bytes.clone())).unwrap_err().full_message()
        };
        let (manifest, bytes) = files(0.1, "dense2/conv1/bias");
        assert!(error(&manifest, bytes).contains("dense2/conv1/bias, found none"));
        let (manifest, bytes) = files(0.1, "");
        assert!(error(&manifest, bytes[1..].to_vec()).contains("fc/bias"));
        assert!(error(&manifest, [&bytes[..], &[0]].concat()).contains("1 more bytes"));
        assert!(error("{}", bytes).contains("TensorFlow.js"));
    }

    #[test]
    fn a_convolution_pads_as_tensorflow_does() {
        // One channel, a kernel that takes its upper left tap alone: at stride 2 nothing is padded above an even side.
        let mut filters = vec![0.0; 9];
        filters[0] = 1.0;
        let conv = Conv { filters, pointwise: None, bias: vec![0.0], inputs: 1 };
        let input = Maps { side: 4, channels: 1, data: (1..=16).map(|v| v as f32).collect() };
        assert_eq!(conv.apply(&input, 2).data, [1.0, 3.0, 9.0, 11.0]);
        assert_eq!(conv.apply(&input, 1).data[..6], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
