// Makes a batch: gathers examples from the packed bytes of the data set, crops them, and normalises to x/255 - 0.5.
//
// Images are [SH,SW,C] bytes, four per word, whole examples in up to four chunks; batch x is [N,H,W,C].
// Rows from header.valid on are zero. Crops are random while training (header.training = 1), otherwise centred or at
// header.place. gather_augmented also pads each image, and varies each training example by an elastic deformation, a
// random affine map, mirroring, and erasing a rectangle (kernels/augmentation.rs, kernels/erasing.rs).

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    source_h: u32, source_w: u32, examples_per_chunk: u32,
    // Limits of the erased rectangle's area, in pixels.
    least: u32, most: u32,
    // Limits of the affine map, in radians, as a share, in radians and in pixels; of the elastic field, in pixels.
    rotation: f32, scale: f32, shear: f32, shift: f32, elastic: f32,
    // Pixels of padding around the image.
    pad: u32,
    // The number of examples out of 2^24 that lose a rectangle.
    erase: u32,
    // One bit per class: whether its examples may be mirrored.
    flip: array<vec4u, 2>,
}

// Whether any example is mapped between pixels, is deformed, loses a rectangle; consistent with the limits.
override MOVES: bool = true;
override BENDS: bool = true;
override ERASES: bool = true;

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: Header;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> chunk0: array<u32>;
@group(0) @binding(4) var<storage, read> chunk1: array<u32>;
@group(0) @binding(5) var<storage, read> chunk2: array<u32>;
@group(0) @binding(6) var<storage, read> chunk3: array<u32>;
// For gather.
@group(0) @binding(7) var<storage, read_write> x_out: array<f32>;
// For gather_augmented.
@group(0) @binding(7) var<storage, read> labels: array<u32>;
@group(0) @binding(8) var<storage, read_write> x_varied: array<f32>;

// The common place of an invocation's values: [first, end) of row y of x's example n, stored at x[out].
struct Place {
    n: u32, y: u32, first: u32, end: u32, out: u32,
    // The example's chunk, and its first byte there.
    chunk: u32, byte: u32,
    // Upper left corner of the crop, relative to that of the padded image.
    crop: vec2u,
}

// The bit of header.place above the two groups of fifteen bits for row and column.
const MIRRORED = 1u << 30u;
const PLACED = 1u << 31u;

// The number of row n in the whole batch, which all random draws use.
fn global_row(n: u32) -> u32 { return header.first_row + n; }

fn corner(n: u32, pad: u32) -> vec2u {
    let spare = vec2u(p.source_h - p.h, p.source_w - p.w) + 2u * pad;
    if header.training != 0u { return pcg3d(vec3u(header.seed, header.step, global_row(n))).xy % (spare + 1u); }
    let place = header.place;
    if (place & PLACED) != 0u { return vec2u((place >> 15u) & 0x7fffu, place & 0x7fffu); }
    return spare / 2u;
}

// An invocation computes four values of one image row, which share the index arithmetic with its many divisions.
// A place beyond the end of the batch has n >= p.n.
fn place(group: vec3u, groups: vec3u, lane: u32, pad: u32) -> Place {
    var at: Place;
    let values = p.w * p.c;
    let blocks = (values + 3u) / 4u;
    let i = index_of(group, groups, lane, 64u);
    let row = i / blocks;
    at.n = row / p.h;
    if at.n >= p.n { return at; }
    at.y = row - at.n * p.h;
    at.first = (i - row * blocks) * 4u;
    at.end = min(at.first + 4u, values);
    at.out = row * values;
    at.crop = corner(at.n, pad);
    if at.n < header.valid {
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

@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane, 0u);
    if at.n >= p.n { return; }
    if at.n >= header.valid {
        for (var j = at.first; j < at.end; j++) { x_out[at.out + j] = 0.0; }
        return;
    }
    let line = at.byte + ((at.y + at.crop.x) * p.source_w + at.crop.y) * p.c;
    for (var j = at.first; j < at.end; j++) {
        x_out[at.out + j] = byte_of(at.chunk, line + j) / 255.0 - 0.5;
    }
}

// A stream of random draws; its constant separates it from the draws of crops and from other streams.
fn draw(constant: u32, i: u32) -> vec3u {
    return pcg3d(vec3u(header.seed ^ constant, header.step, i));
}

// Whether example n is mirrored: at random if its class allows this, or as header.place says.
fn mirrored(n: u32) -> bool {
    if header.training == 0u { return (header.place & MIRRORED) != 0u; }
    let label = labels[n];
    let allowed = (p.flip[label / 128u % 2u][label / 32u % 4u] >> (label % 32u)) & 1u;
    return allowed == 1u && (draw(0x27d4eb2fu, global_row(n)).x >> 31u) == 1u;
}

// The largest integer whose square is at most v; the built-in root may be inexact.
fn whole_root(v: u32) -> u32 {
    var root = u32(sqrt(f32(v)));
    while root * root > v { root--; }
    while (root + 1u) * (root + 1u) <= v { root++; }
    return root;
}

// The rectangle that example n loses: its first row and column, and those after its last. Computed only with integers,
// so that the edges are the same on every device; kernels/erasing.rs defines it.
fn erased(n: u32) -> vec4u {
    if header.training == 0u { return vec4u(); }
    let first = draw(0x165667b1u, global_row(n));
    if (first.x >> 8u) >= p.erase { return vec4u(); }
    let second = draw(0xd3a2646cu, global_row(n));
    let area = p.least + first.y % (p.most - p.least + 1u);
    let upright = (first.z >> 31u) == 1u;
    let image = select(vec2u(p.w, p.h), vec2u(p.h, p.w), upright);
    let longer = whole_root(area * 256u / (77u + (first.z & 0x7fffffffu) % 180u));
    let length = clamp(longer, (area + image.y - 1u) / image.y, image.x);
    let sides = vec2u(length, area / length);
    let size = select(sides.yx, sides, upright);
    let start = second.xy % (vec2u(p.h, p.w) - size + 1u);
    return vec4u(start, start + size);
}

// Taylor polynomials with an error of at most 6e-8 up to a quarter turn; the built-in functions may be off by 5e-4.
fn sin_cos(angle: f32) -> vec2f {
    let s = angle * angle;
    let sin = 1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0
        + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0 + s * (-1.0 / 39916800.0)))));
    let cos = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0
        + s * (1.0 / 40320.0 + s * (-1.0 / 3628800.0 + s * (1.0 / 479001600.0))))));
    return vec2f(angle * sin, cos);
}

// The upper 24 bits as values uniformly distributed over [-1, 1).
fn even(words: vec3u) -> vec3f {
    return vec3f(words >> vec3u(8u)) / 8388608.0 - 1.0;
}

// The numbers of cells and of control points along each side of the image.
const CELLS = 4u;
const POINTS = 7u;

// The weights of the four control points from cell `at * CELLS / size` on, of cubic B-splines.
fn spline(at: u32, size: u32) -> vec4f {
    let t = f32(at * CELLS % size) / f32(size);
    let s = 1.0 - t;
    let ends = vec2f(s, t);
    let middle = (4.0 - 3.0 * ends.yx * ends.yx * (2.0 - ends.yx)) / 6.0;
    let outer = ends * ends * ends / 6.0;
    return vec4f(outer.x, middle.x, middle.y, outer.y);
}

// The displacement (down, right) of row `row` of the padded image by the control points of a column.
fn moved(n: u32, row: u32, column: u32) -> vec2f {
    let rows = p.source_h + 2u * p.pad;
    let first = row * CELLS / rows;
    let shares = spline(row, rows);
    var sum = vec2f();
    for (var i = 0u; i < 4u; i++) {
        let point = (global_row(n) * POINTS + first + i) * POINTS + column;
        sum += shares[i] * even(draw(0x85ebca6bu, point)).xy;
    }
    return sum * p.elastic;
}

// A pixel of the image; 0 outside.
fn pixel(at: Place, row: i32, column: i32, channel: u32) -> f32 {
    if row < 0 || row >= i32(p.source_h) || column < 0 || column >= i32(p.source_w) { return 0.0; }
    return byte_of(at.chunk, at.byte + (u32(row) * p.source_w + u32(column)) * p.c + channel);
}

// A value of the unmapped image.
fn copied(at: Place, column: u32, channel: u32) -> f32 {
    let source = vec2i(at.crop + vec2u(at.y, column)) - i32(p.pad);
    return pixel(at, source.x, source.y, channel) / 255.0 - 0.5;
}

// State for computing values of row v of a deformed and mapped example, at consecutive columns.
struct Map {
    // Pairs are (down, right).
    row_y: vec2f, row_x: vec2f, middle: vec2f, start: vec2f,
    // Displacements by the control columns around the current pixel; they only change from cell to cell.
    cell: u32, columns: array<vec2f, 4>,
}

// The inverse of these steps: scale, shear, rotate around the image's centre, shift, crop.
fn map(at: Place) -> Map {
    let first = even(draw(0x5bd1e995u, global_row(at.n)));
    let second = even(draw(0x9e3779b9u, global_row(at.n)));
    let rotation = sin_cos(first.x * p.rotation);
    let shear = sin_cos(first.y * p.shear);
    let slant = shear.x / shear.y;
    let height = 1.0 + first.z * p.scale;
    let width = 1.0 + second.x * p.scale;
    var m: Map;
    m.row_y = vec2f(rotation.y, -rotation.x) / height;
    m.row_x = vec2f(rotation.x - slant * rotation.y, rotation.y + slant * rotation.x) / width;
    m.middle = vec2f(f32(p.source_h - 1u), f32(p.source_w - 1u)) / 2.0;
    m.start = vec2f(vec2i(at.crop) - i32(p.pad)) - m.middle - second.yz * p.shift;
    m.cell = 0xffffffffu;
    return m;
}

fn mapped(at: Place, m: ptr<function, Map>, column: u32, channel: u32) -> f32 {
    var v = m.start + vec2f(f32(at.y), f32(column));
    if BENDS {
        let place = at.crop.y + column;
        let across = p.source_w + 2u * p.pad;
        if place * CELLS / across != m.cell {
            m.cell = place * CELLS / across;
            for (var i = 0u; i < 4u; i++) { m.columns[i] = moved(at.n, at.crop.x + at.y, m.cell + i); }
        }
        let shares = spline(place, across);
        for (var i = 0u; i < 4u; i++) { v += shares[i] * m.columns[i]; }
    }
    let source = m.middle + vec2f(dot(m.row_y, v), dot(m.row_x, v));
    let corner = floor(source);
    let share = source - corner;
    let top = i32(corner.x);
    let left = i32(corner.y);
    let upper = mix(pixel(at, top, left, channel), pixel(at, top, left + 1, channel), share.y);
    let lower = mix(pixel(at, top + 1, left, channel), pixel(at, top + 1, left + 1, channel), share.y);
    return mix(upper, lower, share.x) / 255.0 - 0.5;
}

@compute @workgroup_size(64)
fn gather_augmented(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = place(group, groups, lane, p.pad);
    if at.n >= p.n { return; }
    if at.n >= header.valid {
        for (var j = at.first; j < at.end; j++) { x_varied[at.out + j] = 0.0; }
        return;
    }
    let flipped = mirrored(at.n);
    var hole = vec4u();
    if ERASES { hole = erased(at.n); }
    var m: Map;
    if MOVES { m = map(at); }
    for (var j = at.first; j < at.end; j++) {
        let column = j / p.c;
        let channel = j - column * p.c;
        let seen = select(column, p.w - 1u - column, flipped);
        var value = 0.0;
        if MOVES && header.training != 0u {
            value = mapped(at, &m, seen, channel);
        } else {
            value = copied(at, seen, channel);
        }
        let inside = at.y >= hole.x && at.y < hole.z && column >= hole.y && column < hole.w;
        x_varied[at.out + j] = select(value, 0.0, inside);
    }
}
