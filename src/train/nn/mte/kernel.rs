//! Binds `shaders/guided_filter.wgsl` on burn's WebGPU backend. The only file that names a shader.

use burn::tensor::{Tensor, TensorPrimitive};
use burn_wgpu::{AutoCompiler, CubeDim, CubeTensor, KernelMetadata, Wgpu, WgpuRuntime, into_contiguous};
use cubecl::prelude::{CompiledKernel, ComputeClient, CubeCount, ExecutionMode, KernelId, StorageType};
use cubecl::server::{Handle, KernelArguments};
use cubecl::{CompilationError, Compiler, CubeTask};

use crate::infer::architecture::{GuideMode, GuidedFilterConfig};

/// The WGSL source, for the test that reflects it.
pub const SOURCE: &str = include_str!("../../../../shaders/guided_filter.wgsl");

/// Invocations a workgroup; the shader's `WORKGROUP`.
const WORKGROUP: u32 = 64;
/// WebGPU's limit of workgroups a dimension; larger dispatches continue in y.
const MAX_GROUPS: u32 = 65_535;
/// Shortest segment of a line that one invocation slides over.
const MIN_SEGMENT: u32 = 16;

/// The shader's `Params`, field for field.
#[derive(Debug, Clone, Copy)]
pub struct Params {
    /// Pictures in the batch.
    pub images: u32,
    /// Planes a picture in the buffers of the pass.
    pub planes: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Window radius.
    pub radius_px: u32,
    /// Values of a line that one invocation of a box pass slides over.
    pub segment_px: u32,
    /// 1 for the colour guide, else 0.
    pub colour: u32,
    /// Regulariser in squared 0..1 intensity.
    pub eps: f32,
}

impl Params {
    /// Names in the shader's order.
    pub const FIELDS: [&'static str; 8] =
        ["images", "planes", "height", "width", "radius_px", "segment_px", "colour", "eps"];

    fn to_bytes(self) -> Vec<u8> {
        let words = [
            self.images,
            self.planes,
            self.height,
            self.width,
            self.radius_px,
            self.segment_px,
            self.colour,
            self.eps.to_bits(),
        ];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}

/// One entry point of the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pass(&'static str);

impl KernelMetadata for Pass {
    fn id(&self) -> KernelId {
        KernelId::new::<Self>().info(*self)
    }

    fn address_type(&self) -> StorageType {
        // The shader indexes with u32.
        cubecl::ir::ElemType::UInt(cubecl::ir::UIntKind::U32).into()
    }
}

impl CubeTask<AutoCompiler> for Pass {
    fn compile(
        &self,
        _compiler: &mut AutoCompiler,
        _options: &<AutoCompiler as Compiler>::CompilationOptions,
        _mode: ExecutionMode,
        _address_type: StorageType,
    ) -> Result<CompiledKernel<AutoCompiler>, CompilationError> {
        Ok(CompiledKernel {
            entrypoint_name: self.0.to_string(),
            debug_name: Some(self.0),
            source: SOURCE.to_string(),
            cube_dim: CubeDim::new_1d(WORKGROUP),
            debug_info: None,
            repr: None,
        })
    }
}

/// |I - q| on the 0..1 scale by the WGSL kernel.
///
/// # Shapes
/// `[n, 3, h, w] -> [n, 3, h, w]`
pub fn residual(unit: Tensor<Wgpu, 4>, config: &GuidedFilterConfig) -> Tensor<Wgpu, 4> {
    let [n, _, height, width] = unit.dims();
    let image: CubeTensor<WgpuRuntime> = into_contiguous(unit.into_primitive().tensor());
    let (moments, coefficients) = match config.mode {
        GuideMode::PerChannel => (6, 6),
        GuideMode::Colour => (9, 12),
    };
    let params = Params {
        images: n as u32,
        planes: moments,
        height: height as u32,
        width: width as u32,
        radius_px: config.radius_px as u32,
        // No shorter than the window, so that summing the first window costs no more than sliding.
        segment_px: MIN_SEGMENT.max(2 * config.radius_px as u32 + 1),
        colour: u32::from(config.mode == GuideMode::Colour),
        eps: config.eps as f32,
    };
    let client = image.client.clone();
    let run = Runner { client: &client, image: &image.handle };
    let planes = |count: u32| client.empty((params.images * count * params.height * params.width) as usize * 4);
    let pixels = params.images * params.height * params.width;

    let (first, second) = (planes(moments), planes(moments));
    run.pass("moments", &image.handle, &first, params, pixels);
    run.box_mean(&first, &second, params);
    let (third, fourth) = (planes(coefficients), planes(coefficients));
    run.pass("coefficients", &first, &third, params, pixels);
    let params = Params { planes: coefficients, ..params };
    run.box_mean(&third, &fourth, params);
    let result = client.empty(n * 3 * height * width * 4);
    run.pass("apply", &third, &result, params, pixels);

    let (device, dtype) = (image.device.clone(), image.dtype);
    let shape = burn::tensor::Shape::new([n, 3, height, width]);
    let tensor = CubeTensor::new_contiguous(client, device, shape, result, dtype);
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// Launches passes; `apply` is the one that also binds the picture.
struct Runner<'a> {
    client: &'a ComputeClient<WgpuRuntime>,
    image: &'a Handle,
}

impl Runner<'_> {
    /// Replaces the planes of `values` by their box means, with `scratch` in between.
    fn box_mean(&self, values: &Handle, scratch: &Handle, params: Params) {
        let lines = |length: u32| length.div_ceil(params.segment_px) * params.images * params.planes;
        self.pass("box_rows", values, scratch, params, lines(params.width) * params.height);
        self.pass("box_columns", scratch, values, params, lines(params.height) * params.width);
    }

    fn pass(&self, name: &'static str, src: &Handle, dst: &Handle, params: Params, invocations: u32) {
        let params = self.client.create_from_slice(&params.to_bytes());
        let mut buffers = vec![src.clone().binding(), dst.clone().binding(), params.binding()];
        if name == "apply" {
            buffers.push(self.image.clone().binding());
        }
        let groups = invocations.div_ceil(WORKGROUP);
        let count = CubeCount::Static(groups.min(MAX_GROUPS), groups.div_ceil(MAX_GROUPS), 1);
        self.client.launch(Box::new(Pass(name)), count, KernelArguments::new().with_buffers(buffers));
    }
}
