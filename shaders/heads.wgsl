// The classifiers: logits of the fused feature as a whole and at each place of the last map, and of each stream's own head.
// Twins: src/infer/reference.rs (`heads`, `fused_map`), src/infer/cpu. Bound by src/infer/gpu/passes.rs.
//
// A workgroup computes one row of logits: `fused`, `spatial`, `residual`, then one for each place. Averaging and a linear
// classifier commute, so a row is the classifier at the average map or at the map of one place.
//   maps     [stream][image][place][channel / 4], the last maps of the trunks
//   fused    the same as AFM attended them; for the plain fusions the last maps again
//   weights  [matrix][class][channel / 4]: fused for the spatial and the residual stream, spatial, residual
//   bias     [row kind][class]: fused, spatial, residual
//   result   [image][result_stride]: rows of `classes` logits

struct Params {
    images: u32,
    places: u32,
    classes: u32,
    // 0: both streams count in every channel; 1: the one with the larger average; 2: the one with the smaller.
    choice: u32,
    result_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> maps: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> fused: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> result: array<f32>;

// 512 channels; an invocation takes a quad of them.
const QUADS: u32 = 128u;

var<workgroup> lanes: array<f32, QUADS>;

// The sum of all invocations' values, in invocation 0.
fn sum_of_lanes(index: u32, value: f32) -> f32 {
    lanes[index] = value;
    workgroupBarrier();
    for (var half = QUADS / 2u; half > 0u; half /= 2u) {
        if index < half {
            lanes[index] += lanes[index + half];
        }
        workgroupBarrier();
    }
    let sum = lanes[0];
    workgroupBarrier();
    return sum;
}

fn start_of(stream: u32, image: u32) -> u32 {
    return (stream * params.images + image) * params.places * QUADS;
}

fn average_of_maps(stream: u32, image: u32, quad: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var place = 0u; place < params.places; place++) {
        sum += maps[start_of(stream, image) + place * QUADS + quad];
    }
    return sum / f32(params.places);
}

fn average_of_fused(stream: u32, image: u32, quad: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var place = 0u; place < params.places; place++) {
        sum += fused[start_of(stream, image) + place * QUADS + quad];
    }
    return sum / f32(params.places);
}

@compute @workgroup_size(QUADS)
fn heads(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = group.x;
    let image = min(group.y, params.images - 1u);
    // What the row's matrices are multiplied with.
    var spatial = vec4<f32>();
    var residual = vec4<f32>();
    // The spatial stream's matrix; the residual stream's is the next one.
    var matrix = 0u;
    if row == 1u {
        spatial = average_of_maps(0u, image, index);
        matrix = 2u;
    } else if row == 2u {
        residual = average_of_maps(1u, image, index);
        matrix = 2u;
    } else if row == 0u {
        spatial = average_of_fused(0u, image, index);
        residual = average_of_fused(1u, image, index);
    } else {
        let place = min(row - 3u, params.places - 1u);
        spatial = fused[start_of(0u, image) + place * QUADS + index];
        residual = fused[start_of(1u, image) + place * QUADS + index];
    }
    if params.choice != 0u && matrix == 0u {
        let s = average_of_maps(0u, image, index);
        let r = average_of_maps(1u, image, index);
        let spatial_wins = select(s <= r, s >= r, params.choice == 1u);
        spatial = select(vec4<f32>(), spatial, spatial_wins);
        residual = select(residual, vec4<f32>(), spatial_wins);
    }
    let bias_row = select(row, 0u, row > 2u);
    for (var kind = 0u; kind < params.classes; kind++) {
        let at = (matrix * params.classes + kind) * QUADS + index;
        let part = dot(weights[at], spatial) + dot(weights[at + params.classes * QUADS], residual);
        let sum = sum_of_lanes(index, part);
        if index == 0u && row < params.places + 3u {
            result[image * params.result_stride + row * params.classes + kind] = sum + bias[bias_row * params.classes + kind];
        }
    }
}
