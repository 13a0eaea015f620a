//! Model files out, and other frameworks' files in and out.

pub mod export;
pub mod onnx;
pub mod torch;
