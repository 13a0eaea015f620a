//! The network on the processor: weights packed and transformed once, buffers made once a size, both streams at the same
//! time. Threads natively (feature `cli`), one in wasm; results do not depend on how many.

mod attention;
mod conv;
mod gemm;
mod guided;
mod pack;
#[cfg(test)]
mod parity;
mod pool;
mod simd;
#[cfg_attr(not(feature = "cli"), path = "cpu/one_thread.rs")]
mod threads;
mod winograd;

use std::sync::{Mutex, PoisonError};

use super::architecture::{EARLY_CHANNELS, FEATURES, GuidedFilterConfig, IMAGENET_MEAN, IMAGENET_STD};
use super::network::{Conv, Network, Trunk};
use super::plan::{self, BUFFERS, Op, Plan, Shape};
use super::{Outputs, Units};
use attention::LastMaps;
use conv::{Direct, Finish, Framed, Size};
use pack::Aligned;
pub use simd::Kernels;
use winograd::Winograd;

/// Sizes whose buffers are kept for the next run.
const KEPT: usize = 4;

/// A network, ready to run on the processor.
#[derive(Debug)]
pub struct Engine {
    kernels: Kernels,
    /// The small tensors; what the packed trunks hold is taken out.
    heads: Network,
    spatial: PackedTrunk,
    residual: PackedTrunk,
    /// Buffers that no run uses at the moment, the last used last.
    idle: Mutex<Vec<Workspace>>,
}

impl Engine {
    /// With the best kernels that this processor has.
    pub fn new(network: Network) -> Engine {
        Engine::with_kernels(network, Kernels::best())
    }

    /// With given kernels, for tests. The plain weights are given back layer by layer, as soon as they are packed: both at
    /// once would be what decides how much memory a page needs.
    pub fn with_kernels(mut network: Network, kernels: Kernels) -> Engine {
        let (mut spatial, mut residual) = (PackedTrunk::default(), PackedTrunk::default());
        threads::join(
            || spatial = PackedTrunk::new(&mut network.spatial, kernels),
            || residual = PackedTrunk::new(&mut network.residual, kernels),
        );
        Engine { kernels, spatial, residual, heads: network, idle: Mutex::new(Vec::new()) }
    }

    /// What the kernels are called.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// What the network says of each crop.
    ///
    /// # Panics
    /// If the fields of `crops` contradict each other.
    pub fn run(&self, crops: &Units) -> Vec<Outputs> {
        if crops.n == 0 {
            return Vec::new();
        }
        let size = Size { n: crops.n, height: crops.height, width: crops.width };
        let mut workspace = self.take(size);
        let Workspace { spatial, residual, traces, .. } = &mut workspace;
        let kernels = self.kernels;
        threads::join(
            || {
                let scale = IMAGENET_STD.map(|std| 1.0 / std);
                let shift = [0, 1, 2].map(|channel| -IMAGENET_MEAN[channel] / IMAGENET_STD[channel]);
                (0..size.n).for_each(|index| spatial.input.set(index, crops.crop(index), scale, shift));
                self.spatial.run(kernels, spatial);
            },
            || {
                let gain = [self.heads.config.residual_gain as f32; 3];
                for index in 0..size.n {
                    guided::residual(kernels, &self.heads.mte, crops.crop(index), [size.height, size.width], traces);
                    residual.input.set(index, traces, gain, [0.0; 3]);
                }
                self.residual.run(kernels, residual);
            },
        );
        let of = |image: usize| {
            let early = [&spatial.early[image][..], &residual.early[image][..]].concat();
            attention::heads(kernels, &self.heads, [spatial.last(image), residual.last(image)], early)
        };
        let outputs = (0..size.n).map(of).collect();
        self.give_back(workspace);
        outputs
    }

    /// The guided residual |I - q| of each picture.
    ///
    /// # Panics
    /// If the fields of `pictures` contradict each other.
    pub fn residual(&self, pictures: &Units) -> Vec<f32> {
        guided_residual_with(self.kernels, &self.heads.mte, pictures)
    }

    /// Buffers for this size: those of an earlier run, or new ones.
    fn take(&self, size: Size) -> Workspace {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().position(|workspace| workspace.size == size);
        let found = at.map(|at| idle.remove(at));
        drop(idle);
        found.unwrap_or_else(|| Workspace {
            size,
            spatial: Stream::new(&self.spatial, &self.heads.spatial, size),
            residual: Stream::new(&self.residual, &self.heads.residual, size),
            traces: vec![0.0; 3 * size.height * size.width],
        })
    }

    fn give_back(&self, workspace: Workspace) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == KEPT {
            idle.remove(0);
        }
        idle.push(workspace);
    }
}

/// |I - q| of each picture, 0..1, `[n, 3, height, width]`, in O(1) a pixel whatever the radius.
///
/// # Panics
/// If the fields of `pictures` contradict each other.
pub fn guided_residual(config: &GuidedFilterConfig, pictures: &Units) -> Vec<f32> {
    guided_residual_with(Kernels::best(), config, pictures)
}

/// The same with given kernels, for tests.
///
/// # Panics
/// If the fields of `pictures` contradict each other.
pub fn guided_residual_with(kernels: Kernels, config: &GuidedFilterConfig, pictures: &Units) -> Vec<f32> {
    let mut out = vec![0.0; pictures.values.len()];
    let length = (3 * pictures.height * pictures.width).max(1);
    threads::chunks(&mut out, length, |index, out| {
        guided::residual(kernels, config, pictures.crop(index), [pictures.height, pictures.width], out);
    });
    out
}

/// What a run writes to.
#[derive(Debug)]
struct Workspace {
    size: Size,
    spatial: Stream,
    residual: Stream,
    /// The guided residual of one crop.
    traces: Vec<f32>,
}

/// The buffers of one stream.
#[derive(Debug)]
struct Stream {
    plan: Plan,
    input: Framed,
    maps: [Aligned; BUFFERS],
    scratch: [Aligned; 2],
    /// Statistics of the first stage, a picture.
    early: Vec<Vec<f32>>,
}

impl Stream {
    fn new(trunk: &PackedTrunk, shapes: &Trunk, size: Size) -> Stream {
        let plan = Plan::new(shapes, size.height, size.width);
        let mut maps = [0; BUFFERS];
        let mut scratch = [0; 2];
        for step in &plan.steps {
            let out = sized(size.n, step.shape_out);
            let length = pack::blocks(step.shape_out.channels) * pack::block_length(out.places());
            maps[step.to] = maps[step.to].max(length);
            if let Op::Conv { layer, .. } = step.op
                && let Packed::Winograd(layer) = &trunk.layers[layer]
            {
                let needed = layer.scratch(out);
                scratch = [0, 1].map(|k| needed[k].max(scratch[k]));
            }
        }
        Stream {
            plan,
            input: Framed::new(size, shapes.stem.kernel),
            maps: maps.map(Aligned::zeros),
            scratch: scratch.map(Aligned::zeros),
            early: vec![Vec::new(); size.n],
        }
    }

    fn last(&self, image: usize) -> LastMaps<'_> {
        let size = sized(self.early.len(), self.plan.shape_out());
        LastMaps { values: &self.maps[self.plan.buffer_out()], size, image }
    }
}

fn sized(n: usize, shape: Shape) -> Size {
    Size { n, height: shape.height, width: shape.width }
}

#[derive(Debug)]
enum Packed {
    Direct(Direct),
    Winograd(Winograd),
}

/// The convolutions of a trunk, in the order of [`plan::layers`].
#[derive(Debug, Default)]
struct PackedTrunk {
    layers: Vec<Packed>,
}

impl PackedTrunk {
    /// Takes the weights out of `trunk` and leaves its shapes.
    fn new(trunk: &mut Trunk, kernels: Kernels) -> PackedTrunk {
        let pack = |(index, conv): (usize, &mut Conv)| {
            let packed = match (conv.kernel, conv.stride) {
                _ if index == 0 => Packed::Direct(Direct::stem(conv, kernels)),
                (3, 1) => Packed::Winograd(Winograd::new(conv, outputs_of(conv), kernels)),
                _ => Packed::Direct(Direct::new(conv, kernels)),
            };
            (conv.weight, conv.bias) = (Vec::new().into(), Vec::new());
            packed
        };
        PackedTrunk { layers: plan::layers_mut(trunk).into_iter().enumerate().map(pack).collect() }
    }

    fn run(&self, kernels: Kernels, stream: &mut Stream) {
        let Stream { plan, input, maps, scratch, early } = stream;
        let n = early.len();
        for (index, step) in plan.steps.iter().enumerate() {
            let (from, to) = (sized(n, step.shape_in), sized(n, step.shape_out));
            match step.op {
                Op::Conv { layer: 0, .. } => {
                    let Packed::Direct(stem) = &self.layers[0] else { unreachable!("the stem is packed as such") };
                    stem.run_stem(kernels, input, &mut maps[step.to]);
                }
                Op::Conv { layer, add, relu } => {
                    let [input, out] =
                        maps.get_disjoint_mut([step.from, step.to]).expect("a step reads one and writes another");
                    let finish = Finish { add: add.is_some(), relu };
                    match &self.layers[layer] {
                        Packed::Direct(layer) => layer.run(kernels, input, from, out, finish),
                        Packed::Winograd(layer) => layer.run(kernels, input, to, out, finish, scratch),
                    }
                }
                Op::MaxPool => {
                    let [input, out] =
                        maps.get_disjoint_mut([step.from, step.to]).expect("a step reads one and writes another");
                    pool::max_pool(kernels, input, from, pack::blocks(step.shape_in.channels), out);
                }
            }
            if index + 1 == plan.early {
                let of = |image| pool::statistics(&maps[step.to], to, image, EARLY_CHANNELS);
                early.iter_mut().enumerate().for_each(|(image, early)| *early = of(image));
            }
        }
    }
}

/// The tile of a 3x3 convolution: F(4x4) multiplies least where maps are large; on the small maps of the last stage its
/// weights, four times the plain ones, would take longer to read than F(2x2)'s to multiply.
fn outputs_of(conv: &Conv) -> winograd::Outputs {
    if conv.channels_in < FEATURES { winograd::Outputs::Four } else { winograd::Outputs::Two }
}
