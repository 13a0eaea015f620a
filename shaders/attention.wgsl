// Channel attention of AFM: with X the map of one stream (512 channels x places), E = X X^T and M = softmax of each row of
// -E (as in DANet's released code) or of E (as printed),  dst = scale M X + keep X.
// Twins: src/infer/reference.rs (`attend`), src/infer/cpu. Bound by src/infer/gpu/passes.rs.
//
// src, dst  [stream][image][place][channel / 4]. A workgroup takes four channels (rows of E) of one stream of one image.

struct Params {
    images: u32,
    places: u32,
    // -1 or 1: what E is multiplied by before the softmax.
    sign: f32,
    scale_spatial: f32,
    scale_residual: f32,
    keep: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> src: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dst: array<vec4<f32>>;

// 512 channels; an invocation takes a quad of columns of E.
const QUADS: u32 = 128u;
// Places that are worked on at a time; the invocations of one place share the sum over its channels.
const PLACES: u32 = 32u;
const SHARES: u32 = QUADS / PLACES;

// [column], the four rows in a vec4.
var<workgroup> shares: array<vec4<f32>, 4u * QUADS>;
var<workgroup> lanes: array<vec4<f32>, QUADS>;

// The sum of all invocations' values.
fn sum_of_lanes(index: u32, value: vec4<f32>) -> vec4<f32> {
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

// The largest of all invocations' values.
fn max_of_lanes(index: u32, value: vec4<f32>) -> vec4<f32> {
    lanes[index] = value;
    workgroupBarrier();
    for (var half = QUADS / 2u; half > 0u; half /= 2u) {
        if index < half {
            lanes[index] = max(lanes[index], lanes[index + half]);
        }
        workgroupBarrier();
    }
    let largest = lanes[0];
    workgroupBarrier();
    return largest;
}

@compute @workgroup_size(QUADS)
fn attend(@builtin(local_invocation_index) index: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let rows = group.x;
    let image = group.y;
    let stream = group.z;
    let exists = rows < QUADS && image < params.images && stream < 2u;
    let places = select(0u, params.places, exists);
    let base = (stream * params.images + image) * params.places * QUADS;
    // Columns of E, each with its four rows in a vec4.
    var e0 = vec4<f32>();
    var e1 = vec4<f32>();
    var e2 = vec4<f32>();
    var e3 = vec4<f32>();
    for (var place = 0u; place < places; place++) {
        let row = src[base + place * QUADS + rows];
        let column = src[base + place * QUADS + index];
        e0 += row * column.x;
        e1 += row * column.y;
        e2 += row * column.z;
        e3 += row * column.w;
    }
    e0 *= params.sign;
    e1 *= params.sign;
    e2 *= params.sign;
    e3 *= params.sign;
    let largest = max_of_lanes(index, max(max(e0, e1), max(e2, e3)));
    e0 = exp(e0 - largest);
    e1 = exp(e1 - largest);
    e2 = exp(e2 - largest);
    e3 = exp(e3 - largest);
    let sum = sum_of_lanes(index, e0 + e1 + e2 + e3);
    shares[4u * index] = e0 / sum;
    shares[4u * index + 1u] = e1 / sum;
    shares[4u * index + 2u] = e2 / sum;
    shares[4u * index + 3u] = e3 / sum;
    workgroupBarrier();
    let scale = select(params.scale_residual, params.scale_spatial, stream == 0u);
    let share = index / PLACES;
    for (var first = 0u; first < params.places; first += PLACES) {
        let place = first + index % PLACES;
        var attended = vec4<f32>();
        if place < places {
            for (var quad = share * (QUADS / SHARES); quad < (share + 1u) * (QUADS / SHARES); quad++) {
                let x = src[base + place * QUADS + quad];
                attended += shares[4u * quad] * x.x + shares[4u * quad + 1u] * x.y;
                attended += shares[4u * quad + 2u] * x.z + shares[4u * quad + 3u] * x.w;
            }
        }
        lanes[index] = attended;
        workgroupBarrier();
        if share == 0u && place < places {
            for (var other = 1u; other < SHARES; other++) {
                attended += lanes[other * PLACES + index];
            }
            let at = base + place * QUADS + rows;
            dst[at] = scale * attended + params.keep * src[at];
        }
        workgroupBarrier();
    }
}
