// Makes a batch: gathers examples from the packed bytes of the data set, crops, and normalises to x/255 - 0.5.
//
// images are [SH,SW,C] bytes, four to a word, whole examples in up to four chunks; batch x is [N,H,W,C].
// Rows at and beyond header.valid are zero. Crops: random while training (header.training = 1), else centred.
// gather_augmented also bends each training example and sends it through a random affine map (kernels/augmentation.rs).

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    source_h: u32, source_w: u32, examples_per_chunk: u32,
    // Limits of the map, then of the field: radians, a share, radians, pixels; pixels.
    rotation: f32, scale: f32, shear: f32, shift: f32, elastic: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> chunk0: array<u32>;
@group(0) @binding(4) var<storage, read> chunk1: array<u32>;
@group(0) @binding(5) var<storage, read> chunk2: array<u32>;
@group(0) @binding(6) var<storage, read> chunk3: array<u32>;
@group(0) @binding(7) var<storage, read_write> x_out: array<f32>;

// pcg3d of Jarzynski and Olano, "Hash Functions for GPU Rendering" (2020); kernels/batch.rs has the same in Rust.
fn pcg3d(seed: vec3u) -> vec3u {
    var v = seed * 1664525u + 1013904223u;
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v ^= v >> vec3u(16u);
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    return v;
}

// What the values of one invocation have in common. They are [first, end) of row y of x's example n, stored at x[out].
struct Place {
    n: u32, y: u32, first: u32, end: u32, out: u32,
    // The example's chunk, and its first byte there.
    chunk: u32, byte: u32,
    // Upper left corner of its crop.
    crop: vec2u,
}

// Four values of one image row an invocation: the index arithmetic, full of divisions, is done once for them.
// A place at or beyond the batch's end has n >= p.n.
fn place(group: vec3u, groups: vec3u, lane: u32) -> Place {
    var at: Place;
    let values = p.w * p.c;
    let blocks = (values + 3u) / 4u;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let row = i / blocks;
    at.n = row / p.h;
    if at.n >= p.n { return at; }
    at.y = row - at.n * p.h;
    at.first = (i - row * blocks) * 4u;
    at.end = min(at.first + 4u, values);
    at.out = row * values;
    at.crop = vec2u((p.source_h - p.h) / 2u, (p.source_w - p.w) / 2u);
    if header[3] != 0u {
        let random = pcg3d(vec3u(header[2], header[0], at.n));
        at.crop = vec2u(random.x % (p.source_h - p.h + 1u), random.y % (p.source_w - p.w + 1u));
    }
    if at.n < header[1] {
        let example = indices[at.n];
        at.chunk = example / p.examples_per_chunk;
        at.byte = (example - at.chunk * p.examples_per_chunk) * p.source_h * p.source_w * p.c;
    }
    return at;
}

fn byte_of(chunk: u32, byte: u32) -> f32 {
    var word = 0u;
    if chunk == 0u {
        word = chunk0[byte / 4u];
    } else if chunk == 1u {
        word = chunk1[byte / 4u];
    } else if chunk == 2u {
        word = chunk2[byte / 4u];
    } else {
        word = chunk3[byte / 4u];
    }
    return f32((word >> (8u * (byte % 4u))) & 255u);
}

fn blank(at: Place) {
    for (var j = at.first; j < at.end; j++) { x_out[at.out + j] = 0.0; }
}

fn copy(at: Place) {
    let line = at.byte + ((at.y + at.crop.x) * p.source_w + at.crop.y) * p.c;
    for (var j = at.first; j < at.end; j++) {
        x_out[at.out + j] = byte_of(at.chunk, line + j) / 255.0 - 0.5;
    }
}

@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    if at.n >= p.n { return; }
    if at.n >= header[1] {
        blank(at);
    } else {
        copy(at);
    }
}

// Taylor's polynomials, off by at most 6e-8 up to a quarter turn; the built-in ones may be off by 5e-4.
fn sin_cos(angle: f32) -> vec2f {
    let s = angle * angle;
    let sin = 1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0
        + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0 + s * (-1.0 / 39916800.0)))));
    let cos = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0
        + s * (1.0 / 40320.0 + s * (-1.0 / 3628800.0 + s * (1.0 / 479001600.0))))));
    return vec2f(angle * sin, cos);
}

// The upper 24 bits, evenly over [-1, 1).
fn even(words: vec3u) -> vec3f {
    return vec3f(words >> vec3u(8u)) / 8388608.0 - 1.0;
}

// Cells of the grid of control points along each side of the image, and control points.
const CELLS = 4u;
const POINTS = 7u;

// Shares of the four control points from cell `at * CELLS / size` on; cubic B-splines.
fn spline(at: u32, size: u32) -> vec4f {
    let t = f32(at * CELLS % size) / f32(size);
    let s = 1.0 - t;
    let ends = vec2f(s, t);
    let middle = (4.0 - 3.0 * ends.yx * ends.yx * (2.0 - ends.yx)) / 6.0;
    let outer = ends * ends * ends / 6.0;
    return vec4f(outer.x, middle.x, middle.y, outer.y);
}

// How far the control points of a column move the image's row `row`: (down, right).
fn moved(n: u32, row: u32, column: u32) -> vec2f {
    let first = row * CELLS / p.source_h;
    let shares = spline(row, p.source_h);
    var sum = vec2f();
    for (var i = 0u; i < 4u; i++) {
        let point = (n * POINTS + first + i) * POINTS + column;
        sum += shares[i] * even(pcg3d(vec3u(header[2] ^ 0x85ebca6bu, header[0], point))).xy;
    }
    return sum * p.elastic;
}

// A pixel of the image, 0 outside.
fn pixel(at: Place, row: i32, column: i32, channel: u32) -> f32 {
    if row < 0 || row >= i32(p.source_h) || column < 0 || column >= i32(p.source_w) { return 0.0; }
    return byte_of(at.chunk, at.byte + (u32(row) * p.source_w + u32(column)) * p.c + channel);
}

@compute @workgroup_size(64)
fn gather_augmented(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane);
    if at.n >= p.n { return; }
    if at.n >= header[1] { blank(at); return; }
    if header[3] == 0u { copy(at); return; }

    // The constants keep these draws apart from the crops' and from each other.
    let first = even(pcg3d(vec3u(header[2] ^ 0x5bd1e995u, header[0], at.n)));
    let second = even(pcg3d(vec3u(header[2] ^ 0x9e3779b9u, header[0], at.n)));
    let rotation = sin_cos(first.x * p.rotation);
    let shear = sin_cos(first.y * p.shear);
    let slant = shear.x / shear.y;
    let height = 1.0 + first.z * p.scale;
    let width = 1.0 + second.x * p.scale;
    // Pairs are (down, right). The inverse of: scale, slant, rotate around the image's centre, shift, crop.
    let row_y = vec2f(rotation.y, -rotation.x) / height;
    let row_x = vec2f(rotation.x - slant * rotation.y, rotation.y + slant * rotation.x) / width;
    let middle = vec2f(f32(p.source_h - 1u), f32(p.source_w - 1u)) / 2.0;
    let start = vec2f(at.crop) - middle - second.yz * p.shift;

    // Displacements by each control column that the pixel at hand lies between; they change from cell to cell only.
    var columns: array<vec2f, 4>;
    var cell = 0xffffffffu;
    for (var j = at.first; j < at.end; j++) {
        let column = j / p.c;
        let channel = j - column * p.c;
        var v = start + vec2f(f32(at.y), f32(column));
        if p.elastic > 0.0 {
            let place = at.crop.y + column;
            if place * CELLS / p.source_w != cell {
                cell = place * CELLS / p.source_w;
                for (var i = 0u; i < 4u; i++) { columns[i] = moved(at.n, at.crop.x + at.y, cell + i); }
            }
            let shares = spline(place, p.source_w);
            for (var i = 0u; i < 4u; i++) { v += shares[i] * columns[i]; }
        }
        let source = middle + vec2f(dot(row_y, v), dot(row_x, v));
        let corner = floor(source);
        let share = source - corner;
        let top = i32(corner.x);
        let left = i32(corner.y);
        let upper = mix(pixel(at, top, left, channel), pixel(at, top, left + 1, channel), share.y);
        let lower = mix(pixel(at, top + 1, left, channel), pixel(at, top + 1, left + 1, channel), share.y);
        x_out[at.out + j] = mix(upper, lower, share.x) / 255.0 - 0.5;
    }
}
