// What the streams read: the normalised picture, and its guided residual |I - q| times a gain; q is the self-guided filter of
// He et al.: per channel a = var / (var + eps), b = (1 - a) mean, or with the 3x3 covariance of all channels;
// q = mean(a) I + mean(b). Intensities on 0..1, eps in squared intensity.
// Border: the window is clipped and divided by its true pixel count.
// Twins: src/infer/reference/guided.rs (f64, the specification), src/infer/cpu. Bound by src/infer/gpu/passes.rs.
//
//   moments_along_rows       picture      -> row means of I and of its products    2 planes (colour 3)
//   coefficients_of_columns  moments      -> a and b                               2 planes (colour 4)
//   coefficients_along_rows  coefficients -> row means of a and b
//   residual                 those        -> both streams' inputs
// An invocation slides a window along a segment of a line no shorter than the window: it sums the first window once, so a
// pixel costs at most three reads whatever the radius, and rounding cannot pile up along a line.
//
//   picture  [image][channel][y][x];  planes  [image][plane][y][x], three values each;  streams  [stream][image][y][pitch], R G B 0

struct Params {
    images: u32,
    height: u32,
    width: u32,
    radius_px: u32,
    // Values of a line that one invocation slides over.
    segment_px: u32,
    eps: f32,
    gain: f32,
    mean_r: f32,
    mean_g: f32,
    mean_b: f32,
    std_r: f32,
    std_g: f32,
    std_b: f32,
    // Pixels from one row of `streams` to the next, and of them to the left of the picture; the rest stays zero.
    pitch_px: u32,
    left_px: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> picture: array<f32>;
@group(0) @binding(2) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> coefficients: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> streams: array<vec4<f32>>;

// All three channels guide each one.
override COLOUR: bool = false;
// Centring the intensities costs nothing and halves the rounding of the variance.
const CENTRE: f32 = 0.5;

// What a window is summed of: up to four planes at one pixel.
struct Planes {
    p0: vec3<f32>,
    p1: vec3<f32>,
    p2: vec3<f32>,
    p3: vec3<f32>,
}

fn add(a: Planes, b: Planes, sign: f32) -> Planes {
    return Planes(a.p0 + sign * b.p0, a.p1 + sign * b.p1, a.p2 + sign * b.p2, a.p3 + sign * b.p3);
}

fn area() -> u32 {
    return params.height * params.width;
}

fn intensity(image: u32, pixel: u32) -> vec3<f32> {
    let at = image * 3u * area() + pixel;
    return vec3<f32>(picture[at], picture[at + area()], picture[at + 2u * area()]) - CENTRE;
}

fn moments_of(image: u32, pixel: u32) -> Planes {
    let i = intensity(image, pixel);
    if COLOUR {
        return Planes(i, i.x * i, vec3<f32>(i.y * i.yz, i.z * i.z), vec3<f32>());
    }
    return Planes(i, i * i, vec3<f32>(), vec3<f32>());
}

fn load_moments(image: u32, pixel: u32) -> Planes {
    let at = image * select(2u, 3u, COLOUR) * area() + pixel;
    var planes = Planes(moments[at].xyz, moments[at + area()].xyz, vec3<f32>(), vec3<f32>());
    if COLOUR {
        planes.p2 = moments[at + 2u * area()].xyz;
    }
    return planes;
}

// Row means of the coefficients take the moments' place, which nobody needs any more; they have a plane more in colour.
fn store_rows(image: u32, pixel: u32, planes_each: u32, planes: Planes) {
    let at = image * planes_each * area() + pixel;
    moments[at] = vec4<f32>(planes.p0, 0.0);
    moments[at + area()] = vec4<f32>(planes.p1, 0.0);
    if planes_each > 2u {
        moments[at + 2u * area()] = vec4<f32>(planes.p2, 0.0);
    }
    if planes_each > 3u {
        moments[at + 3u * area()] = vec4<f32>(planes.p3, 0.0);
    }
}

fn load_coefficients(image: u32, pixel: u32) -> Planes {
    let at = image * select(2u, 4u, COLOUR) * area() + pixel;
    var planes = Planes(coefficients[at].xyz, coefficients[at + area()].xyz, vec3<f32>(), vec3<f32>());
    if COLOUR {
        planes.p2 = coefficients[at + 2u * area()].xyz;
        planes.p3 = coefficients[at + 3u * area()].xyz;
    }
    return planes;
}

fn load_coefficient_rows(image: u32, pixel: u32) -> Planes {
    let at = image * select(2u, 4u, COLOUR) * area() + pixel;
    var planes = Planes(moments[at].xyz, moments[at + area()].xyz, vec3<f32>(), vec3<f32>());
    if COLOUR {
        planes.p2 = moments[at + 2u * area()].xyz;
        planes.p3 = moments[at + 3u * area()].xyz;
    }
    return planes;
}

// Where an invocation slides: one segment of one line.
struct Line {
    exists: bool,
    image: u32,
    // The line's first pixel, and from one to the next.
    start: u32,
    stride: u32,
    length: u32,
    first: u32,
    end: u32,
}

fn line_of(index: u32, along_rows: bool) -> Line {
    let length = select(params.height, params.width, along_rows);
    let lines = select(params.width, params.height, along_rows);
    let segments = (length + params.segment_px - 1u) / params.segment_px;
    // Neighbouring invocations take neighbouring lines.
    let line = index % lines;
    let segment = (index / lines) % segments;
    let image = index / (lines * segments);
    let first = segment * params.segment_px;
    return Line(
        image < params.images,
        image,
        line * select(1u, params.width, along_rows),
        select(params.width, 1u, along_rows),
        length,
        first,
        min(first + params.segment_px, length),
    );
}

fn index_of(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * 64u;
}

// The window around `first`, clipped: its ends, both included.
fn window_of(line: Line) -> vec2<u32> {
    return vec2<u32>(max(line.first, params.radius_px) - params.radius_px, min(line.first + params.radius_px, line.length - 1u));
}

@compute @workgroup_size(64)
fn moments_along_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = line_of(index_of(id, groups), true);
    if !line.exists {
        return;
    }
    var window = window_of(line);
    var sum = Planes();
    for (var k = window.x; k <= window.y; k++) {
        sum = add(sum, moments_of(line.image, line.start + k * line.stride), 1.0);
    }
    for (var k = line.first; k < line.end; k++) {
        let share = 1.0 / f32(window.y - window.x + 1u);
        let mean = add(Planes(), sum, share);
        store_rows(line.image, line.start + k * line.stride, select(2u, 3u, COLOUR), mean);
        if window.y + 1u < line.length {
            window.y++;
            sum = add(sum, moments_of(line.image, line.start + window.y * line.stride), 1.0);
        }
        if k >= params.radius_px {
            sum = add(sum, moments_of(line.image, line.start + window.x * line.stride), -1.0);
            window.x++;
        }
    }
}

fn solve(image: u32, pixel: u32, mean: Planes) {
    let at = image * select(2u, 4u, COLOUR) * area() + pixel;
    let m = mean.p0;
    if !COLOUR {
        let variance = max(mean.p1 - m * m, vec3<f32>());
        let a = variance / (variance + params.eps);
        coefficients[at] = vec4<f32>(a, 0.0);
        coefficients[at + area()] = vec4<f32>(m - a * m, 0.0);
        return;
    }
    let c00 = mean.p1.x - m.x * m.x;
    let c01 = mean.p1.y - m.x * m.y;
    let c02 = mean.p1.z - m.x * m.z;
    let c11 = mean.p2.x - m.y * m.y;
    let c12 = mean.p2.y - m.y * m.z;
    let c22 = mean.p2.z - m.z * m.z;
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
    coefficients[at] = vec4<f32>(a0, 0.0);
    coefficients[at + area()] = vec4<f32>(a1, 0.0);
    coefficients[at + 2u * area()] = vec4<f32>(a2, 0.0);
    coefficients[at + 3u * area()] = vec4<f32>(m - vec3<f32>(dot(a0, m), dot(a1, m), dot(a2, m)), 0.0);
}

@compute @workgroup_size(64)
fn coefficients_of_columns(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = line_of(index_of(id, groups), false);
    if !line.exists {
        return;
    }
    var window = window_of(line);
    var sum = Planes();
    for (var k = window.x; k <= window.y; k++) {
        sum = add(sum, load_moments(line.image, line.start + k * line.stride), 1.0);
    }
    for (var k = line.first; k < line.end; k++) {
        let share = 1.0 / f32(window.y - window.x + 1u);
        let mean = add(Planes(), sum, share);
        solve(line.image, line.start + k * line.stride, mean);
        if window.y + 1u < line.length {
            window.y++;
            sum = add(sum, load_moments(line.image, line.start + window.y * line.stride), 1.0);
        }
        if k >= params.radius_px {
            sum = add(sum, load_moments(line.image, line.start + window.x * line.stride), -1.0);
            window.x++;
        }
    }
}

@compute @workgroup_size(64)
fn coefficients_along_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = line_of(index_of(id, groups), true);
    if !line.exists {
        return;
    }
    var window = window_of(line);
    var sum = Planes();
    for (var k = window.x; k <= window.y; k++) {
        sum = add(sum, load_coefficients(line.image, line.start + k * line.stride), 1.0);
    }
    for (var k = line.first; k < line.end; k++) {
        let share = 1.0 / f32(window.y - window.x + 1u);
        let mean = add(Planes(), sum, share);
        store_rows(line.image, line.start + k * line.stride, select(2u, 4u, COLOUR), mean);
        if window.y + 1u < line.length {
            window.y++;
            sum = add(sum, load_coefficients(line.image, line.start + window.y * line.stride), 1.0);
        }
        if k >= params.radius_px {
            sum = add(sum, load_coefficients(line.image, line.start + window.x * line.stride), -1.0);
            window.x++;
        }
    }
}

fn write_streams(image: u32, y: u32, x: u32, mean: Planes) {
    let i = intensity(image, y * params.width + x);
    var q = mean.p0 * i + mean.p1;
    if COLOUR {
        q = vec3<f32>(dot(mean.p0, i), dot(mean.p1, i), dot(mean.p2, i)) + mean.p3;
    }
    let at = (image * params.height + y) * params.pitch_px + params.left_px + x;
    let means = vec3<f32>(params.mean_r, params.mean_g, params.mean_b);
    let deviations = vec3<f32>(params.std_r, params.std_g, params.std_b);
    streams[at] = vec4<f32>((i + CENTRE - means) / deviations, 0.0);
    streams[params.images * params.height * params.pitch_px + at] = vec4<f32>(abs(i - q) * params.gain, 0.0);
}

@compute @workgroup_size(64)
fn residual(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let line = line_of(index_of(id, groups), false);
    if !line.exists {
        return;
    }
    var window = window_of(line);
    var sum = Planes();
    for (var k = window.x; k <= window.y; k++) {
        sum = add(sum, load_coefficient_rows(line.image, line.start + k * line.stride), 1.0);
    }
    for (var k = line.first; k < line.end; k++) {
        let share = 1.0 / f32(window.y - window.x + 1u);
        let mean = add(Planes(), sum, share);
        write_streams(line.image, k, line.start, mean);
        if window.y + 1u < line.length {
            window.y++;
            sum = add(sum, load_coefficient_rows(line.image, line.start + window.y * line.stride), 1.0);
        }
        if k >= params.radius_px {
            sum = add(sum, load_coefficient_rows(line.image, line.start + window.x * line.stride), -1.0);
            window.x++;
        }
    }
}
