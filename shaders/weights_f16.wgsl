// Put before conv.wgsl where the device has half numbers: weights of an int8 model are whole numbers up to 127, which a half
// number holds exactly. Half the memory, and the same sums, which stay f32. Twin: weights_f32.wgsl.
enable f16;

alias Weights = vec4<f16>;

