//! A model as an ONNX file (opset 17, f32): normalisations folded into convolutions, any batch size, the guided residual
//! computed inside the graph or given from outside.
//!
//! The graph is written node by node and mirrors [`crate::train::nn`] and [`crate::train::nn::mte::tensor`]; a test runs it in another
//! runtime and compares. Calibration depends on the photo's quality, not on tensors, so it stays outside: the whole
//! metadata of the model is in `metadata_props` under `grnet`.

mod proto;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::backend::Backend;
use clap::ValueEnum;

use crate::infer::architecture::{
    AttentionForm, FEATURES, Fusion, GrNetConfig, GuideMode, GuidedFilterConfig, IMAGENET_MEAN, IMAGENET_STD,
};
use crate::model::ModelMeta;
use crate::train::nn::GrNet;
use crate::train::nn::parameters::read_module;
use crate::{Error, ErrorKind, Result};
use proto::Message;

/// Version of the operator set.
const OPSET: i64 = 17;
/// Version of the file format that came with it.
const IR_VERSION: i64 = 8;
/// `TensorProto.DataType` of f32.
const FLOAT: i64 = 1;
/// `TensorProto.DataType` of i64.
const INT64: i64 = 7;

/// Where the guided residual comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResidualPlace {
    /// The graph computes it: one input, `image`
    Inside,
    /// The caller computes it: two inputs, `rgb` and `residual`
    Outside,
}

/// Writes a network as an ONNX file.
///
/// Inputs: `image` `[batch, 3, px, px]`, R G B on the 0..1 scale; or, with the residual outside, `rgb` (the same after
/// ImageNet normalisation) and `residual` (|I - q| on the 0..1 scale, before the gain). Outputs, each
/// `[batch, classes]`: `logits_fused`, `logits_spatial`, `logits_residual`.
///
/// # Errors
/// `Internal` when the metadata cannot be written as JSON.
pub fn write_onnx<B: Backend>(network: GrNet<B>, meta: &ModelMeta, place: ResidualPlace) -> Result<Vec<u8>> {
    let document = serde_json::to_string(meta)
        .map_err(|error| Error::caused(ErrorKind::Internal, "model metadata as JSON", error))?;
    let graph = Graph::default();
    read_module(&network.folded(), &mut |name, shape, values| graph.insert(name, shape, FLOAT, &le_bytes(&values)));
    let px = meta.input_px;
    let (rgb, residual) = match place {
        ResidualPlace::Inside => {
            let image = graph.input("image", px, "face crop, R G B on the 0..1 scale");
            (normalise(&image), guided_residual(&image, &meta.mte))
        }
        ResidualPlace::Outside => (
            graph.input("rgb", px, "face crop, R G B, (0..1 scale - ImageNet mean) / ImageNet standard deviation"),
            graph.input("residual", px, "guided residual |I - q| of the crop on the 0..1 scale, without gain"),
        ),
    };
    heads(&graph, &meta.network, &rgb, &residual);
    let note = format!(
        "logits are uncalibrated and p_fake = 1 - softmax(logits_fused)[0]; calibration by face size and JPEG quality, \
         thresholds and the guided filter's settings (radius {} px, eps {} on the 0..1 scale) are in `grnet`",
        meta.mte.radius_px, meta.mte.eps
    );
    let model = Message::default()
        .int(1, IR_VERSION)
        .text(2, env!("CARGO_PKG_NAME"))
        .text(3, env!("CARGO_PKG_VERSION"))
        .text(6, &meta.name)
        .message(7, &graph.finish(meta.network.classes))
        .message(8, &Message::default().text(1, "").int(2, OPSET))
        .messages(14, &[("grnet", document.as_str()), ("note", note.as_str())].map(|(k, v)| text_pair(k, v)));
    Ok(model.into_bytes())
}

fn text_pair(key: &str, value: &str) -> Message {
    Message::default().text(1, key).text(2, value)
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * values.len());
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    bytes
}

/// Names and descriptions of the outputs.
const OUTPUTS: [(&str, &str); 3] = [
    ("logits_fused", "the classifier on the fused feature; class 0 is \"not manipulated\""),
    ("logits_spatial", "the spatial stream's own head"),
    ("logits_residual", "the residual stream's own head"),
];

/// [`GrNet::forward`].
fn heads<'g>(graph: &'g Graph, config: &GrNetConfig, rgb: &Value<'g>, residual: &Value<'g>) {
    let spatial = trunk(graph, "spatial", rgb);
    let residual = trunk(graph, "residual", &residual.mul_scalar(config.residual_gain));
    let fused = match config.fusion {
        Fusion::Afm => {
            let attended = |map: &Value<'g>, gamma: &str, weight: f64| {
                let gamma = config.attention_residual.then(|| graph.weight(gamma));
                attend(map, config.attention, gamma).mul_scalar(weight).average()
            };
            let s = attended(&spatial, "gamma_s", config.w_spatial);
            s.add(&attended(&residual, "gamma_r", 1.0 - config.w_spatial))
        }
        Fusion::Sum => spatial.average().add(&residual.average()),
        Fusion::Max => spatial.average().binary("Max", &residual.average()),
        Fusion::Min => spatial.average().binary("Min", &residual.average()),
        Fusion::Concat => {
            graph.op("Concat", &[&spatial.average(), &residual.average()], &[("axis", Attribute::Int(1))])
        }
    };
    let features = [("fc", fused), ("fc_s", spatial.average()), ("fc_r", residual.average())];
    for ((layer, feature), (output, _)) in features.iter().zip(OUTPUTS) {
        let (weight, bias) = (graph.weight(&format!("{layer}.weight")), graph.weight(&format!("{layer}.bias")));
        let inputs = [feature, &weight, &bias];
        graph.node("Gemm", &inputs, &[("transB", Attribute::Int(1))], output);
    }
}

/// The folded ResNet-18; its last map as `[batch, 512, pixels]`.
fn trunk<'g>(graph: &'g Graph, stream: &str, x: &Value<'g>) -> Value<'g> {
    let x = conv(graph, &format!("{stream}.conv1"), 2, x).unary("Relu");
    let window = [("kernel_shape", &[3i64, 3][..]), ("strides", &[2, 2]), ("pads", &[1; 4])];
    let mut x = graph.op("MaxPool", &[&x], &window.map(|(name, values)| (name, Attribute::Ints(values))));
    for layer in 1..=4 {
        for index in 0..2 {
            let stride = if layer > 1 && index == 0 { 2 } else { 1 };
            x = block(graph, &format!("{stream}.layer{layer}.{index}"), stride, &x);
        }
    }
    // 0 keeps the batch size.
    x.binary("Reshape", &graph.integers(&[0, FEATURES as i64, -1]))
}

fn block<'g>(graph: &'g Graph, name: &str, stride: i64, x: &Value<'g>) -> Value<'g> {
    let downsample = format!("{name}.downsample.0");
    let skip = if graph.has(&downsample) { conv(graph, &downsample, stride, x) } else { x.clone() };
    let out = conv(graph, &format!("{name}.conv1"), stride, x).unary("Relu");
    conv(graph, &format!("{name}.conv2"), 1, &out).add(&skip).unary("Relu")
}

fn conv<'g>(graph: &'g Graph, name: &str, stride: i64, x: &Value<'g>) -> Value<'g> {
    let (weight, bias) = (graph.weight(&format!("{name}.weight")), graph.weight(&format!("{name}.bias")));
    let kernel = graph.kernel(&weight);
    let (kernel_shape, strides, pads) = ([kernel; 2], [stride; 2], [kernel / 2; 4]);
    let window = [("kernel_shape", &kernel_shape[..]), ("strides", &strides), ("pads", &pads)];
    graph.op("Conv", &[x, &weight, &bias], &window.map(|(name, values)| (name, Attribute::Ints(values))))
}

/// [`crate::train::nn::afm::attend`] of `[batch, c, pixels]`.
fn attend<'g>(x: &Value<'g>, form: AttentionForm, gamma: Option<Value<'g>>) -> Value<'g> {
    let transposed = x.graph.op("Transpose", &[x], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
    let energy = x.binary("MatMul", &transposed);
    let energy = match form {
        AttentionForm::Danet => energy.unary("Neg"),
        AttentionForm::Printed => energy,
    };
    let attention = x.graph.op("Softmax", &[&energy], &[("axis", Attribute::Int(2))]);
    let attended = attention.binary("MatMul", x);
    match gamma {
        Some(gamma) => attended.mul(&gamma).add(x),
        None => attended,
    }
}

/// [`crate::picture::crop::normalise`].
fn normalise<'g>(image: &Value<'g>) -> Value<'g> {
    let channels = |values: [f32; 3]| image.graph.floats(&values, &[1, 3, 1, 1]);
    image.sub(&channels(IMAGENET_MEAN)).div(&channels(IMAGENET_STD))
}

/// [`crate::train::nn::mte::tensor::residual`].
fn guided_residual<'g>(image: &Value<'g>, config: &GuidedFilterConfig) -> Value<'g> {
    let i = image.add_scalar(-0.5);
    let q = match config.mode {
        GuideMode::PerChannel => filter_channels(&i, config),
        GuideMode::Colour => filter_colour(&i, config),
    };
    i.sub(&q).unary("Abs")
}

fn filter_channels<'g>(i: &Value<'g>, config: &GuidedFilterConfig) -> Value<'g> {
    let window = |x: &Value<'g>| x.box_mean(config.radius_px);
    let mean = window(i);
    let var = window(&i.mul(i)).sub(&mean.mul(&mean)).unary("Relu");
    let a = var.div(&var.add_scalar(config.eps));
    let b = mean.sub(&a.mul(&mean));
    window(&a).mul(i).add(&window(&b))
}

/// By LDL^T, for the reason given in [`crate::train::nn::mte::tensor`].
fn filter_colour<'g>(i: &Value<'g>, config: &GuidedFilterConfig) -> Value<'g> {
    let window = |x: &Value<'g>| x.box_mean(config.radius_px);
    let channels = [0, 1, 2].map(|c| {
        let index = i.graph.integers(&[c]);
        i.graph.op("Gather", &[i, &index], &[("axis", Attribute::Int(1))])
    });
    let means = channels.each_ref().map(window);
    let cov = |j: usize, k: usize| window(&channels[j].mul(&channels[k])).sub(&means[j].mul(&means[k]));
    let (c00, c01, c02, c11, c12, c22) = (cov(0, 0), cov(0, 1), cov(0, 2), cov(1, 1), cov(1, 2), cov(2, 2));
    let [d0, s11, s22] = [c00, c11, c22].map(|c| c.add_scalar(config.eps));
    let (l10, l20) = (c01.div(&d0), c02.div(&d0));
    let d1 = s11.sub(&l10.mul(&c01));
    let below = c12.sub(&l20.mul(&c01));
    let l21 = below.div(&d1);
    let d2 = s22.sub(&l20.mul(&c02)).sub(&l21.mul(&below));
    let m20 = l10.mul(&l21).sub(&l20);
    let i22 = d2.unary("Reciprocal");
    let (i12, i02) = (l21.unary("Neg").mul(&i22), m20.mul(&i22));
    let i11 = d1.unary("Reciprocal").sub(&l21.mul(&i12));
    let i01 = l10.unary("Neg").div(&d1).sub(&l21.mul(&i02));
    let i00 = d0.unary("Reciprocal").add(&l10.mul(&l10).div(&d1)).add(&m20.mul(&i02));
    let inverse = [[&i00, &i01, &i02], [&i01, &i11, &i12], [&i02, &i12, &i22]];
    let filtered = [0, 1, 2].map(|c| {
        let a = [0, 1, 2].map(|row: usize| {
            let scaled = inverse[row][c].mul_scalar(-config.eps);
            if row == c { scaled.add_scalar(1.0) } else { scaled }
        });
        let along = |weights: &[Value<'g>; 3], values: &[Value<'g>; 3]| {
            let [x, y, z] = [0, 1, 2].map(|k: usize| weights[k].mul(&values[k]));
            x.add(&y).add(&z)
        };
        let b = means[c].sub(&along(&a, &means));
        along(&a.each_ref().map(window), &channels).add(&window(&b))
    });
    i.graph.op("Concat", &filtered.each_ref(), &[("axis", Attribute::Int(1))])
}

/// A graph under construction: nodes in order of computation, and the constants they read.
#[derive(Debug, Default)]
struct Graph(RefCell<Parts>);

#[derive(Debug, Default)]
struct Parts {
    nodes: Vec<Message>,
    inputs: Vec<Message>,
    /// Shape and `TensorProto` of weights and constants, by name.
    tensors: BTreeMap<String, (Vec<usize>, Message)>,
    /// Names that nodes read.
    read: BTreeSet<String>,
}

/// What a node gives.
#[derive(Debug, Clone)]
struct Value<'g> {
    graph: &'g Graph,
    name: String,
}

/// Value of a node's attribute.
#[derive(Debug, Clone, Copy)]
enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
}

impl Attribute<'_> {
    /// `AttributeProto`.
    fn message(self, name: &str) -> Message {
        let message = Message::default().text(1, name);
        match self {
            Attribute::Int(value) => message.int(3, value).int(20, 2),
            Attribute::Ints(values) => values.iter().fold(message, |message, value| message.int(8, *value)).int(20, 7),
        }
    }
}

impl Graph {
    /// Adds a node that computes `output`.
    fn node(&self, kind: &str, inputs: &[&Value], attributes: &[(&str, Attribute)], output: &str) {
        let mut parts = self.0.borrow_mut();
        parts.read.extend(inputs.iter().map(|input| input.name.clone()));
        let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, &input.name));
        let node = node.text(2, output).text(3, output).text(4, kind);
        let attributes: Vec<Message> = attributes.iter().map(|(name, value)| value.message(name)).collect();
        parts.nodes.push(node.messages(5, &attributes));
    }

    /// Adds a node and names its value.
    fn op(&self, kind: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value<'_> {
        let name = format!("{}_{}", kind.to_lowercase(), self.0.borrow().nodes.len());
        self.node(kind, inputs, attributes, &name);
        Value { graph: self, name }
    }

    fn input(&self, name: &str, px: usize, description: &str) -> Value<'_> {
        self.0.borrow_mut().inputs.push(value_info(name, &[3, px, px], description));
        Value { graph: self, name: name.to_string() }
    }

    fn insert(&self, name: &str, shape: &[usize], dtype: i64, bytes: &[u8]) {
        let tensor = shape.iter().fold(Message::default(), |tensor, side| tensor.int(1, *side as i64));
        let tensor = tensor.int(2, dtype).text(8, name).bytes(9, bytes);
        self.0.borrow_mut().tensors.insert(name.to_string(), (shape.to_vec(), tensor));
    }

    fn constant(&self, shape: &[usize], dtype: i64, bytes: &[u8]) -> Value<'_> {
        let name = format!("constant_{}", self.0.borrow().tensors.len());
        self.insert(&name, shape, dtype, bytes);
        Value { graph: self, name }
    }

    fn floats(&self, values: &[f32], shape: &[usize]) -> Value<'_> {
        self.constant(shape, FLOAT, &le_bytes(values))
    }

    fn integers(&self, values: &[i64]) -> Value<'_> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&[values.len()], INT64, &bytes)
    }

    /// A tensor of the network by its name in the model file.
    fn weight(&self, name: &str) -> Value<'_> {
        Value { graph: self, name: name.to_string() }
    }

    fn has(&self, layer: &str) -> bool {
        self.0.borrow().tensors.contains_key(&format!("{layer}.weight"))
    }

    /// Side of a convolution's kernel.
    fn kernel(&self, weight: &Value) -> i64 {
        let parts = self.0.borrow();
        let (shape, _) = parts.tensors.get(&weight.name).expect("a trunk has torchvision's layers");
        shape[2] as i64
    }

    /// `GraphProto`, with the tensors that are read.
    fn finish(self, classes: usize) -> Message {
        let Parts { nodes, inputs, tensors, read } = self.0.into_inner();
        let tensors = tensors.iter().filter(|(name, _)| read.contains(*name)).map(|(_, (_, tensor))| tensor);
        let outputs = OUTPUTS.map(|(name, description)| value_info(name, &[classes], description));
        let graph = Message::default().messages(1, &nodes).text(2, "grnet");
        graph.messages(5, tensors).messages(11, &inputs).messages(12, &outputs)
    }
}

/// `ValueInfoProto` of an f32 tensor with a free first side, `batch`.
fn value_info(name: &str, sides: &[usize], description: &str) -> Message {
    let batch = Message::default().text(2, "batch");
    let sides = sides.iter().map(|side| Message::default().int(1, *side as i64));
    let sides: Vec<Message> = std::iter::once(batch).chain(sides).collect();
    let tensor = Message::default().int(1, FLOAT).message(2, &Message::default().messages(1, &sides));
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor)).text(3, description)
}

impl<'g> Value<'g> {
    fn unary(&self, kind: &str) -> Value<'g> {
        self.graph.op(kind, &[self], &[])
    }

    fn binary(&self, kind: &str, other: &Value) -> Value<'g> {
        self.graph.op(kind, &[self, other], &[])
    }

    fn add(&self, other: &Value) -> Value<'g> {
        self.binary("Add", other)
    }

    fn sub(&self, other: &Value) -> Value<'g> {
        self.binary("Sub", other)
    }

    fn mul(&self, other: &Value) -> Value<'g> {
        self.binary("Mul", other)
    }

    fn div(&self, other: &Value) -> Value<'g> {
        self.binary("Div", other)
    }

    fn add_scalar(&self, value: f64) -> Value<'g> {
        self.add(&self.graph.floats(&[value as f32], &[]))
    }

    fn mul_scalar(&self, value: f64) -> Value<'g> {
        self.mul(&self.graph.floats(&[value as f32], &[]))
    }

    /// Mean over the last of three axes.
    fn average(&self) -> Value<'g> {
        self.graph.op("ReduceMean", &[self], &[("axes", Attribute::Ints(&[2])), ("keepdims", Attribute::Int(0))])
    }

    /// Mean over the square window, clipped at the border and divided by its true pixel count: along rows, then columns.
    fn box_mean(&self, radius: usize) -> Value<'g> {
        let (radius, length) = (radius as i64, 2 * radius as i64 + 1);
        let along = |x: &Value<'g>, kernel: [i64; 2], pads: [i64; 4]| {
            let window = [("kernel_shape", Attribute::Ints(&kernel)), ("pads", Attribute::Ints(&pads))];
            self.graph.op("AveragePool", &[x], &[&window[..], &[("count_include_pad", Attribute::Int(0))]].concat())
        };
        let rows = along(self, [1, length], [0, radius, 0, radius]);
        along(&rows, [length, 1], [radius, 0, radius, 0])
    }
}
