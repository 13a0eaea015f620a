//! The model file: bytes <-> network and everything else that a verdict depends on. Knows no path and no URL.
//!
//! A `.safetensors` file with torchvision-like names; its `__metadata__` holds one JSON document under `grnet`
//! ([`ModelMeta`]). Tensors are f32, f16, or int8 per output channel (`NAME` as i8 and `NAME.scale` as f32).

mod rounding;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::gate::Gate;
use crate::mte::GuidedFilterConfig;
use crate::nn::resnet::ResNet18;
use crate::nn::{EARLY_FEATURES, GrNet, GrNetConfig};

/// Value of [`ModelMeta::format`].
pub const FORMAT: &str = "grnet.model/1";
/// Key of the JSON document in the file's `__metadata__`.
const METADATA_KEY: &str = "grnet";

/// Everything but the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMeta {
    /// Always [`FORMAT`].
    pub format: String,
    /// What the model is called, for people.
    pub name: String,
    /// Side of the square input in pixels, a multiple of 32.
    pub input_px: usize,
    /// Side of the crop, in sides of the face box.
    pub crop_margin: f32,
    /// The architecture, stream weights as trained included.
    pub network: GrNetConfig,
    /// The guided filter of the residual stream.
    pub mte: GuidedFilterConfig,
    /// Names of the classes; class 0 is "not manipulated".
    pub class_names: Vec<String>,
    /// Score -> probability, by quality.
    pub calibration: Vec<CalibrationBucket>,
    /// Where the bands begin.
    pub thresholds: Thresholds,
    /// How the bands fell on untouched faces, by quality; what was not counted is not in the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untouched: Vec<UntouchedOutcomes>,
    /// What tells pictures that the model knows from others; absent: every picture counts as familiar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub familiarity: Option<Gate>,
    /// The classifier's logits on [`crate::detector::known_picture`], for the self-check at load.
    pub known_logits: Vec<f32>,
    /// How the model came about, for people: commit, data, steps, validation figures.
    pub training: BTreeMap<String, String>,
    /// Under which terms the weights may be used.
    pub licence: String,
}

/// How a raw score is turned into a probability for faces of one quality:
/// `p_fake = sigmoid(logit / temperature + bias)`. The first bucket that holds a face counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBucket {
    /// Longer side of the face box in pixels, from and to, both included.
    pub face_px: [u32; 2],
    /// Estimated JPEG quality, from and to, both included; files that are not JPEG count as 100.
    pub jpeg_quality: [u8; 2],
    /// Divides the logit.
    pub temperature: f64,
    /// Added to the logit.
    pub bias: f64,
    /// Whether faces of this quality can be judged at all; if not, they are `too_degraded`.
    pub judged: bool,
}

/// How the bands fell on untouched faces of one quality, counted on the validation split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UntouchedOutcomes {
    /// Longer side of the face box in pixels, from and to, both included.
    pub face_px: [u32; 2],
    /// Estimated JPEG quality, from and to, both included.
    pub jpeg_quality: [u8; 2],
    /// How many faces were counted.
    pub faces: u32,
    /// Share of them called `likely_fake`, 0..1.
    pub likely_fake: f64,
    /// Share of them called `inconclusive`, 0..1.
    pub inconclusive: f64,
    /// Share of them called `no_signs_found`, 0..1.
    pub no_signs_found: f64,
}

/// Share of untouched validation faces to which [`Thresholds::likely_fake`] is fitted, as a bound.
pub const LIKELY_FAKE_SHARE: f64 = 0.05;
/// The same for [`Thresholds::auto_scan`].
pub const AUTO_SCAN_SHARE: f64 = 0.01;

/// Band limits on the calibrated `p_fake`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// From here on `likely_fake`: at most 5 % of the untouched faces of the validation split.
    pub likely_fake: f64,
    /// From here on flagged without being asked (extension): at most 1 % of the untouched faces of any source in it.
    pub auto_scan: f64,
    /// Below this `no_signs_found`; between the two `inconclusive`.
    pub no_signs: f64,
}

impl Default for ModelMeta {
    /// An untrained binary model, uncalibrated.
    fn default() -> Self {
        ModelMeta {
            format: FORMAT.to_string(),
            name: "untrained".to_string(),
            input_px: 128,
            crop_margin: crate::input::CROP_MARGIN,
            network: GrNetConfig::default(),
            mte: GuidedFilterConfig::default(),
            class_names: vec!["unmanipulated".to_string(), "fake".to_string()],
            calibration: vec![CalibrationBucket {
                face_px: [0, u32::MAX],
                jpeg_quality: [0, 100],
                temperature: 1.0,
                bias: 0.0,
                judged: true,
            }],
            thresholds: Thresholds { likely_fake: 0.9, auto_scan: 0.97, no_signs: 0.5 },
            untouched: Vec::new(),
            familiarity: None,
            known_logits: Vec::new(),
            training: BTreeMap::new(),
            licence: "CC-BY-NC-4.0".to_string(),
        }
    }
}

impl ModelMeta {
    /// Whether scores were fitted to measurements; an untrained or freshly trained model's were not.
    pub fn is_calibrated(&self) -> bool {
        self.calibration.iter().any(|bucket| bucket.temperature != 1.0 || bucket.bias != 0.0)
    }

    fn validate(&self) -> Result<()> {
        let check = |good: bool, what: &str, found: String| {
            if good { Ok(()) } else { Err(bad(format!("model metadata: expected {what}, found {found}"))) }
        };
        check(self.format == FORMAT, &format!("format {FORMAT}"), self.format.clone())?;
        let px = self.input_px;
        check(
            px.is_multiple_of(32) && (64..=512).contains(&px),
            "input_px as a multiple of 32 in 64..=512",
            px.to_string(),
        )?;
        let margin = self.crop_margin;
        check((1.0..=3.0).contains(&margin), "crop_margin in 1..=3", margin.to_string())?;
        let classes = self.network.classes;
        check((2..=64).contains(&classes), "2 to 64 classes", classes.to_string())?;
        if let Some(gate) = &self.familiarity {
            let expected = format!("a familiarity gate for {EARLY_FEATURES} features with a positive limit");
            check(gate.fits(EARLY_FEATURES), &expected, "another".into())?;
        }
        let names = self.class_names.len();
        check(names == classes, &format!("{classes} class names"), names.to_string())?;
        let w = self.network.w_spatial;
        check((0.0..=1.0).contains(&w), "w_spatial in 0..=1", w.to_string())?;
        let gain = self.network.residual_gain;
        check(gain.is_finite() && gain > 0.0, "residual_gain above 0", gain.to_string())?;
        self.mte.validate().map_err(|error| bad(format!("model metadata: {error}")))?;
        check(!self.calibration.is_empty(), "a calibration bucket", "none".to_string())?;
        for bucket in &self.calibration {
            let good = bucket.temperature.is_finite() && bucket.temperature > 0.0 && bucket.bias.is_finite();
            check(good, "a finite bias and a temperature above 0", format!("{bucket:?}"))?;
        }
        for outcomes in &self.untouched {
            let shares = [outcomes.likely_fake, outcomes.inconclusive, outcomes.no_signs_found];
            let good = shares.iter().all(|share| (0.0..=1.0).contains(share)) && shares.iter().sum::<f64>() < 1.001;
            check(good, "shares of untouched faces that add up to one", format!("{outcomes:?}"))?;
        }
        let t = self.thresholds;
        let ordered = 0.0 <= t.no_signs && t.no_signs <= t.likely_fake && t.likely_fake <= t.auto_scan;
        check(ordered && t.auto_scan <= 1.0, "0 <= no_signs <= likely_fake <= auto_scan <= 1", format!("{t:?}"))
    }
}

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
        let document = model_document(bytes)
            .map_err(|error| Error::caused(ErrorKind::BadWeights, "expected a safetensors model file", error))?;
        let document =
            document.ok_or_else(|| bad("expected a grnet model file, found safetensors without `grnet` metadata"))?;
        let meta: ModelMeta = serde_json::from_str(&document)
            .map_err(|error| Error::caused(ErrorKind::BadWeights, "expected grnet model metadata", error))?;
        meta.validate()?;
        Ok(ModelFile { meta, id: sha256_hex(bytes), tensors: Tensors::parse(bytes)? })
    }

    /// Whether a file says that it is a model file, whatever else may be wrong with it.
    pub fn is_model(bytes: &[u8]) -> bool {
        model_document(bytes).is_ok_and(|document| document.is_some())
    }

    /// The network on a device.
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`] for a missing, misshapen or unexpected tensor, or one with values that are not finite.
    pub fn network<B: Backend>(&self, device: &B::Device) -> Result<GrNet<B>> {
        self.fill(self.meta.network.init::<B>(device))
    }

    /// Replaces the weights of a network by those of the file.
    ///
    /// # Errors
    /// As [`ModelFile::network`].
    pub fn fill<B: Backend>(&self, network: GrNet<B>) -> Result<GrNet<B>> {
        let mut used = 0;
        let network = fill_module(network, &mut |name, shape| {
            used += 1;
            self.tensors.get(name, shape)
        })?;
        if used != self.tensors.0.len() {
            let mut known: Vec<String> = Vec::new();
            read_module(&network, &mut |name, _, _| known.push(name.to_string()));
            let stray = self.tensors.0.keys().find(|name| !known.contains(name));
            return Err(bad(format!("unexpected tensor {}", stray.map_or("?", |name| name))));
        }
        Ok(network)
    }
}

/// The JSON document of a model file; `None` in other safetensors files.
fn model_document(bytes: &[u8]) -> std::result::Result<Option<String>, safetensors::SafeTensorError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    Ok(header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY)).cloned())
}

/// Writes a model file.
///
/// # Errors
/// [`ErrorKind::BadWeights`] when the metadata is out of range.
pub fn write_model<B: Backend>(network: &GrNet<B>, meta: &ModelMeta, precision: Precision) -> Result<Vec<u8>> {
    meta.validate()?;
    let document = serde_json::to_string(meta)
        .map_err(|error| Error::caused(ErrorKind::Internal, "model metadata as JSON", error))?;
    let mut stored: Vec<StoredTensor> = Vec::new();
    read_module(network, &mut |name, shape, values| match precision {
        Precision::F16 => {
            let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
            stored.push(StoredTensor { name: name.to_string(), dtype: Dtype::F16, shape: shape.to_vec(), bytes });
        }
        Precision::Int8 if shape.len() > 1 => {
            let (levels, scales) = rounding::quantise(&values, shape);
            let (dtype, shape) = (Dtype::I8, shape.to_vec());
            let scales = StoredTensor::f32(format!("{name}.scale"), &shape[..1], scales);
            stored.push(StoredTensor {
                name: name.to_string(),
                dtype,
                shape,
                bytes: levels.iter().map(|level| *level as u8).collect(),
            });
            stored.push(scales);
        }
        Precision::F32 | Precision::Int8 => {
            stored.push(StoredTensor::f32(name.to_string(), shape, values));
        }
    });
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

/// Loads a trunk from a torchvision `resnet18` state dict; its classifier and its counters are ignored.
///
/// # Errors
/// [`ErrorKind::BadWeights`] for a missing, misshapen or unexpected tensor.
pub fn load_trunk<B: Backend>(trunk: ResNet18<B>, tensors: &Tensors) -> Result<ResNet18<B>> {
    let mut used = BTreeSet::new();
    let trunk = fill_module(trunk, &mut |name, shape| {
        used.insert(name.to_string());
        tensors.get(name, shape)
    })?;
    let ours = |name: &String| used.contains(name) || name.starts_with("fc.") || name.ends_with(".num_batches_tracked");
    match tensors.0.iter().find(|(name, _)| !ours(name)) {
        Some((name, (shape, _))) => {
            Err(bad(format!("expected the tensors of a ResNet-18 alone, found {name} of shape {shape:?}")))
        }
        None => Ok(trunk),
    }
}

/// The file that stands beside a model file and names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the model file.
    pub file: String,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

impl Manifest {
    /// The manifest of a model file.
    pub fn of(file: &str, bytes: &[u8]) -> Self {
        Manifest { file: file.to_string(), sha256: sha256_hex(bytes), bytes: bytes.len() as u64 }
    }

    /// Checks a model file against its manifest.
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`] when size or digest differ.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        if self.bytes != bytes.len() as u64 {
            return Err(bad(format!("{}: expected {} bytes, found {}", self.file, self.bytes, bytes.len())));
        }
        let found = sha256_hex(bytes);
        if self.sha256 != found {
            return Err(bad(format!("{}: expected SHA-256 {}, found {found}", self.file, self.sha256)));
        }
        Ok(())
    }
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives the values of a tensor of this name and shape; for [`fill_module`].
pub type Source<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>> + 'a;

/// Takes a tensor's name, shape and values; for [`read_module`].
pub type Sink<'a> = dyn FnMut(&str, &[usize], Vec<f32>) + 'a;

/// Replaces every parameter and running statistic of a module by `source(name, shape)`, in torchvision's names and
/// layouts (linear weights `[out, in]`).
///
/// # Errors
/// The first error of `source`.
pub fn fill_module<B: Backend, M: Module<B>>(module: M, source: &mut Source<'_>) -> Result<M> {
    let mut filler = Filler { path: Vec::new(), source, error: None };
    let module = module.map(&mut filler);
    match filler.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// Shows every parameter and running statistic of a module to `sink(name, shape, values)`, in torchvision's names and
/// layouts.
pub fn read_module<B: Backend, M: Module<B>>(module: &M, sink: &mut Sink<'_>) {
    module.visit(&mut Reader { path: Vec::new(), sink });
}

/// Whether what a container holds has a name in files: variants of enums have none, torchvision knows no such thing.
fn is_named(container: &str) -> bool {
    !container.starts_with("Enum:")
}

struct Filler<'a> {
    path: Vec<String>,
    source: &'a mut Source<'a>,
    error: Option<Error>,
}

impl<B: Backend> ModuleMapper<B> for Filler<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        if is_named(container) {
            self.path.push(name.to_string());
        }
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        if is_named(container) {
            self.path.pop();
        }
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, old, mapper) = param.consume();
        // burn keeps linear weights as [in, out].
        let mut shape = old.dims();
        if D == 2 {
            shape.reverse();
        }
        let new = match (self.source)(&self.path.join("."), &shape) {
            Ok(values) => {
                // Transposed here and not by a strided view: backends round differently over those, and a resumed
                // training would differ from one that never stopped.
                let values = if D == 2 { transposed(&values, shape[1]) } else { values };
                let tensor = Tensor::<B, D>::from_data(TensorData::new(values, old.dims()), &old.device());
                tensor.set_require_grad(old.is_require_grad())
            }
            Err(error) => {
                self.error.get_or_insert(error);
                old
            }
        };
        Param::from_mapped_value(id, new, mapper)
    }
}

/// Rows of `columns` values -> columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

struct Reader<'a> {
    path: Vec<String>,
    sink: &'a mut Sink<'a>,
}

impl<B: Backend> ModuleVisitor<B> for Reader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        if is_named(container) {
            self.path.push(name.to_string());
        }
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        if is_named(container) {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        let value = if D == 2 { value.swap_dims(0, 1) } else { value };
        let values = value.to_data().convert::<f32>().into_vec::<f32>().expect("converted to f32");
        (self.sink)(&self.path.join("."), &value.dims(), values);
    }
}

/// Tensors of a file by name, widened to f32.
#[derive(Debug, Clone)]
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    /// Shapes and values by name.
    pub fn new(tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Self {
        Tensors(tensors)
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
            let data = view.data();
            let values: Vec<f32> = match view.dtype() {
                Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                Dtype::I8 => data.iter().map(|b| f32::from(*b as i8)).collect(),
                // Counters such as `num_batches_tracked` belong to no layer of ours.
                Dtype::I64 => continue,
                other => return Err(bad(format!("tensor {name}: expected f32, f16 or i8, found {other:?}"))),
            };
            tensors.insert(name.to_string(), (view.shape().to_vec(), values));
        }
        let scaled: Vec<String> =
            tensors.keys().filter_map(|name| name.strip_suffix(".scale").map(String::from)).collect();
        for name in scaled {
            let (_, scales) = tensors.remove(&format!("{name}.scale")).expect("the key was just listed");
            let Some((shape, values)) = tensors.get_mut(&name) else {
                return Err(bad(format!("tensor {name}.scale has no tensor {name}")));
            };
            if shape.first() != Some(&scales.len()) || values.is_empty() {
                return Err(bad(format!("tensor {name}: expected a scale per output channel, found {}", scales.len())));
            }
            let row = values.len() / scales.len();
            values.iter_mut().enumerate().for_each(|(k, value)| *value *= scales[k / row]);
        }
        Ok(Tensors(tensors))
    }

    /// The values of a tensor of this shape.
    ///
    /// # Errors
    /// [`ErrorKind::BadWeights`] for a missing or misshapen tensor, or one with values that are not finite.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some((found, values)) = self.0.get(name) else {
            let others = self.0.keys().next().map(|other| format!(" among {}, such as {other}", self.0.len()));
            let others = others.unwrap_or_default();
            return Err(bad(format!("expected tensor {name} of shape {shape:?}, found none{others}")));
        };
        if found != shape {
            return Err(bad(format!("tensor {name}: expected shape {shape:?}, found {found:?}")));
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => {
                Err(bad(format!("tensor {name}: expected finite values, found {} at {index}", values[index])))
            }
            None => Ok(values.clone()),
        }
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadWeights, message)
}
