// Convolution with zero padding, bias, and where wanted a sum onto what `dst` holds and ReLU: an implicit matrix product
//   dst[pixel][channel] = unit[channel] sum_k src(pixel, k) weights[k][channel] + bias[channel],  k = (tap, channel).
// weights_f32.wgsl or weights_f16.wgsl stands before it and says what `Weights` are.
// Twins: src/infer/reference.rs (`conv`, the specification), src/infer/cpu. Bound by src/infer/gpu/passes.rs.
//
// Layouts, in vec4 ("quads") along channels; both streams lie one after the other:
//   src, dst  [stream][image][y][x][channel / 4]
//   weights   [stream][k][channel_out / 4]
//   affine    [stream][unit, bias][channel_out / 4]
//   partial   [split][stream][image][y][x][channel_out / 4]
// A tap is a run of `tap_quads` quads of `src` from a pixel on, a multiple of STEP: its channels, or for the stem, whose
// pixels are single quads, the pixels of a row of the kernel; weights beyond the kernel are zero.
//
//   multiply  a workgroup computes 16 pixels x 4 LX channels, an invocation four channels of all these pixels. STEP quads of
//             k of the pixels lie in workgroup memory, where all invocations read the same at constant indices; the weights
//             that an invocation reads are its own, and neighbours read neighbouring ones. With splits > 1 each split sums
//             its share of k into `partial`: the last stages have few pixels and a long k, and a GPU wants many workgroups.
//   join      sums the splits and finishes what `multiply` would have finished.

struct Params {
    images: u32,
    src_height: u32,
    src_width: u32,
    src_quads: u32,
    dst_height: u32,
    dst_width: u32,
    dst_quads: u32,
    kernel_height: u32,
    kernel_width: u32,
    pad_y: u32,
    pad_x: u32,
    stride: u32,
    tap_quads: u32,
    splits: u32,
    // 1: the sum is added to what `dst` holds.
    add: u32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> src: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<Weights>;
@group(0) @binding(3) var<storage, read> affine: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dst: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> partial: array<vec4<f32>>;

// Invocations, one a quad of channels.
override LX: u32 = 64u;
// Quads of k that lie in workgroup memory at a time.
const STEP: u32 = 4u;
const PIXELS: u32 = 16u;

// Of each pixel, where its first tap lies: x, y, first row of its map, and 1 if the pixel exists.
var<workgroup> corners: array<vec4<u32>, PIXELS>;
// [pixel][k / 4]
var<workgroup> tile: array<vec4<f32>, PIXELS * STEP>;

fn finish(stream: u32, pixel: u32, quad: u32, sum: vec4<f32>) {
    let at = (stream * params.images * params.dst_height * params.dst_width + pixel) * params.dst_quads + quad;
    let unit = 2u * stream * params.dst_quads + quad;
    var value = affine[unit] * sum + affine[unit + params.dst_quads];
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

// From four k to four channels; `at` is the first k's quad.
fn load_weights(at: u32) -> mat4x4<f32> {
    let next = params.dst_quads;
    return mat4x4<f32>(
        vec4<f32>(weights[at]),
        vec4<f32>(weights[at + next]),
        vec4<f32>(weights[at + 2u * next]),
        vec4<f32>(weights[at + 3u * next]),
    );
}

@compute @workgroup_size(LX)
fn multiply(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let stream = group.z % 2u;
    let split = group.z / 2u;
    let first_pixel = group.x * PIXELS;
    let quad = group.y * LX + index;
    for (var t = index; t < PIXELS; t += LX) {
        let pixel = first_pixel + t;
        let row = pixel / params.dst_width;
        let image = row / params.dst_height;
        // Beside the map on the left and above, x and y wrap round to more than any side.
        corners[t] = vec4<u32>(
            (pixel % params.dst_width) * params.stride - params.pad_x,
            (row % params.dst_height) * params.stride - params.pad_y,
            (stream * params.images + image) * params.src_height,
            select(0u, 1u, image < params.images),
        );
    }
    workgroupBarrier();

    let tap_steps = params.tap_quads / STEP;
    let steps = params.kernel_height * params.kernel_width * tap_steps;
    var step = split * steps / params.splits;
    let last_step = (split + 1u) * steps / params.splits;
    // Which tap, and which step of it: counted along, because a division a step would cost as much as a product.
    var tap_step = step % tap_steps;
    var tap_x = step / tap_steps % params.kernel_width;
    var tap_y = step / tap_steps / params.kernel_width;
    // An invocation beyond the last channel computes the last one again and stores nothing.
    let from_quad = min(quad, params.dst_quads - 1u);

    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    var s8 = vec4<f32>();
    var s9 = vec4<f32>();
    var s10 = vec4<f32>();
    var s11 = vec4<f32>();
    var s12 = vec4<f32>();
    var s13 = vec4<f32>();
    var s14 = vec4<f32>();
    var s15 = vec4<f32>();
    for (; step < last_step; step++) {
        for (var t = index; t < PIXELS * STEP; t += LX) {
            let corner = corners[t / STEP];
            let x = corner.x + tap_x;
            let y = corner.y + tap_y;
            var value = vec4<f32>();
            if corner.w == 1u && x < params.src_width && y < params.src_height {
                value = src[((corner.z + y) * params.src_width + x) * params.src_quads + tap_step * STEP + t % STEP];
            }
            tile[t] = value;
        }
        workgroupBarrier();
        let k = (stream * steps + step) * 4u * STEP;
        let w0 = load_weights(k * params.dst_quads + from_quad);
        s0 += w0 * tile[0];
        s1 += w0 * tile[4];
        s2 += w0 * tile[8];
        s3 += w0 * tile[12];
        s4 += w0 * tile[16];
        s5 += w0 * tile[20];
        s6 += w0 * tile[24];
        s7 += w0 * tile[28];
        s8 += w0 * tile[32];
        s9 += w0 * tile[36];
        s10 += w0 * tile[40];
        s11 += w0 * tile[44];
        s12 += w0 * tile[48];
        s13 += w0 * tile[52];
        s14 += w0 * tile[56];
        s15 += w0 * tile[60];
        let w1 = load_weights((k + 4u) * params.dst_quads + from_quad);
        s0 += w1 * tile[1];
        s1 += w1 * tile[5];
        s2 += w1 * tile[9];
        s3 += w1 * tile[13];
        s4 += w1 * tile[17];
        s5 += w1 * tile[21];
        s6 += w1 * tile[25];
        s7 += w1 * tile[29];
        s8 += w1 * tile[33];
        s9 += w1 * tile[37];
        s10 += w1 * tile[41];
        s11 += w1 * tile[45];
        s12 += w1 * tile[49];
        s13 += w1 * tile[53];
        s14 += w1 * tile[57];
        s15 += w1 * tile[61];
        let w2 = load_weights((k + 8u) * params.dst_quads + from_quad);
        s0 += w2 * tile[2];
        s1 += w2 * tile[6];
        s2 += w2 * tile[10];
        s3 += w2 * tile[14];
        s4 += w2 * tile[18];
        s5 += w2 * tile[22];
        s6 += w2 * tile[26];
        s7 += w2 * tile[30];
        s8 += w2 * tile[34];
        s9 += w2 * tile[38];
        s10 += w2 * tile[42];
        s11 += w2 * tile[46];
        s12 += w2 * tile[50];
        s13 += w2 * tile[54];
        s14 += w2 * tile[58];
        s15 += w2 * tile[62];
        let w3 = load_weights((k + 12u) * params.dst_quads + from_quad);
        s0 += w3 * tile[3];
        s1 += w3 * tile[7];
        s2 += w3 * tile[11];
        s3 += w3 * tile[15];
        s4 += w3 * tile[19];
        s5 += w3 * tile[23];
        s6 += w3 * tile[27];
        s7 += w3 * tile[31];
        s8 += w3 * tile[35];
        s9 += w3 * tile[39];
        s10 += w3 * tile[43];
        s11 += w3 * tile[47];
        s12 += w3 * tile[51];
        s13 += w3 * tile[55];
        s14 += w3 * tile[59];
        s15 += w3 * tile[63];
        workgroupBarrier();
        tap_step++;
        if tap_step == tap_steps {
            tap_step = 0u;
            tap_x++;
            if tap_x == params.kernel_width {
                tap_x = 0u;
                tap_y++;
            }
        }
    }
    store(stream, split, first_pixel, quad, s0);
    store(stream, split, first_pixel + 1u, quad, s1);
    store(stream, split, first_pixel + 2u, quad, s2);
    store(stream, split, first_pixel + 3u, quad, s3);
    store(stream, split, first_pixel + 4u, quad, s4);
    store(stream, split, first_pixel + 5u, quad, s5);
    store(stream, split, first_pixel + 6u, quad, s6);
    store(stream, split, first_pixel + 7u, quad, s7);
    store(stream, split, first_pixel + 8u, quad, s8);
    store(stream, split, first_pixel + 9u, quad, s9);
    store(stream, split, first_pixel + 10u, quad, s10);
    store(stream, split, first_pixel + 11u, quad, s11);
    store(stream, split, first_pixel + 12u, quad, s12);
    store(stream, split, first_pixel + 13u, quad, s13);
    store(stream, split, first_pixel + 14u, quad, s14);
    store(stream, split, first_pixel + 15u, quad, s15);
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
