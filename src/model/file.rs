//! The model file: bytes <-> network and everything else that a verdict depends on. Knows no path and no URL.
//!
//! A `.safetensors` file with torchvision-like names; its `__metadata__` holds one JSON document under `grnet`
//! ([`ModelMeta`]). Tensors are f32, f16, or int8 per output channel (`NAME` as i8 and `NAME.scale` as f32).

use std::collections::{BTreeMap, HashMap};

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::manifest::sha256_hex;
use super::meta::ModelMeta;
use super::{bad, quantise};
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Network, Values};

/// Key of the JSON document in the file's `__metadata__`.
const METADATA_KEY: &str = "grnet";

/// How tensors are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Four bytes a number, exact.
    F32,
    /// Two bytes a number.
    F16,
    /// One byte a number in convolution and linear weights, one scale per output channel; the rest f32.
    Int8,
}

/// A parsed model file.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// Everything but the tensors.
    pub meta: ModelMeta,
    /// SHA-256 of the file's bytes, lower-case hexadecimal.
    pub id: String,
    tensors: Tensors,
}

impl ModelFile {
    /// Reads a model file and checks its metadata; tensors are checked by [`ModelFile::network`].
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`], naming what was expected and what was found.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ModelFile::parse_as(bytes, sha256_hex(bytes))
    }

    /// The same, of bytes whose SHA-256 is known to be `id`.
    ///
    /// # Errors
    /// As [`ModelFile::parse`].
    pub fn parse_as(bytes: &[u8], id: String) -> Result<Self> {
        let document = model_document(bytes)
            .map_err(|error| Error::caused(ErrorKind::BadWeights, "expected a safetensors model file", error))?;
        let document =
            document.ok_or_else(|| bad("expected a grnet model file, found safetensors without `grnet` metadata"))?;
        let meta: ModelMeta = serde_json::from_str(&document)
            .map_err(|error| Error::caused(ErrorKind::BadWeights, "expected grnet model metadata", error))?;
        meta.validate()?;
        Ok(ModelFile { meta, id, tensors: Tensors::parse(bytes)? })
    }

    /// Whether a file says that it is a model file, whatever else may be wrong with it.
    pub fn is_model(bytes: &[u8]) -> bool {
        model_document(bytes).is_ok_and(|document| document.is_some())
    }

    /// The network, as engines take it.
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`] for a missing, misshapen or unexpected tensor, or one with values that are not finite.
    pub fn network(&self) -> Result<Network> {
        self.clone().into_network().map(|(network, _, _)| network)
    }

    /// The network, and what the file says beside it. Each tensor is given back as soon as the network has it: both at
    /// once would be what decides how much memory a page needs.
    ///
    /// # Errors
    /// As [`ModelFile::network`].
    pub fn into_network(self) -> Result<(Network, ModelMeta, String)> {
        let ModelFile { meta, id, mut tensors } = self;
        let network = Network::new(&meta.network, &meta.mte, &mut |name, shape| tensors.take(name, shape))?;
        match tensors.shapes().next() {
            Some((name, _)) => Err(bad(format!("unexpected tensor {name}"))),
            None => Ok((network, meta, id)),
        }
    }

    /// The tensors as they were found.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }
}

/// The JSON document of a model file; `None` in other safetensors files.
fn model_document(bytes: &[u8]) -> std::result::Result<Option<String>, safetensors::SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY)).cloned())
}

/// Writes a model file of tensors: names, shapes and values.
///
/// # Errors
/// [`ErrorKind::BadWeights`] when the metadata is out of range.
pub fn write(meta: &ModelMeta, precision: Precision, tensors: Vec<(String, Vec<usize>, Vec<f32>)>) -> Result<Vec<u8>> {
    meta.validate()?;
    let document = serde_json::to_string(meta)
        .map_err(|error| Error::caused(ErrorKind::Internal, "model metadata as JSON", error))?;
    let mut stored: Vec<StoredTensor> = Vec::new();
    for (name, shape, values) in tensors {
        match precision {
            Precision::F16 => {
                let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
                stored.push(StoredTensor { name, dtype: Dtype::F16, shape, bytes });
            }
            Precision::Int8 if shape.len() > 1 => {
                let (levels, scales) = quantise::quantise(&values, &shape);
                let scales = StoredTensor::f32(format!("{name}.scale"), &shape[..1], scales);
                let bytes = levels.iter().map(|level| *level as u8).collect();
                stored.push(StoredTensor { name, dtype: Dtype::I8, shape, bytes });
                stored.push(scales);
            }
            Precision::F32 | Precision::Int8 => stored.push(StoredTensor::f32(name, &shape, values)),
        }
    }
    write_tensors(&stored, METADATA_KEY, document)
}

/// A tensor on its way into a file.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl StoredTensor {
    /// Four bytes a number, exact.
    pub(crate) fn f32(name: String, shape: &[usize], values: Vec<f32>) -> Self {
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        StoredTensor { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }
}

/// A safetensors file with one document in its metadata, under `key`.
///
/// # Errors
/// `Internal`, should bytes and shape of a tensor disagree.
pub(crate) fn write_tensors(stored: &[StoredTensor], key: &str, document: String) -> Result<Vec<u8>> {
    let views = stored.iter().map(|StoredTensor { name, dtype, shape, bytes }| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
    });
    views
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .and_then(|views| safetensors::serialize(views, Some(HashMap::from([(key.to_string(), document)]))))
        .map_err(|error| Error::caused(ErrorKind::Internal, "writing safetensors", error))
}

// A browser compiles wasm in haste at first and a function better when it is entered again: what runs over all weights is
// cut into functions that are entered often.

/// The values of a tensor of `parts` along its first axis, int8 in units of one; none for a type that no weights have.
#[inline(never)]
fn read(dtype: Dtype, data: &[u8], parts: usize) -> Option<Values> {
    Some(match dtype {
        Dtype::F32 => {
            Values::Plain(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        Dtype::F16 => Values::Plain(data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()),
        Dtype::I8 => Values::Levels { levels: data.iter().map(|b| *b as i8).collect(), units: vec![1.0; parts] },
        _ => return None,
    })
}

/// Tensors of a file by name.
#[derive(Debug, Clone)]
pub struct Tensors(BTreeMap<String, (Vec<usize>, Values)>);

impl Tensors {
    /// Shapes and values by name.
    pub fn new(tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Self {
        Tensors(tensors.into_iter().map(|(name, (shape, values))| (name, (shape, values.into()))).collect())
    }

    /// The tensors of a safetensors file.
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`] for other files and for tensors of a type that no weights have.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::caused(ErrorKind::BadWeights, "expected a safetensors file", error))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            // Counters such as `num_batches_tracked` belong to no layer of ours.
            if view.dtype() == Dtype::I64 {
                continue;
            }
            let parts = view.shape().first().copied().unwrap_or(1);
            let values = read(view.dtype(), view.data(), parts)
                .ok_or_else(|| bad(format!("tensor {name}: expected f32, f16 or i8, found {:?}", view.dtype())))?;
            tensors.insert(name.to_string(), (view.shape().to_vec(), values));
        }
        let scaled: Vec<String> =
            tensors.keys().filter_map(|name| name.strip_suffix(".scale").map(String::from)).collect();
        for name in scaled {
            let (_, scales) = tensors.remove(&format!("{name}.scale")).expect("the key was just listed");
            let scales = scales.into_plain();
            let Some((shape, values)) = tensors.get_mut(&name) else {
                return Err(bad(format!("tensor {name}.scale has no tensor {name}")));
            };
            if shape.first() != Some(&scales.len()) || values.is_empty() {
                return Err(bad(format!("tensor {name}: expected a scale per output channel, found {}", scales.len())));
            }
            match values {
                Values::Levels { units, .. } => *units = scales,
                Values::Plain(_) => {
                    return Err(bad(format!("tensor {name}: expected i8 beside {name}.scale, found others")));
                }
            }
        }
        Ok(Tensors(tensors))
    }

    /// Names and shapes of all.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice()))
    }

    /// The values of a tensor of this shape.
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`] for a missing or misshapen tensor, or one with values that are not finite.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.find(name, shape).map(|values| values.plain().into_owned())
    }

    /// The same; it is then no longer there.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Values> {
        self.find(name, shape)?;
        Ok(self.0.remove(name).map(|(_, values)| values).expect("it was just found"))
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<&Values> {
        let Some((found, values)) = self.0.get(name) else {
            let others = self.0.keys().next().map(|other| format!(" among {}, such as {other}", self.0.len()));
            let others = others.unwrap_or_default();
            return Err(bad(format!("expected tensor {name} of shape {shape:?}, found none{others}")));
        };
        if found != shape {
            return Err(bad(format!("tensor {name}: expected shape {shape:?}, found {found:?}")));
        }
        let numbers = match values {
            Values::Plain(numbers) | Values::Levels { units: numbers, .. } => numbers,
        };
        match numbers.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                Err(bad(format!("tensor {name}: expected finite values, found {} at {index}", numbers[index])))
            }
            None => Ok(values),
        }
    }
}
