//! What is dispatched for crops of one number and size, in order, with all buffers: made once a size.

use super::device::{Device, filled};
use super::pipelines::{Pipelines, Program};
use super::shaders::{
    AttentionParams, ConvParams, HeadsParams, LINEAR, PoolParams, ResidualParams, TILE_PIXELS, TILE_QUADS, TILE_STEP,
};
use super::weights::Weights;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::architecture::{
    EARLY_FEATURES, FEATURES, GuideMode, GuidedFilterConfig, IMAGENET_MEAN, IMAGENET_STD,
};
use crate::infer::plan::{Op, Plan, Step};

/// WebGPU's limit of workgroups in one direction.
const MAX_GROUPS: u32 = 65_535;
/// Distance of parameters in their buffer: WebGPU's default alignment of uniform buffers.
const SLOT: usize = 256;
/// Shortest segment of a line that one invocation slides over.
const MIN_SEGMENT: u32 = 16;
/// Workgroups that a convolution is split into where its output alone gives fewer.
const WANTED_GROUPS: u32 = 256;
/// Steps of k that a split takes at least, so that it is worth its pass.
const MIN_STEPS: u32 = 8;
/// Values in a vec4.
const QUAD: usize = 4;
const STREAMS: usize = 2;

/// A pipeline, its bindings and how many workgroups.
#[derive(Debug)]
struct Pass {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    groups: [u32; 3],
}

/// Where the values of one crop lie in what is read back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Classes.
    pub classes: usize,
    /// Rows and columns of places.
    pub places: [usize; 2],
}

impl Layout {
    /// Where the places' logits begin.
    pub fn places_start(&self) -> usize {
        3 * self.classes
    }

    /// Where the early statistics begin.
    pub fn early_start(&self) -> usize {
        self.places_start() + self.places[0] * self.places[1] * self.classes
    }

    /// Values of one crop.
    pub fn stride(&self) -> usize {
        self.early_start() + EARLY_FEATURES
    }
}

/// All passes from the pixels of some crops to what is read back.
#[derive(Debug)]
pub(super) struct Passes {
    /// Crops, rows, columns.
    pub size: [usize; 3],
    passes: Vec<Pass>,
    /// `[crop][channel][y][x]`
    pub picture: wgpu::Buffer,
    result: wgpu::Buffer,
    /// Where in `result` what is read back begins, in bytes.
    result_start: u64,
    /// What is read back.
    pub staging: wgpu::Buffer,
    /// All buffers that were made for these passes.
    made: Vec<wgpu::Buffer>,
}

/// In a browser a buffer that nobody holds lives until the next garbage collection, and the collector does not see how large
/// it is.
impl Drop for Passes {
    fn drop(&mut self) {
        self.made.iter().for_each(wgpu::Buffer::destroy);
    }
}

impl Passes {
    /// Puts everything into `encoder`.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("grnet"), timestamp_writes: None });
        for Pass { pipeline, group, groups: [x, y, z] } in &self.passes {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(*x, *y, *z);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(&self.result, self.result_start, &self.staging, 0, self.staging.size());
    }

    /// Those of the whole network.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for crops that are too large for the device, [`ErrorKind::GpuLost`] where memory does not
    /// suffice.
    pub async fn network(device: &Device, network: &Parts<'_>, size: [usize; 3]) -> Result<Passes> {
        let largest = network.largest_buffer(size);
        if largest > device.max_buffer() {
            let message = format!("expected crops that fit {} bytes a buffer, found {largest}", device.max_buffer());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let make = |device: &wgpu::Device, queue: &wgpu::Queue| network.encode(device, queue, size);
        device.checked(ErrorKind::GpuLost, "buffers for crops", make).await?
    }

    /// Those of the guided residual alone; what is read back is `[crop][y][x]` R G B 0.
    ///
    /// # Errors
    /// As [`Passes::network`].
    pub async fn residual(
        device: &Device,
        pipelines: &Pipelines,
        mte: &GuidedFilterConfig,
        size: [usize; 3],
    ) -> Result<Passes> {
        let make = |device: &wgpu::Device, queue: &wgpu::Queue| {
            let mut builder = Builder::new(device, queue);
            let (picture, streams) = builder.residual(&pipelines.residual, mte, 1.0, size, [0, 0])?;
            let read = streams.size() / STREAMS as u64;
            Ok(builder.finish(size, picture, streams, read, read))
        };
        device.checked(ErrorKind::GpuLost, "buffers for a picture", make).await?
    }
}

/// Bytes of the largest buffer of the guided residual.
pub(super) fn residual_bytes(mte: &GuidedFilterConfig, [n, height, width]: [usize; 3]) -> u64 {
    (planes(mte).max(STREAMS) * n * height * width * QUAD * 4) as u64
}

/// Planes of three values that the guided filter keeps of a pixel.
fn planes(mte: &GuidedFilterConfig) -> usize {
    match mte.mode {
        GuideMode::PerChannel => 2,
        GuideMode::Colour => 4,
    }
}

/// What the passes of a network are made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// Compiled shaders.
    pub pipelines: &'a Pipelines,
    /// On the device.
    pub weights: &'a Weights,
    /// Of the residual stream.
    pub mte: &'a GuidedFilterConfig,
    /// What the residual is multiplied by.
    pub gain: f32,
    /// The order of a trunk's layers.
    pub plan: &'a Plan,
}

impl Parts<'_> {
    /// Bytes of the largest buffer.
    pub fn largest_buffer(&self, size: [usize; 3]) -> u64 {
        let maps = self.plan.buffers.iter().max().map_or(0, |values| STREAMS * size[0] * values * 4);
        (maps as u64).max(residual_bytes(self.mte, size))
    }

    /// Of the values of one crop.
    pub fn layout(&self) -> Layout {
        let last = self.plan.shape_out();
        Layout { classes: self.weights.classes as usize, places: [last.height, last.width] }
    }

    fn encode(&self, device: &wgpu::Device, queue: &wgpu::Queue, size: [usize; 3]) -> Result<Passes> {
        let (n, layout) = (size[0], self.layout());
        let mut builder = Builder::new(device, queue);
        let margins = self.weights.margins;
        let (picture, streams) = builder.residual(&self.pipelines.residual, self.mte, self.gain, size, margins)?;
        let maps = self.plan.buffers.map(|values| builder.buffer("maps", STREAMS * n * values, MAPS));
        let splits = |step: &Step| self.conv(step, n).map_or(0, |(params, _)| partial_values(&params));
        let partial = self.plan.steps.iter().map(splits).max().unwrap_or(0).max(QUAD);
        let partial = builder.buffer("partial sums", partial, MAPS);
        let result = builder.buffer("result", n * layout.stride(), MAPS);
        for (index, step) in self.plan.steps.iter().enumerate() {
            // The stem is the first step and reads what the residual's passes wrote, margins included.
            let from = if index == 0 { &streams } else { &maps[step.from] };
            let to = &maps[step.to];
            match self.conv(step, n) {
                Some((params, layer)) => {
                    let layer = &self.weights.layers[layer];
                    let buffers = [from, &layer.weights, &layer.affine, to, &partial];
                    let programs = self.pipelines.conv_f16.as_ref().filter(|_| layer.f16);
                    builder.conv(programs.unwrap_or(&self.pipelines.conv), params, &buffers)?;
                }
                None => {
                    let params = pool_params(step, n, &layout);
                    let values = STREAMS * n * step.shape_out.area() * step.shape_out.channels / QUAD;
                    builder.pass(&self.pipelines.pool, 0, params.to_bytes(), &[from, to, &result], linear(values)?);
                }
            }
            if index + 1 == self.plan.early {
                let params = PoolParams {
                    src_height: step.shape_out.height as u32,
                    src_width: step.shape_out.width as u32,
                    ..pool_params(step, n, &layout)
                };
                // It writes no maps; any buffer that is not read will do for them.
                let buffers = [to, &partial, &result];
                builder.pass(&self.pipelines.pool, 1, params.to_bytes(), &buffers, [n as u32, STREAMS as u32, 1]);
            }
        }
        let last = self.plan.buffer_out();
        let places = (layout.places[0] * layout.places[1]) as u32;
        let attended = self.weights.attention.map(|attention| {
            let attended = &maps[(last + 1) % maps.len()];
            let params = AttentionParams {
                images: n as u32,
                places,
                sign: attention.sign,
                scale_spatial: attention.scale[0],
                scale_residual: attention.scale[1],
                keep: attention.keep,
            };
            let groups = [(FEATURES / QUAD) as u32, n as u32, STREAMS as u32];
            builder.pass(&self.pipelines.attention, 0, params.to_bytes(), &[&maps[last], attended], groups);
            attended
        });
        let params = HeadsParams {
            images: n as u32,
            places,
            classes: self.weights.classes,
            choice: self.weights.choice,
            result_stride: layout.stride() as u32,
        };
        let fused = attended.unwrap_or(&maps[last]);
        let buffers = [&maps[last], fused, &self.weights.heads, &self.weights.heads_bias, &result];
        builder.pass(&self.pipelines.heads, 0, params.to_bytes(), &buffers, [places + 3, n as u32, 1]);
        let read = result.size();
        Ok(builder.finish(size, picture, result, 0, read))
    }

    /// Parameters of a convolution, and the index of its layer.
    fn conv(&self, step: &Step, n: usize) -> Option<(ConvParams, usize)> {
        let Op::Conv { layer: index, add, relu } = step.op else { return None };
        let layer = &self.weights.layers[index];
        // The shader adds onto what it overwrites.
        debug_assert!(add.is_none_or(|add| add == step.to), "a sum lies where it is added");
        let is_stem = index == 0;
        let margins = if is_stem { self.weights.margins.iter().sum() } else { 0 };
        let taps = layer.taps;
        let params = ConvParams {
            images: n as u32,
            src_height: step.shape_in.height as u32,
            src_width: (step.shape_in.width + margins) as u32,
            src_quads: step.shape_in.channels.div_ceil(QUAD) as u32,
            dst_height: step.shape_out.height as u32,
            dst_width: step.shape_out.width as u32,
            dst_quads: (step.shape_out.channels / QUAD) as u32,
            kernel_height: taps.height,
            kernel_width: taps.width,
            pad_y: taps.pad_y,
            pad_x: taps.pad_x,
            stride: layer.stride,
            tap_quads: taps.quads,
            splits: 1,
            add: u32::from(add.is_some()),
            relu: u32::from(relu),
        };
        let (_, [x, y]) = tiles(&params);
        let steps = taps.height * taps.width * taps.quads / TILE_STEP;
        let splits = (WANTED_GROUPS / (x * y * STREAMS as u32)).clamp(1, (steps / MIN_STEPS).max(1));
        Some((ConvParams { splits, ..params }, index))
    }
}

fn pool_params(step: &Step, n: usize, layout: &Layout) -> PoolParams {
    PoolParams {
        images: n as u32,
        src_height: step.shape_in.height as u32,
        src_width: step.shape_in.width as u32,
        src_quads: (step.shape_in.channels / QUAD) as u32,
        dst_height: step.shape_out.height as u32,
        dst_width: step.shape_out.width as u32,
        result_start: layout.early_start() as u32,
        result_stride: layout.stride() as u32,
    }
}

/// Which of [`TILE_QUADS`] a convolution takes, and its tiles along pixels and channels.
fn tiles(params: &ConvParams) -> (usize, [u32; 2]) {
    let pixels = params.images * params.dst_height * params.dst_width;
    // The widest that its channels fill.
    let width = TILE_QUADS.iter().position(|quads| *quads <= params.dst_quads).unwrap_or(TILE_QUADS.len() - 1);
    (width, [pixels.div_ceil(TILE_PIXELS), params.dst_quads.div_ceil(TILE_QUADS[width])])
}

/// Values of the partial sums of a convolution.
fn partial_values(params: &ConvParams) -> usize {
    let ConvParams { images, dst_height, dst_width, dst_quads, splits, .. } = *params;
    if splits == 1 {
        return 0;
    }
    STREAMS
        * QUAD
        * [splits, images, dst_height, dst_width, dst_quads].map(|value| value as usize).iter().product::<usize>()
}

/// Workgroups for `invocations`, in x and then y.
fn linear(invocations: usize) -> Result<[u32; 3]> {
    let groups = u32::try_from(invocations.div_ceil(LINEAR as usize)).unwrap_or(u32::MAX);
    let rows = groups.div_ceil(MAX_GROUPS);
    if rows > MAX_GROUPS {
        return Err(too_large(groups));
    }
    Ok([groups.div_ceil(rows.max(1)), rows, 1])
}

fn too_large(groups: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("expected a picture that a GPU can take at once, found {groups} workgroups"),
    )
}

const MAPS: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC);

/// Collects passes; their parameters become one buffer at the end.
struct Builder<'a> {
    device: &'a wgpu::Device,
    queue: &'a wgpu::Queue,
    params: Vec<u8>,
    passes: Vec<Draft>,
    made: Vec<wgpu::Buffer>,
}

/// A pass without its parameters.
struct Draft {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    buffers: Vec<wgpu::Buffer>,
    slot: usize,
    slot_bytes: usize,
    groups: [u32; 3],
}

impl<'a> Builder<'a> {
    fn new(device: &'a wgpu::Device, queue: &'a wgpu::Queue) -> Self {
        Builder { device, queue, params: Vec::new(), passes: Vec::new(), made: Vec::new() }
    }

    fn buffer(&mut self, label: &str, values: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let size = 4 * values as u64;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        });
        self.made.push(buffer.clone());
        buffer
    }

    fn pass(
        &mut self,
        program: &Program,
        entry_point: usize,
        params: Vec<u8>,
        buffers: &[&wgpu::Buffer],
        groups: [u32; 3],
    ) {
        let slot = self.params.len();
        let slot_bytes = params.len();
        self.params.extend(params);
        self.params.resize(slot + SLOT, 0);
        self.passes.push(Draft {
            pipeline: program.pipelines[entry_point].clone(),
            layout: program.layout.clone(),
            buffers: buffers.iter().map(|buffer| (*buffer).clone()).collect(),
            slot,
            slot_bytes,
            groups,
        });
    }

    fn conv(&mut self, programs: &[Program], params: ConvParams, buffers: &[&wgpu::Buffer]) -> Result<()> {
        let (width, [x, y]) = tiles(&params);
        let program = &programs[width];
        if x > MAX_GROUPS {
            return Err(too_large(x));
        }
        self.pass(program, 0, params.to_bytes(), buffers, [x, y, STREAMS as u32 * params.splits]);
        if params.splits > 1 {
            let groups = linear(partial_values(&params) / params.splits as usize / QUAD)?;
            self.pass(program, 1, params.to_bytes(), buffers, groups);
        }
        Ok(())
    }

    /// The four passes of the guided residual; gives the picture's buffer and that of both streams' inputs.
    fn residual(
        &mut self,
        program: &Program,
        mte: &GuidedFilterConfig,
        gain: f32,
        [n, height, width]: [usize; 3],
        [left, right]: [usize; 2],
    ) -> Result<(wgpu::Buffer, wgpu::Buffer)> {
        let pixels = n * height * width;
        let picture = self.buffer("picture", 3 * pixels, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST);
        let [moments, coefficients] =
            ["moments", "coefficients"].map(|label| self.buffer(label, planes(mte) * QUAD * pixels, MAPS));
        // A new buffer is zero, and its margins stay so.
        let pitch = left + width + right;
        let streams = self.buffer("streams", STREAMS * QUAD * n * height * pitch, MAPS);
        // No shorter than the window, so that summing the first window costs no more than sliding.
        let segment_px = MIN_SEGMENT.max(2 * mte.radius_px as u32 + 1);
        let params = ResidualParams {
            images: n as u32,
            height: height as u32,
            width: width as u32,
            radius_px: mte.radius_px as u32,
            segment_px,
            eps: mte.eps as f32,
            gain,
            mean_r: IMAGENET_MEAN[0],
            mean_g: IMAGENET_MEAN[1],
            mean_b: IMAGENET_MEAN[2],
            std_r: IMAGENET_STD[0],
            std_g: IMAGENET_STD[1],
            std_b: IMAGENET_STD[2],
            pitch_px: pitch as u32,
            left_px: left as u32,
        };
        let lines = |lines: usize, length: usize| linear(n * lines * length.div_ceil(segment_px as usize));
        let (rows, columns) = (lines(height, width)?, lines(width, height)?);
        for (entry_point, groups) in [rows, columns, rows, columns].into_iter().enumerate() {
            let buffers = [&picture, &moments, &coefficients, &streams];
            self.pass(program, entry_point, params.to_bytes(), &buffers, groups);
        }
        Ok((picture, streams))
    }

    fn finish(
        self,
        size: [usize; 3],
        picture: wgpu::Buffer,
        result: wgpu::Buffer,
        result_start: u64,
        read_bytes: u64,
    ) -> Passes {
        let params = filled(self.device, self.queue, "parameters", wgpu::BufferUsages::UNIFORM, &self.params);
        let bind = |draft: Draft| {
            let slot = wgpu::BufferBinding {
                buffer: &params,
                offset: draft.slot as u64,
                size: wgpu::BufferSize::new(draft.slot_bytes as u64),
            };
            let first = wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(slot) };
            let others = (1..).zip(&draft.buffers);
            let others =
                others.map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() });
            let entries: Vec<wgpu::BindGroupEntry> = std::iter::once(first).chain(others).collect();
            let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &draft.layout, entries: &entries };
            let group = self.device.create_bind_group(&descriptor);
            Pass { pipeline: draft.pipeline, group, groups: draft.groups }
        };
        let passes = self.passes.into_iter().map(bind).collect();
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: read_bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut made = self.made;
        made.extend([params, staging.clone()]);
        Passes { size, passes, picture, result, result_start, staging, made }
    }
}
