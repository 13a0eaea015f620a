// Guided residual |I - q|, q the self-guided filter of He et al.: per channel a = var / (var + eps), b = (1 - a) mean,
// or with the 3x3 covariance of all channels; q = mean(a) I + mean(b). Intensities on 0..1, eps in squared intensity.
// Border: the window is clipped and divided by its true pixel count.
// Twins: src/train/mte/reference.rs (f64, the specification), src/train/mte/tensor.rs (burn operations). Bound by src/train/mte/kernel.rs.
//
// One file, five passes, planes laid out [image][plane][y][x]:
//   moments       I            -> means-to-be: I and I I (6 planes), or I and all products (9 planes)
//   box_rows      planes       -> mean along x
//   box_columns   planes       -> mean along y
//   coefficients  mean planes  -> a and b (6 planes: a0 a1 a2 b0 b1 b2; colour 12: a00 a01 a02 .. a22 b0 b1 b2)
//   apply         mean a, b    -> |I - q|
// A box pass gives every invocation a segment of a line no shorter than the window: it sums the first window once and
// then slides, so a pixel costs at most three reads whatever the radius, and rounding cannot pile up along a line.
//
// Every access is guarded by hand: native builds have no bounds checks. All bindings are read_write because burn pools
// its buffers, and one buffer may not be bound both ways in a dispatch.

struct Params {
    images: u32,
    planes: u32,
    height: u32,
    width: u32,
    radius_px: u32,
    segment_px: u32,
    colour: u32,
    eps: f32,
}

@group(0) @binding(0) var<storage, read_write> src: array<f32>;
@group(0) @binding(1) var<storage, read_write> dst: array<f32>;
@group(0) @binding(2) var<storage, read_write> params: Params;
// Only `apply` binds the picture itself.
@group(0) @binding(3) var<storage, read_write> image: array<f32>;

const WORKGROUP: u32 = 64u;
// Centring the intensities costs nothing and halves the rounding of the variance.
const CENTRE: f32 = 0.5;

fn linear_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * WORKGROUP;
}

@compute @workgroup_size(64)
fn moments(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let area = params.height * params.width;
    let pixel = linear_index(id, groups);
    if pixel >= params.images * area {
        return;
    }
    let from_base = (pixel / area) * 3u * area + pixel % area;
    let to = (pixel / area) * params.planes * area + pixel % area;
    let i0 = src[from_base] - CENTRE;
    let i1 = src[from_base + area] - CENTRE;
    let i2 = src[from_base + 2u * area] - CENTRE;
    dst[to] = i0;
    dst[to + area] = i1;
    dst[to + 2u * area] = i2;
    dst[to + 3u * area] = i0 * i0;
    if params.colour == 0u {
        dst[to + 4u * area] = i1 * i1;
        dst[to + 5u * area] = i2 * i2;
    } else {
        dst[to + 4u * area] = i0 * i1;
        dst[to + 5u * area] = i0 * i2;
        dst[to + 6u * area] = i1 * i1;
        dst[to + 7u * area] = i1 * i2;
        dst[to + 8u * area] = i2 * i2;
    }
}

// The means of one segment of a line: `length` values from `start`, `stride` apart.
fn slide(start: u32, stride: u32, length: u32, segment: u32) {
    let first = segment * params.segment_px;
    let end = min(first + params.segment_px, length);
    let radius = params.radius_px;
    var low = max(first, radius) - radius;
    var high = min(first + radius, length - 1u);
    var sum = 0.0;
    for (var k = low; k <= high; k++) {
        sum += src[start + k * stride];
    }
    for (var k = first; k < end; k++) {
        dst[start + k * stride] = sum / f32(high - low + 1u);
        if high + 1u < length {
            high++;
            sum += src[start + high * stride];
        }
        if k >= radius {
            sum -= src[start + low * stride];
            low++;
        }
    }
}

@compute @workgroup_size(64)
fn box_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let segments = (params.width + params.segment_px - 1u) / params.segment_px;
    let index = linear_index(id, groups);
    let row = index / segments;
    if row >= params.images * params.planes * params.height {
        return;
    }
    slide(row * params.width, 1u, params.width, index % segments);
}

@compute @workgroup_size(64)
fn box_columns(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let segments = (params.height + params.segment_px - 1u) / params.segment_px;
    let index = linear_index(id, groups);
    // Neighbouring invocations read neighbouring columns.
    let column = index % params.width;
    let segment = (index / params.width) % segments;
    let plane = index / (params.width * segments);
    if plane >= params.images * params.planes {
        return;
    }
    slide(plane * params.height * params.width + column, params.width, params.height, segment);
}

@compute @workgroup_size(64)
fn coefficients(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let area = params.height * params.width;
    let pixel = linear_index(id, groups);
    if pixel >= params.images * area {
        return;
    }
    let at = (pixel / area) * params.planes * area + pixel % area;
    let m = vec3<f32>(src[at], src[at + area], src[at + 2u * area]);
    if params.colour == 0u {
        let to = (pixel / area) * 6u * area + pixel % area;
        let mm = vec3<f32>(src[at + 3u * area], src[at + 4u * area], src[at + 5u * area]);
        let variance = max(mm - m * m, vec3<f32>(0.0));
        let a = variance / (variance + params.eps);
        let b = m - a * m;
        dst[to] = a.x;
        dst[to + area] = a.y;
        dst[to + 2u * area] = a.z;
        dst[to + 3u * area] = b.x;
        dst[to + 4u * area] = b.y;
        dst[to + 5u * area] = b.z;
        return;
    }
    let to = (pixel / area) * 12u * area + pixel % area;
    let c00 = src[at + 3u * area] - m.x * m.x;
    let c01 = src[at + 4u * area] - m.x * m.y;
    let c02 = src[at + 5u * area] - m.x * m.z;
    let c11 = src[at + 6u * area] - m.y * m.y;
    let c12 = src[at + 7u * area] - m.y * m.z;
    let c22 = src[at + 8u * area] - m.z * m.z;
    let s11 = c11 + params.eps;
    let s22 = c22 + params.eps;
    // The inverse by an LDL^T factorisation: across an edge the channels move together, the matrix is singular but for
    // eps, and the determinant of the textbook formula would drown in rounding.
    let d0 = c00 + params.eps;
    let l10 = c01 / d0;
    let l20 = c02 / d0;
    let d1 = s11 - l10 * c01;
    let below = c12 - l20 * c01;
    let l21 = below / d1;
    let d2 = s22 - l20 * c02 - l21 * below;
    let m20 = l10 * l21 - l20;
    let i22 = 1.0 / d2;
    let i12 = -l21 * i22;
    let i02 = m20 * i22;
    let i11 = 1.0 / d1 - l21 * i12;
    let i01 = -l10 / d1 - l21 * i02;
    let i00 = 1.0 / d0 + l10 * l10 / d1 + m20 * i02;
    // (Sigma + eps U)^-1 Sigma = U - eps (Sigma + eps U)^-1
    let a0 = vec3<f32>(1.0, 0.0, 0.0) - params.eps * vec3<f32>(i00, i01, i02);
    let a1 = vec3<f32>(0.0, 1.0, 0.0) - params.eps * vec3<f32>(i01, i11, i12);
    let a2 = vec3<f32>(0.0, 0.0, 1.0) - params.eps * vec3<f32>(i02, i12, i22);
    dst[to] = a0.x;
    dst[to + area] = a0.y;
    dst[to + 2u * area] = a0.z;
    dst[to + 3u * area] = a1.x;
    dst[to + 4u * area] = a1.y;
    dst[to + 5u * area] = a1.z;
    dst[to + 6u * area] = a2.x;
    dst[to + 7u * area] = a2.y;
    dst[to + 8u * area] = a2.z;
    dst[to + 9u * area] = m.x - dot(a0, m);
    dst[to + 10u * area] = m.y - dot(a1, m);
    dst[to + 11u * area] = m.z - dot(a2, m);
}

@compute @workgroup_size(64)
fn apply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let area = params.height * params.width;
    let pixel = linear_index(id, groups);
    if pixel >= params.images * area {
        return;
    }
    let at = (pixel / area) * params.planes * area + pixel % area;
    let to = (pixel / area) * 3u * area + pixel % area;
    let i = vec3<f32>(image[to], image[to + area], image[to + 2u * area]) - CENTRE;
    var q: vec3<f32>;
    if params.colour == 0u {
        let a = vec3<f32>(src[at], src[at + area], src[at + 2u * area]);
        let b = vec3<f32>(src[at + 3u * area], src[at + 4u * area], src[at + 5u * area]);
        q = a * i + b;
    } else {
        let a0 = vec3<f32>(src[at], src[at + area], src[at + 2u * area]);
        let a1 = vec3<f32>(src[at + 3u * area], src[at + 4u * area], src[at + 5u * area]);
        let a2 = vec3<f32>(src[at + 6u * area], src[at + 7u * area], src[at + 8u * area]);
        let b = vec3<f32>(src[at + 9u * area], src[at + 10u * area], src[at + 11u * area]);
        q = vec3<f32>(dot(a0, i), dot(a1, i), dot(a2, i)) + b;
    }
    let residual = abs(i - q);
    dst[to] = residual.x;
    dst[to + area] = residual.y;
    dst[to + 2u * area] = residual.z;
}
