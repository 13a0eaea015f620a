//! Compiled shaders, made once a device and network.

use super::device::Device;
use super::shaders::{ATTENTION, Binding, CONV, CONV_F16, HEADS, POOL, RESIDUAL, Shader, TILE_QUADS};
use crate::error::{ErrorKind, Result};
use crate::infer::architecture::GuideMode;

/// A compiled shader: one layout for all its entry points.
#[derive(Debug)]
pub(super) struct Program {
    /// Of its one bind group.
    pub layout: wgpu::BindGroupLayout,
    /// In the order of [`Shader::entry_points`].
    pub pipelines: Vec<wgpu::ComputePipeline>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Pipelines {
    /// `guided_residual.wgsl`, for the guide that the network wants.
    pub residual: Program,
    /// `conv.wgsl` for each of [`TILE_QUADS`].
    pub conv: [Program; TILE_QUADS.len()],
    /// The same for weights in half numbers, on a device that has them.
    pub conv_f16: Option<[Program; TILE_QUADS.len()]>,
    /// `pool.wgsl`
    pub pool: Program,
    /// `attention.wgsl`
    pub attention: Program,
    /// `heads.wgsl`
    pub heads: Program,
}

impl Pipelines {
    /// Compiles all shaders.
    ///
    /// # Errors
    /// [`ErrorKind::GpuLost`] for a device that refuses one of them.
    pub async fn new(device: &Device, mode: GuideMode) -> Result<Pipelines> {
        let colour = f64::from(u8::from(mode == GuideMode::Colour));
        let conv = async |shader: &Shader| -> Result<[Program; TILE_QUADS.len()]> {
            let of_width = async |index: usize| program(device, shader, &[("LX", f64::from(TILE_QUADS[index]))]).await;
            Ok([of_width(0).await?, of_width(1).await?, of_width(2).await?])
        };
        Ok(Pipelines {
            residual: program(device, &RESIDUAL, &[("COLOUR", colour)]).await?,
            conv: conv(&CONV).await?,
            // A driver that refuses it can still do without.
            conv_f16: if device.has_f16() { conv(&CONV_F16).await.ok() } else { None },
            pool: program(device, &POOL, &[]).await?,
            attention: program(device, &ATTENTION, &[]).await?,
            heads: program(device, &HEADS, &[]).await?,
        })
    }
}

async fn program(device: &Device, shader: &Shader, constants: &[(&str, f64)]) -> Result<Program> {
    let what = format!("the shader {}.wgsl", shader.name);
    device.checked(ErrorKind::GpuLost, &what, |device, _| compile(device, shader, constants)).await
}

fn compile(device: &wgpu::Device, shader: &Shader, constants: &[(&str, f64)]) -> Program {
    let label = Some(shader.name);
    let source = wgpu::ShaderSource::Wgsl(shader.source.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
    let entries: Vec<wgpu::BindGroupLayoutEntry> =
        (0..).zip(shader.bindings).map(|(at, kind)| entry(at, *kind)).collect();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let of_pipelines = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = |(entry_point, _): &(&str, [u32; 3])| {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry_point),
            layout: Some(&of_pipelines),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every shader writes its workgroup memory before it reads it; a browser clears it all the same.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        })
    };
    let pipelines = shader.entry_points.iter().map(pipeline).collect();
    Program { layout, pipelines }
}

fn entry(binding: u32, kind: Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match kind {
        Binding::Params => wgpu::BufferBindingType::Uniform,
        Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Binding::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
