//! The weights that a run starts from, told apart by what a file holds.

use crate::model::{ModelFile, Tensors};
use crate::train::formats::torch;
use crate::{Error, ErrorKind, Result};

/// Weights that a run starts from.
#[derive(Debug, Clone)]
pub enum Start {
    /// A torchvision ResNet-18, for both trunks; the rest of the network is fresh.
    Trunk(Tensors),
    /// An earlier model, all of it, with its stream weights and residual gain.
    Model(Box<ModelFile>),
}

impl Start {
    /// Reads a model file of grnet, or a torchvision state dict as safetensors or as `torch.save` writes it.
    ///
    /// # Errors
    /// `BadWeights`, naming what was expected and what was found.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if torch::is_torch(bytes) {
            return torch::read_state_dict(bytes).map(Start::Trunk);
        }
        if ModelFile::is_model(bytes) {
            return Ok(Start::Model(Box::new(ModelFile::parse(bytes)?)));
        }
        Tensors::parse(bytes).map(Start::Trunk).map_err(|error| {
            let message = "expected a grnet model, a safetensors file or a state dict of torch.save as start";
            Error::caused(ErrorKind::BadWeights, message, error)
        })
    }
}
