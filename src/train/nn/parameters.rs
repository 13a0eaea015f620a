//! The parameters of a burn module by name: into and out of files, and changed in place. One naming rule, torchvision's.

use std::collections::{BTreeMap, BTreeSet};

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
    let mut filler = Filler { source, error: None };
    let module = change_parameters(module, &mut filler);
    match filler.error {
        Some(error) => Err(error),
        None => Ok(module),
    }
}

/// Shows every parameter and running statistic of a module to `sink(name, shape, values)`, in torchvision's names and
/// layouts.
pub fn read_module<B: Backend, M: Module<B>>(module: &M, sink: &mut Sink<'_>) {
    see_parameters(module, &mut Reader { sink });
}

/// Where a parameter lies in its module. The one naming rule: torchvision's, the fields on the way joined by dots; variants
/// of enums have no name.
#[derive(Debug, Default)]
pub struct Place {
    fields: Vec<String>,
    containers: Vec<String>,
}

impl Place {
    /// Its name in files.
    pub fn name(&self) -> String {
        self.fields.join(".")
    }

    /// The fields on the way, the parameter's own last.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// The type of the module that holds it.
    pub fn container(&self) -> &str {
        self.containers.last().map_or("", String::as_str)
    }

    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.fields.push(name.to_string());
            self.containers.push(container.to_string());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.fields.pop();
            self.containers.pop();
        }
    }
}

/// What [`change_parameters`] does to a parameter or running statistic.
pub trait Change<B: Backend> {
    /// Its new value.
    fn change<const D: usize>(&mut self, place: &Place, value: Tensor<B, D>) -> Tensor<B, D>;
}

/// Replaces every parameter and running statistic of a module by what `change` makes of it.
pub fn change_parameters<B: Backend, M: Module<B>, C: Change<B>>(module: M, change: &mut C) -> M {
    struct Walk<'a, C>(Place, &'a mut C);

    impl<B: Backend, C: Change<B>> ModuleMapper<B> for Walk<'_, C> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }

        fn exit_module(&mut self, _name: &str, container: &str) {
            self.0.exit(container);
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let (id, old, mapper) = param.consume();
            Param::from_mapped_value(id, self.1.change(&self.0, old), mapper)
        }
    }

    module.map(&mut Walk(Place::default(), change))
}

/// What [`see_parameters`] shows parameters and running statistics to.
pub trait See<B: Backend> {
    /// Looks at one.
    fn see<const D: usize>(&mut self, place: &Place, value: Tensor<B, D>);
}

/// Shows every parameter and running statistic of a module to `see`.
pub fn see_parameters<B: Backend, M: Module<B>, S: See<B>>(module: &M, see: &mut S) {
    struct Walk<'a, S>(Place, &'a mut S);

    impl<B: Backend, S: See<B>> ModuleVisitor<B> for Walk<'_, S> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }

        fn exit_module(&mut self, _name: &str, container: &str) {
            self.0.exit(container);
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.see(&self.0, param.val());
        }
    }

    module.visit(&mut Walk(Place::default(), see));
}

struct Filler<'a> {
    source: &'a mut Source<'a>,
    error: Option<Error>,
}

impl<B: Backend> Change<B> for Filler<'_> {
    fn change<const D: usize>(&mut self, place: &Place, old: Tensor<B, D>) -> Tensor<B, D> {
        // burn keeps linear weights as [in, out].
        let mut shape = old.dims();
        if D == 2 {
            shape.reverse();
        }
        match (self.source)(&place.name(), &shape) {
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
        }
    }
}

/// Rows of `columns` values -> columns.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

struct Reader<'a> {
    sink: &'a mut Sink<'a>,
}

impl<B: Backend> See<B> for Reader<'_> {
    fn see<const D: usize>(&mut self, place: &Place, value: Tensor<B, D>) {
        let value = if D == 2 { value.swap_dims(0, 1) } else { value };
        let values = value.to_data().convert::<f32>().into_vec::<f32>().expect("converted to f32");
        (self.sink)(&place.name(), &value.dims(), values);
    }
}

/// Tensors by name, flattened.
pub type Named<B> = BTreeMap<String, Tensor<B, 1>>;

/// Every weight and statistic of `module` times `keep`, plus that of `other`, which must be built alike, times the rest.
pub fn blended<B: Backend, M: Module<B>>(module: M, other: &M, keep: f64) -> M {
    let mut collected = Collect { found: Named::new() };
    see_parameters(other, &mut collected);
    change_parameters(module, &mut Blend { other: collected.found, keep: keep as f32 })
}

struct Collect<B: Backend> {
    found: Named<B>,
}

impl<B: Backend> See<B> for Collect<B> {
    fn see<const D: usize>(&mut self, place: &Place, value: Tensor<B, D>) {
        let length = value.shape().num_elements();
        self.found.insert(place.name(), value.reshape([length]));
    }
}

struct Blend<B: Backend> {
    other: Named<B>,
    keep: f32,
}

impl<B: Backend> Change<B> for Blend<B> {
    fn change<const D: usize>(&mut self, place: &Place, old: Tensor<B, D>) -> Tensor<B, D> {
        let Some(other) = self.other.remove(&place.name()) else { return old };
        let shape = old.dims();
        old.mul_scalar(self.keep).add(other.reshape(shape).mul_scalar(1.0 - self.keep))
    }
}
