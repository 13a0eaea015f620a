// What is taken over neighbourhoods or over whole maps, without weights.
// Twins: src/infer/reference.rs (`max_pool`, `statistics`), src/infer/cpu. Bound by src/infer/gpu/passes.rs.
//
//   max_pool    3x3, stride 2, padding 1; what lies beside the map does not count
//               src, dst  [stream][image][y][x][channel / 4]
//   statistics  mean of each map, then its (biased) standard deviation, of the picture stream, then of the residual stream;
//               a workgroup takes one stream of one image; 64 channels
//               src  [stream][image][y][x][channel / 4],  result  [image][result_stride], from result_start on

struct Params {
    images: u32,
    src_height: u32,
    src_width: u32,
    src_quads: u32,
    dst_height: u32,
    dst_width: u32,
    result_start: u32,
    result_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> src: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dst: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

@compute @workgroup_size(64)
fn max_pool(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.x + id.y * groups.x * 64u;
    let quads = params.src_quads;
    let pixel = index / quads;
    let row = pixel / params.dst_width;
    let plane = row / params.dst_height;
    if plane >= 2u * params.images {
        return;
    }
    let x = 2u * (pixel % params.dst_width);
    let y = 2u * (row % params.dst_height);
    // The window's middle always lies on the map.
    var value = src[((plane * params.src_height + y) * params.src_width + x) * quads + index % quads];
    for (var v = max(y, 1u) - 1u; v < min(y + 2u, params.src_height); v++) {
        for (var u = max(x, 1u) - 1u; u < min(x + 2u, params.src_width); u++) {
            value = max(value, src[((plane * params.src_height + v) * params.src_width + u) * quads + index % quads]);
        }
    }
    dst[index] = value;
}

// 64 channels.
const QUADS: u32 = 16u;
const LANES: u32 = 16u;

var<workgroup> sums: array<vec4<f32>, QUADS * LANES>;

// The sum of all lanes' values for the quad `local.x`, the same for every lane.
fn sum_of_lanes(local: vec3<u32>, value: vec4<f32>) -> vec4<f32> {
    sums[local.y * QUADS + local.x] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if local.y < half {
            sums[local.y * QUADS + local.x] += sums[(local.y + half) * QUADS + local.x];
        }
        workgroupBarrier();
    }
    let sum = sums[local.x];
    workgroupBarrier();
    return sum;
}

@compute @workgroup_size(QUADS, LANES)
fn statistics(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
    let area = params.src_height * params.src_width;
    let image = group.x;
    let stream = group.y;
    let base = (stream * params.images + image) * area;
    var sum = vec4<f32>();
    for (var p = local.y; p < area; p += LANES) {
        sum += src[(base + p) * QUADS + local.x];
    }
    let mean = sum_of_lanes(local, sum) / f32(area);
    var squares = vec4<f32>();
    for (var p = local.y; p < area; p += LANES) {
        let away = src[(base + p) * QUADS + local.x] - mean;
        squares += away * away;
    }
    let deviation = sqrt(sum_of_lanes(local, squares) / f32(area));
    if local.y < 4u && image < params.images && stream < 2u {
        let at = image * params.result_stride + params.result_start + stream * 8u * QUADS + 4u * local.x + local.y;
        result[at] = mean[local.y];
        result[at + 4u * QUADS] = deviation[local.y];
    }
}
