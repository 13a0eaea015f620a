//! Checkpoints: one safetensors file with the network, the averaged network, Adam's moments and, as JSON in its metadata,
//! everything else that a run needs to go on exactly as if it had not stopped. Written atomically.

use std::fs;
use std::io::Write;
use std::path::Path;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};

use super::optim::{Adam, Named};
use crate::nn::GrNet;
use crate::weights::{StoredTensor, fill_module, read_module, write_tensors};
use crate::{Error, ErrorKind, Result};

/// Value of [`State::format`].
const FORMAT: &str = "grnet.checkpoint/1";
const METADATA_KEY: &str = "grnet.checkpoint";

/// Where a run stands. Numbers that must come back exactly are kept as bits: JSON readers round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Always `grnet.checkpoint/1`.
    pub format: String,
    /// Steps done.
    pub step: u64,
    /// Updates of Adam.
    pub updates: u64,
    /// Seconds of training so far, over all sessions.
    pub elapsed_s: f64,
    /// Weight of the spatial stream in AFM, as bits.
    pub w_spatial_bits: u64,
    /// Gain of the residual, as bits.
    pub gain_bits: u64,
    /// Sums of the stream losses over the current epoch (spatial, residual), as bits.
    pub epoch_loss_bits: [u64; 2],
    /// Best validation figure so far, as bits.
    pub best_bits: u64,
    /// Measurements since then.
    pub since_best: usize,
    /// The effective configuration, as TOML.
    pub config: String,
    /// SHA-256 of the data's manifest.
    pub data_sha256: String,
}

impl State {
    /// A run that has not begun.
    pub fn new(config: String, data_sha256: String, w_spatial: f64, gain: f64) -> Self {
        State {
            format: FORMAT.into(),
            step: 0,
            updates: 0,
            elapsed_s: 0.0,
            w_spatial_bits: w_spatial.to_bits(),
            gain_bits: gain.to_bits(),
            epoch_loss_bits: [0.0f64.to_bits(); 2],
            best_bits: f64::NEG_INFINITY.to_bits(),
            since_best: 0,
            config,
            data_sha256,
        }
    }

    /// Best validation figure so far.
    pub fn best(&self) -> f64 {
        f64::from_bits(self.best_bits)
    }
}

/// What learns.
#[derive(Debug, Clone)]
pub struct Learner<B: AutodiffBackend> {
    /// The network that is trained.
    pub network: GrNet<B>,
    /// Its running average; absent when none is kept.
    pub average: Option<GrNet<B::InnerBackend>>,
    /// The optimiser.
    pub adam: Adam<B::InnerBackend>,
}

/// Writes a checkpoint to `path`: first beside it, then renamed over it.
///
/// # Errors
/// `Io`, for example when the disk is full; an older checkpoint then stays as it is.
pub fn save<B: AutodiffBackend>(path: &Path, learner: &Learner<B>, state: &State) -> Result<()> {
    let mut stored: Vec<StoredTensor> = Vec::new();
    read_module(&learner.network, &mut |name, shape, values| {
        stored.push(StoredTensor::f32(format!("network.{name}"), shape, values));
    });
    if let Some(average) = &learner.average {
        read_module(average, &mut |name, shape, values| {
            stored.push(StoredTensor::f32(format!("average.{name}"), shape, values));
        });
    }
    for (prefix, moments) in [("first", &learner.adam.first), ("second", &learner.adam.second)] {
        for (name, tensor) in moments {
            let values: Vec<f32> = tensor.to_data().convert::<f32>().iter::<f32>().collect();
            stored.push(StoredTensor::f32(format!("{prefix}.{name}"), &[values.len()], values));
        }
    }
    let document =
        serde_json::to_string(state).map_err(|e| Error::caused(ErrorKind::Internal, "checkpoint state as JSON", e))?;
    write_atomically(path, &write_tensors(&stored, METADATA_KEY, document)?)
}

/// Writes a file beside `path` and renames it over it, so that there is always a whole one.
///
/// # Errors
/// `Io`, naming the file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = fs::File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    written.map_err(|e| {
        // What is half written helps nobody; that it cannot be removed either adds nothing to the first error.
        let _ = fs::remove_file(&part);
        Error::caused(ErrorKind::Io, format!("cannot write {}", path.display()), e)
    })
}

/// Reads a checkpoint over a freshly made learner.
///
/// # Errors
/// `Io` when the file cannot be read, `BadData` when it is no checkpoint of this network.
pub fn load<B: AutodiffBackend>(path: &Path, learner: Learner<B>, device: &B::Device) -> Result<(Learner<B>, State)> {
    let bytes =
        fs::read(path).map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
    let bad = |what: &str| Error::new(ErrorKind::BadData, format!("{}: expected {what}", path.display()));
    let state = read_state(&bytes).ok_or_else(|| bad("a checkpoint of grnet"))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|_| bad("whole tensors"))?;
    let values = |name: &str| -> Option<Vec<f32>> {
        let view = file.tensor(name).ok()?;
        Some(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    };
    let source = |prefix: &'static str| {
        move |name: &str, shape: &[usize]| {
            let found = values(&format!("{prefix}.{name}")).filter(|v| v.len() == shape.iter().product::<usize>());
            found.ok_or_else(|| bad(&format!("tensor {prefix}.{name} of shape {shape:?}")))
        }
    };
    let network = fill_module(learner.network, &mut source("network"))?;
    let average = match learner.average {
        Some(average) => Some(fill_module(average, &mut source("average"))?),
        None => None,
    };
    let moments = |prefix: &str| -> Named<B::InnerBackend> {
        let start = format!("{prefix}.");
        let names = file.names().into_iter().filter_map(|name| name.strip_prefix(&start).map(|rest| (name, rest)));
        names
            .filter_map(|(name, rest)| {
                let values = values(name)?;
                let length = values.len();
                Some((rest.to_string(), Tensor::from_data(TensorData::new(values, [length]), device)))
            })
            .collect()
    };
    let adam = Adam { updates: state.updates, first: moments("first"), second: moments("second") };
    Ok((Learner { network, average, adam }, state))
}

fn read_state(bytes: &[u8]) -> Option<State> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let state: State = serde_json::from_str(header.metadata().as_ref()?.get(METADATA_KEY)?).ok()?;
    (state.format == FORMAT).then_some(state)
}

/// Whether two networks hold the same numbers, bit for bit.
pub fn same_weights<B: Backend>(a: &GrNet<B>, b: &GrNet<B>) -> bool {
    let list = |network: &GrNet<B>| {
        let mut all = Vec::new();
        read_module(network, &mut |_, _, values| all.extend(values.into_iter().map(f32::to_bits)));
        all
    };
    list(a) == list(b)
}
