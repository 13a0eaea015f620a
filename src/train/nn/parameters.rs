//! The parameters of a burn module by name: into and out of files. One naming rule, torchvision's.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::GrNet;
use super::resnet::ResNet18;
use crate::error::{Error, Result};
use crate::model::{ModelFile, ModelMeta, Precision, Tensors, bad, file};

impl ModelFile {
    /// The network as a module of burn, on a device: for training, and as the other side of parity tests.
    ///
    /// # Errors
    /// [`BadWeights`](crate::ErrorKind::BadWeights) for a missing, misshapen or unexpected tensor, or one with values that are not finite.
    pub fn module<B: Backend>(&self, device: &B::Device) -> Result<GrNet<B>> {
        self.fill(self.meta.network.init::<B>(device))
    }

    /// Replaces the weights of a network by those of the file.
    ///
    /// # Errors
    /// As [`ModelFile::module`].
    pub fn fill<B: Backend>(&self, network: GrNet<B>) -> Result<GrNet<B>> {
        let mut used = 0;
        let network = fill_module(network, &mut |name, shape| {
            used += 1;
            self.tensors().get(name, shape)
        })?;
        if used != self.tensors().shapes().count() {
            let mut known: Vec<String> = Vec::new();
            read_module(&network, &mut |name, _, _| known.push(name.to_string()));
            let stray = self.tensors().shapes().map(|(name, _)| name).find(|name| !known.iter().any(|own| own == name));
            return Err(bad(format!("unexpected tensor {}", stray.unwrap_or("?"))));
        }
        Ok(network)
    }
}

/// Writes a model file.
///
/// # Errors
/// [`BadWeights`](crate::ErrorKind::BadWeights) when the metadata is out of range.
pub fn write_model<B: Backend>(network: &GrNet<B>, meta: &ModelMeta, precision: Precision) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    read_module(network, &mut |name, shape, values| tensors.push((name.to_string(), shape.to_vec(), values)));
    file::write(meta, precision, tensors)
}

/// Loads a trunk from a torchvision `resnet18` state dict; its classifier and its counters are ignored.
///
/// # Errors
/// [`BadWeights`](crate::ErrorKind::BadWeights) for a missing, misshapen or unexpected tensor.
pub fn load_trunk<B: Backend>(trunk: ResNet18<B>, tensors: &Tensors) -> Result<ResNet18<B>> {
    let mut used = BTreeSet::new();
    let trunk = fill_module(trunk, &mut |name, shape| {
        used.insert(name.to_string());
        tensors.get(name, shape)
    })?;
    let ours = |name: &str| used.contains(name) || name.starts_with("fc.") || name.ends_with(".num_batches_tracked");
    match tensors.shapes().find(|(name, _)| !ours(name)) {
        Some((name, shape)) => {
            Err(bad(format!("expected the tensors of a ResNet-18 alone, found {name} of shape {shape:?}")))
        }
        None => Ok(trunk),
    }
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
