//! The run: configuration, optimisers, checkpoints, the folder of a run, the leave-out bench.

pub mod bench;
pub mod checkpoint;
pub mod folder;
pub mod loss;
pub mod optim;
pub mod run;
pub mod sgd;
pub mod start;
