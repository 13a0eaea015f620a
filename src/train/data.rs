//! From a data set on disk to batches: tables, packs of crops, the draw of pairs.

pub mod audit;
pub mod batch;
pub mod classes;
pub mod landmarks;
pub mod layout;
pub mod pack;
pub mod prepare;
pub mod sampler;
pub mod table;
