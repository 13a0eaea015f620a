// Put before conv.wgsl: weights as plain numbers.

alias Weights = vec4<f32>;

