//! High-pass filters. Which one Mo et al. used could not be established; the candidates are all here, the default is the
//! square 3x3, and the paper's own rule ("the filter that achieves the best detection accuracy") is a choice on validation.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{KV, SECOND_ORDER, SQUARE, Taps, centred, filtered};

/// A high-pass filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kernel {
    /// Right neighbour minus pixel.
    FirstOrderH,
    /// Lower neighbour minus pixel.
    FirstOrderV,
    /// Horizontal second order / 2.
    SecondOrderH,
    /// 4-neighbour Laplacian / 4.
    Laplacian4,
    /// 8-neighbour Laplacian / 8.
    Laplacian8,
    /// Square 3x3 / 4.
    #[default]
    Square3x3,
    /// KV 5x5 / 12.
    Kv5x5,
}

impl Kernel {
    /// All kernels.
    pub const ALL: [Kernel; 7] = [
        Kernel::FirstOrderH,
        Kernel::FirstOrderV,
        Kernel::SecondOrderH,
        Kernel::Laplacian4,
        Kernel::Laplacian8,
        Kernel::Square3x3,
        Kernel::Kv5x5,
    ];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::FirstOrderH => "first_order_h",
            Kernel::FirstOrderV => "first_order_v",
            Kernel::SecondOrderH => "second_order_h",
            Kernel::Laplacian4 => "laplacian4",
            Kernel::Laplacian8 => "laplacian8",
            Kernel::Square3x3 => "square3x3",
            Kernel::Kv5x5 => "kv5x5",
        }
    }

    /// Its weights.
    pub fn taps(self) -> Taps {
        match self {
            Kernel::FirstOrderH => centred([[0.0, -1.0, 1.0]], 1.0),
            Kernel::FirstOrderV => centred([[0.0], [-1.0], [1.0]], 1.0),
            Kernel::SecondOrderH => SECOND_ORDER,
            Kernel::Laplacian4 => centred([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], 4.0),
            Kernel::Laplacian8 => centred([[1.0, 1.0, 1.0], [1.0, -8.0, 1.0], [1.0, 1.0, 1.0]], 8.0),
            Kernel::Square3x3 => SQUARE,
            Kernel::Kv5x5 => KV,
        }
    }
}

/// A fixed filter on every channel by itself.
#[derive(Module, Clone, Debug)]
pub struct HighPass {
    /// Which filter.
    pub kernel: Kernel,
}

impl HighPass {
    /// # Shapes
    /// `[n, c, h, w] -> [n, c, h, w]`, on any scale.
    pub fn forward<B: Backend>(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let shape = x.dims();
        filtered(x, &[self.kernel.taps()]).reshape(shape)
    }
}
