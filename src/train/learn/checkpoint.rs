//! Checkpoints: one safetensors file with the network, the averaged network, Adam's moments and, as JSON in its metadata,
//! everything else that a run needs to go on exactly as if it had not stopped. Written atomically. [`save`] and [`load`] are
//! for `grnet train`; the comparison puts its own together of [`Parts`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::optim::Adam;
use crate::model::{StoredTensor, write_tensors};
use crate::train::files::write_atomically;
use crate::train::nn::GrNet;
use crate::train::nn::parameters::{Named, fill_module, read_module};
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
    let mut parts = Parts::default();
    parts.module::<B, _>("network", &learner.network);
    if let Some(average) = &learner.average {
        parts.module::<B::InnerBackend, _>("average", average);
    }
    parts.named("first", &learner.adam.first);
    parts.named("second", &learner.adam.second);
    parts.write(path, state)
}

/// The tensors of a checkpoint, those of each part under a prefix of its own.
#[derive(Debug, Default)]
pub struct Parts(Vec<StoredTensor>);

impl Parts {
    /// Adds all tensors of a module.
    pub fn module<B: Backend, M: Module<B>>(&mut self, prefix: &str, module: &M) {
        read_module(module, &mut |name, shape, values| {
            self.0.push(StoredTensor::f32(format!("{prefix}.{name}"), shape, values));
        });
    }

    /// Adds tensors by name.
    pub fn named<B: Backend>(&mut self, prefix: &str, named: &Named<B>) {
        for (name, tensor) in named {
            let values: Vec<f32> = tensor.to_data().convert::<f32>().iter::<f32>().collect();
            self.0.push(StoredTensor::f32(format!("{prefix}.{name}"), &[values.len()], values));
        }
    }

    /// Writes the tensors and, as JSON, whatever else the run must know; atomically.
    ///
    /// # Errors
    /// `Io`, for example when the disk is full; an older checkpoint then stays as it is.
    pub fn write(&self, path: &Path, state: &impl Serialize) -> Result<()> {
        let document = serde_json::to_string(state)
            .map_err(|e| Error::caused(ErrorKind::Internal, "checkpoint state as JSON", e))?;
        write_atomically(path, &write_tensors(&self.0, METADATA_KEY, document)?)
    }
}

/// What [`Parts::write`] wrote.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    document: String,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Checkpoint {
    /// Reads it.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `BadData` when it is no checkpoint.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes =
            fs::read(path).map_err(|e| Error::caused(ErrorKind::Io, format!("cannot read {}", path.display()), e))?;
        let found = |bytes| {
            let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
            let document = header.metadata().as_ref()?.get(METADATA_KEY)?.clone();
            let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let values = |data: &[u8]| data.chunks_exact(4).map(float).collect();
            let tensors =
                SafeTensors::deserialize(bytes).ok()?.iter().map(|(n, v)| (n.into(), values(v.data()))).collect();
            Some(Checkpoint { path: path.to_path_buf(), document, tensors })
        };
        found(&bytes).ok_or_else(|| bad(path, "a whole checkpoint of grnet"))
    }

    /// What was written beside the tensors.
    ///
    /// # Errors
    /// `BadData` for that of another kind of run.
    pub fn state<S: DeserializeOwned>(&self) -> Result<S> {
        serde_json::from_str(&self.document).map_err(|_| bad(&self.path, "a checkpoint of this kind of run"))
    }

    /// The module of a prefix, over a fresh one.
    ///
    /// # Errors
    /// `BadData`, naming the tensor that is missing or of another size.
    pub fn module<B: Backend, M: Module<B>>(&self, prefix: &str, fresh: M) -> Result<M> {
        fill_module(fresh, &mut |name, shape| {
            let found = self.tensors.get(&format!("{prefix}.{name}"));
            let fitting = found.filter(|values| values.len() == shape.iter().product::<usize>());
            fitting.cloned().ok_or_else(|| bad(&self.path, &format!("tensor {prefix}.{name} of shape {shape:?}")))
        })
    }

    /// Tensors by name, flat; none when the prefix has none.
    pub fn named<B: Backend>(&self, prefix: &str, device: &B::Device) -> Named<B> {
        let start = format!("{prefix}.");
        let of = self.tensors.iter().filter_map(|(name, values)| Some((name.strip_prefix(&start)?, values)));
        let tensor = |values: &Vec<f32>| Tensor::from_data(TensorData::new(values.clone(), [values.len()]), device);
        of.map(|(name, values)| (name.to_string(), tensor(values))).collect()
    }
}

fn bad(path: &Path, expected: &str) -> Error {
    Error::new(ErrorKind::BadData, format!("{}: expected {expected}", path.display()))
}

/// Reads a checkpoint over a freshly made learner.
///
/// # Errors
/// `Io` when the file cannot be read, `BadData` when it is no checkpoint of this network.
pub fn load<B: AutodiffBackend>(path: &Path, learner: Learner<B>, device: &B::Device) -> Result<(Learner<B>, State)> {
    let file = Checkpoint::read(path)?;
    let state: State = file.state()?;
    if state.format != FORMAT {
        return Err(bad(path, &format!("a checkpoint of format {FORMAT}")));
    }
    let network = file.module::<B, _>("network", learner.network)?;
    let average = learner.average.map(|average| file.module::<B::InnerBackend, _>("average", average)).transpose()?;
    let (first, second) = (file.named("first", device), file.named("second", device));
    Ok((Learner { network, average, adam: Adam { updates: state.updates, first, second } }, state))
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
