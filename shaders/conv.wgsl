// Convolution with square kernel, zero padding of half the kernel, bias, and where wanted a sum onto what `dst` holds and
// ReLU: an implicit matrix product  dst[pixel][channel] = sum_k src(pixel, k) weights[k][channel],  k = (tap, channel).
// Twins: src/infer/reference.rs (`conv`, the specification), src/infer/cpu. Bound by src/infer/gpu/passes.rs.
//
// Layouts, in vec4 ("quads") along channels; both streams lie one after the other:
//   src, dst  [stream][image][y][x][channel / 4]
//   weights   [stream][k][channel_out / 4], k = 4 (tap * src_quads + channel_in / 4) + channel_in % 4, zeros from the last tap on
//   bias      [stream][channel_out / 4]
//   partial   [split][stream][image][y][x][channel_out / 4]
//
//   multiply  a workgroup computes a tile of 4 LX pixels x 8 LY channels, an invocation 4 x 8 of it; both factors go through
//             workgroup memory in steps of 16 k. With splits > 1 each split sums its share of k into `partial`:
//             the last stages have few pixels and a long k, and a GPU wants many workgroups.
//   join      sums the splits and finishes what `multiply` would have finished.

struct Params {
    images: u32,
    src_height: u32,
    src_width: u32,
    src_quads: u32,
    dst_height: u32,
    dst_width: u32,
    dst_quads: u32,
    kernel: u32,
    stride: u32,
    // Steps of 4 k, a multiple of STEP.
    k_quads: u32,
    splits: u32,
    // 1: the sum is added to what `dst` holds.
    add: u32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> src: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dst: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partial: array<vec4<f32>>;

// Invocations along pixels and along channels.
override LX: u32 = 8u;
override LY: u32 = 8u;
// Quads of k that lie in workgroup memory at a time.
const STEP: u32 = 4u;
const PIXELS: u32 = 4u;
const QUADS: u32 = 2u;

// [k / 4][pixel] and [k][channel / 4]
var<workgroup> tile_src: array<vec4<f32>, STEP * PIXELS * LX>;
var<workgroup> tile_weights: array<vec4<f32>, 4u * STEP * QUADS * LY>;

// Four k of `src` for one pixel of `dst`; zero beside the map.
fn load_src(stream: u32, pixel: u32, k: u32) -> vec4<f32> {
    let tap = k / params.src_quads;
    let row = pixel / params.dst_width;
    let image = row / params.dst_height;
    let pad = params.kernel / 2u;
    // Beside the map on the left and above, these wrap round to more than any side.
    let x = (pixel % params.dst_width) * params.stride + tap % params.kernel - pad;
    let y = (row % params.dst_height) * params.stride + tap / params.kernel - pad;
    if image >= params.images || tap >= params.kernel * params.kernel || x >= params.src_width || y >= params.src_height {
        return vec4<f32>();
    }
    let line = (stream * params.images + image) * params.src_height + y;
    return src[(line * params.src_width + x) * params.src_quads + k % params.src_quads];
}

fn load_weights(stream: u32, k: u32, quad: u32) -> vec4<f32> {
    if k >= 4u * params.k_quads || quad >= params.dst_quads {
        return vec4<f32>();
    }
    return weights[(stream * 4u * params.k_quads + k) * params.dst_quads + quad];
}

fn finish(stream: u32, pixel: u32, quad: u32, sum: vec4<f32>) {
    let at = (stream * params.images * params.dst_height * params.dst_width + pixel) * params.dst_quads + quad;
    var value = sum + bias[stream * params.dst_quads + quad];
    if params.add != 0u {
        value += dst[at];
    }
    if params.relu != 0u {
        value = max(value, vec4<f32>());
    }
    dst[at] = value;
}

fn store(stream: u32, split: u32, pixel: u32, quad: u32, sum: vec4<f32>) {
    let pixels = params.images * params.dst_height * params.dst_width;
    if pixel >= pixels || quad >= params.dst_quads {
        return;
    }
    if params.splits == 1u {
        finish(stream, pixel, quad, sum);
    } else {
        partial[((split * 2u + stream) * pixels + pixel) * params.dst_quads + quad] = sum;
    }
}

@compute @workgroup_size(LX, LY)
fn multiply(
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(workgroup_id) group: vec3<u32>,
) {
    let stream = group.z % 2u;
    let split = group.z / 2u;
    let first_pixel = group.x * PIXELS * LX;
    let first_quad = group.y * QUADS * LY;
    let steps = params.k_quads / STEP;
    let first_step = split * steps / params.splits;
    let last_step = (split + 1u) * steps / params.splits;
    // sPQ: pixel P, quad of channels Q.
    var s00 = vec4<f32>();
    var s01 = vec4<f32>();
    var s10 = vec4<f32>();
    var s11 = vec4<f32>();
    var s20 = vec4<f32>();
    var s21 = vec4<f32>();
    var s30 = vec4<f32>();
    var s31 = vec4<f32>();
    for (var step = first_step; step < last_step; step++) {
        for (var t = index; t < STEP * PIXELS * LX; t += LX * LY) {
            // Neighbouring invocations read neighbouring quads.
            let value = load_src(stream, first_pixel + t / STEP, step * STEP + t % STEP);
            tile_src[(t % STEP) * PIXELS * LX + t / STEP] = value;
        }
        for (var t = index; t < 4u * STEP * QUADS * LY; t += LX * LY) {
            tile_weights[t] = load_weights(stream, 4u * STEP * step + t / (QUADS * LY), first_quad + t % (QUADS * LY));
        }
        workgroupBarrier();
        for (var k = 0u; k < STEP; k++) {
            let at = k * PIXELS * LX + local.x;
            let x0 = tile_src[at];
            let x1 = tile_src[at + LX];
            let x2 = tile_src[at + 2u * LX];
            let x3 = tile_src[at + 3u * LX];
            var row = 4u * k * QUADS * LY + local.y;
            var w0 = tile_weights[row];
            var w1 = tile_weights[row + LY];
            s00 += x0.x * w0;
            s01 += x0.x * w1;
            s10 += x1.x * w0;
            s11 += x1.x * w1;
            s20 += x2.x * w0;
            s21 += x2.x * w1;
            s30 += x3.x * w0;
            s31 += x3.x * w1;
            row += QUADS * LY;
            w0 = tile_weights[row];
            w1 = tile_weights[row + LY];
            s00 += x0.y * w0;
            s01 += x0.y * w1;
            s10 += x1.y * w0;
            s11 += x1.y * w1;
            s20 += x2.y * w0;
            s21 += x2.y * w1;
            s30 += x3.y * w0;
            s31 += x3.y * w1;
            row += QUADS * LY;
            w0 = tile_weights[row];
            w1 = tile_weights[row + LY];
            s00 += x0.z * w0;
            s01 += x0.z * w1;
            s10 += x1.z * w0;
            s11 += x1.z * w1;
            s20 += x2.z * w0;
            s21 += x2.z * w1;
            s30 += x3.z * w0;
            s31 += x3.z * w1;
            row += QUADS * LY;
            w0 = tile_weights[row];
            w1 = tile_weights[row + LY];
            s00 += x0.w * w0;
            s01 += x0.w * w1;
            s10 += x1.w * w0;
            s11 += x1.w * w1;
            s20 += x2.w * w0;
            s21 += x2.w * w1;
            s30 += x3.w * w0;
            s31 += x3.w * w1;
        }
        workgroupBarrier();
    }
    let pixel = first_pixel + local.x;
    let quad = first_quad + local.y;
    store(stream, split, pixel, quad, s00);
    store(stream, split, pixel, quad + LY, s01);
    store(stream, split, pixel + LX, quad, s10);
    store(stream, split, pixel + LX, quad + LY, s11);
    store(stream, split, pixel + 2u * LX, quad, s20);
    store(stream, split, pixel + 2u * LX, quad + LY, s21);
    store(stream, split, pixel + 3u * LX, quad, s30);
    store(stream, split, pixel + 3u * LX, quad + LY, s31);
}

@compute @workgroup_size(64)
fn join(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = id.x + id.y * groups.x * 64u;
    let pixels = params.images * params.dst_height * params.dst_width;
    let size = pixels * params.dst_quads;
    if index >= 2u * size {
        return;
    }
    var sum = vec4<f32>();
    for (var split = 0u; split < params.splits; split++) {
        sum += partial[split * 2u * size + index];
    }
    let within = index % size;
    finish(index / size, within / params.dst_quads, within % params.dst_quads, sum);
}
