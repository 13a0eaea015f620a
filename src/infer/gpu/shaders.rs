//! The shaders: their sources, entry points and bindings, and what each takes as parameters. A test reflects every WGSL file
//! and compares it with this list.

/// How a shader uses a binding; the bindings of a shader are numbered from 0 in group 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The parameters, a uniform buffer.
    Params,
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is written.
    Write,
}

/// One WGSL file.
#[derive(Debug)]
pub struct Shader {
    /// Name of the file without extension.
    pub name: &'static str,
    /// Its text, what stands before it included.
    pub source: &'static str,
    /// Whether it needs a device with half numbers.
    pub f16: bool,
    /// Its bindings, in order.
    pub bindings: &'static [Binding],
    /// Its entry points with their workgroup sizes, in the file's order.
    pub entry_points: &'static [(&'static str, [u32; 3])],
    /// Names of the fields of its `Params`, in order.
    pub params: &'static [&'static str],
}

/// Invocations of the workgroups that take one value each; larger numbers of workgroups continue in y.
pub const LINEAR: u32 = 64;

use Binding::{Params, Read, Write};

/// What the streams read.
pub static RESIDUAL: Shader = Shader {
    name: "guided_residual",
    source: include_str!("../../../shaders/guided_residual.wgsl"),
    f16: false,
    bindings: &[Params, Read, Write, Write, Write],
    entry_points: &[
        ("moments_along_rows", [LINEAR, 1, 1]),
        ("coefficients_of_columns", [LINEAR, 1, 1]),
        ("coefficients_along_rows", [LINEAR, 1, 1]),
        ("residual", [LINEAR, 1, 1]),
    ],
    params: ResidualParams::FIELDS,
};

/// Convolutions.
pub static CONV: Shader = Shader {
    name: "conv",
    source: concat!(include_str!("../../../shaders/weights_f32.wgsl"), include_str!("../../../shaders/conv.wgsl")),
    f16: false,
    bindings: &[Params, Read, Read, Read, Write, Write],
    entry_points: &[("multiply", [TILE_QUADS[0], 1, 1]), ("join", [LINEAR, 1, 1])],
    params: ConvParams::FIELDS,
};

/// Convolutions with weights of half the memory.
pub static CONV_F16: Shader = Shader {
    source: concat!(include_str!("../../../shaders/weights_f16.wgsl"), include_str!("../../../shaders/conv.wgsl")),
    f16: true,
    ..CONV
};

/// Maximum and statistics.
pub static POOL: Shader = Shader {
    name: "pool",
    source: include_str!("../../../shaders/pool.wgsl"),
    f16: false,
    bindings: &[Params, Read, Write, Write],
    entry_points: &[("max_pool", [LINEAR, 1, 1]), ("statistics", [16, 16, 1])],
    params: PoolParams::FIELDS,
};

/// Channel attention.
pub static ATTENTION: Shader = Shader {
    name: "attention",
    source: include_str!("../../../shaders/attention.wgsl"),
    f16: false,
    bindings: &[Params, Read, Write],
    entry_points: &[("attend", [128, 1, 1])],
    params: AttentionParams::FIELDS,
};

/// Classifiers.
pub static HEADS: Shader = Shader {
    name: "heads",
    source: include_str!("../../../shaders/heads.wgsl"),
    f16: false,
    bindings: &[Params, Read, Read, Read, Read, Write],
    entry_points: &[("heads", [128, 1, 1])],
    params: HeadsParams::FIELDS,
};

/// All of them.
pub static SHADERS: [&Shader; 6] = [&RESIDUAL, &CONV, &CONV_F16, &POOL, &ATTENTION, &HEADS];

/// Pixels of a tile of `conv`'s `multiply`.
pub const TILE_PIXELS: u32 = 16;
/// Quads of channels of such a tile, its overridable constant `LX`: for many channels and for few.
pub const TILE_QUADS: [u32; 3] = [64, 32, 16];
/// Quads of k that such a tile takes at a time.
pub const TILE_STEP: u32 = 4;

/// A value of `Params`: four bytes.
trait Word: Copy {
    fn word(self) -> u32;
}

impl Word for u32 {
    fn word(self) -> u32 {
        self
    }
}

impl Word for f32 {
    fn word(self) -> u32 {
        self.to_bits()
    }
}

macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $name {
            $(pub $field: $kind,)+
        }

        impl $name {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            /// As the shader reads them.
            pub fn to_bytes(self) -> Vec<u8> {
                [$(Word::word(self.$field)),+].iter().flat_map(|word| word.to_le_bytes()).collect()
            }
        }
    };
}

params! {
    /// `Params` of `guided_residual.wgsl`.
    ResidualParams {
        images: u32,
        height: u32,
        width: u32,
        radius_px: u32,
        segment_px: u32,
        eps: f32,
        gain: f32,
        mean_r: f32,
        mean_g: f32,
        mean_b: f32,
        std_r: f32,
        std_g: f32,
        std_b: f32,
        pitch_px: u32,
        left_px: u32,
    }
}

params! {
    /// `Params` of `conv.wgsl`.
    ConvParams {
        images: u32,
        src_height: u32,
        src_width: u32,
        src_quads: u32,
        dst_height: u32,
        dst_width: u32,
        dst_quads: u32,
        kernel_height: u32,
        kernel_width: u32,
        pad_y: u32,
        pad_x: u32,
        stride: u32,
        tap_quads: u32,
        splits: u32,
        add: u32,
        relu: u32,
    }
}

params! {
    /// `Params` of `pool.wgsl`.
    PoolParams {
        images: u32,
        src_height: u32,
        src_width: u32,
        src_quads: u32,
        dst_height: u32,
        dst_width: u32,
        result_start: u32,
        result_stride: u32,
    }
}

params! {
    /// `Params` of `attention.wgsl`.
    AttentionParams {
        images: u32,
        places: u32,
        sign: f32,
        scale_spatial: f32,
        scale_residual: f32,
        keep: f32,
    }
}

params! {
    /// `Params` of `heads.wgsl`.
    HeadsParams {
        images: u32,
        places: u32,
        classes: u32,
        choice: u32,
        result_stride: u32,
    }
}
