// Average pooling, NHWC: x [N,H,W,C] -> y [N,OH,OW,C], the mean of a window's elements inside the image.
// The network's shape rules guarantee that every window has at least one such element.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, kh: u32, kw: u32,
    stride_y: u32, stride_x: u32, pad_y: u32, pad_x: u32,
    reserved0: u32, reserved1: u32, reserved2: u32, reserved3: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

// An invocation computes four channels, which share the index arithmetic with its many divisions.
struct Place { n: u32, y: u32, x: u32, c: u32, exists: bool }

fn place(group: vec3u, groups: vec3u, lane: u32, height: u32, width: u32) -> Place {
    let blocks = (p.c + 3u) / 4u;
    let i = index_of(group, groups, lane, 64u);
    let pixel = i / blocks;
    let row = pixel / width;
    let n = row / height;
    return Place(n, row - n * height, pixel - row * width, (i - pixel * blocks) * 4u, n < p.n);
}

// Elements [first, end) of a window along one axis, clipped to the image.
fn window(o: u32, stride: u32, pad: u32, k: u32, size: u32) -> vec2u {
    return vec2u(u32(max(i32(o * stride) - i32(pad), 0)), min(o * stride + k - pad, size));
}

// Windows [first, end) that cover element i of one axis: o*stride <= i+pad < o*stride+k.
fn windows_over(i: u32, stride: u32, pad: u32, k: u32, outputs: u32) -> vec2u {
    let last = i + pad;
    let first = select(0u, (last - k) / stride + 1u, last >= k);
    return vec2u(first, min(last / stride + 1u, outputs));
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let o = place(group, groups, lane, p.oh, p.ow);
    if !o.exists { return; }
    let rows = window(o.y, p.stride_y, p.pad_y, p.kh, p.h);
    let columns = window(o.x, p.stride_x, p.pad_x, p.kw, p.w);
    let count = f32((rows.y - rows.x) * (columns.y - columns.x));
    let out = ((o.n * p.oh + o.y) * p.ow + o.x) * p.c;
    for (var c = o.c; c < min(o.c + 4u, p.c); c++) {
        var sum = 0.0;
        for (var y = rows.x; y < rows.y; y++) {
            for (var x = columns.x; x < columns.y; x++) {
                sum += source[((o.n * p.h + y) * p.w + x) * p.c + c];
            }
        }
        result[out + c] = sum / count;
    }
}

// ---- windows of more than 256 elements, in two passes: a workgroup of `forward_parts` adds a chunk of a window's
// elements for a tile of at most 16 adjacent channels, `height` elements at a time; one of `forward_total` adds the
// chunks. No lane takes more than 256 of either: an image has at most 2^28 values ----
@group(0) @binding(3) var<storage, read_write> parts: array<f32>; // [N,OH,OW,chunks,C]

fn tiles() -> u32 { return (p.c + 15u) / 16u; }
fn tile_width() -> u32 { return (p.c + tiles() - 1u) / tiles(); }
fn tile_height() -> u32 { return 256u / tile_width(); }

// The elements of a window in a chunk; kernels/avg_pool.rs has the same.
fn chunk_size() -> u32 {
    let height = tile_height();
    return height * max(32u, (p.kh * p.kw + 256u * height * height - 1u) / (256u * height * height));
}

fn chunks() -> u32 { return (p.kh * p.kw + chunk_size() - 1u) / chunk_size(); }

// A lane's output pixel and channel, and its first element or chunk.
struct Lane { o: u32, c: u32, first: u32, exists: bool }

fn lane_of_tile(tile: u32, lane: u32) -> Lane {
    let o = tile / tiles();
    let first = lane / tile_width();
    let c = (tile - o * tiles()) * tile_width() + lane - first * tile_width();
    return Lane(o, c, first, o < p.n * p.oh * p.ow && c < p.c && first < tile_height());
}

var<workgroup> lane_sums: array<f32, 256>;

// Adds the rows of a tile's lanes by a tree; the sums are in the first row.
fn added_rows(lane: u32, own: f32) -> f32 {
    var sum = own;
    lane_sums[lane] = sum;
    for (var left = tile_height(); left > 1u; left = (left + 1u) / 2u) {
        let half = (left + 1u) / 2u;
        workgroupBarrier();
        if lane < (left - half) * tile_width() {
            sum += lane_sums[lane + half * tile_width()];
            lane_sums[lane] = sum;
        }
    }
    return sum;
}

// The rows [x, y) and columns [z, w) of output pixel o.
fn window_of(o: u32) -> vec4u {
    let x = o % p.ow;
    let y = o / p.ow % p.oh;
    return vec4u(window(y, p.stride_y, p.pad_y, p.kh, p.h), window(x, p.stride_x, p.pad_x, p.kw, p.w));
}

@compute @workgroup_size(256)
fn forward_parts(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let part = index_of(group, groups, 0u, 1u);
    let chunk = part % chunks();
    let at = lane_of_tile(part / chunks(), lane);
    var own = 0.0;
    if at.exists {
        let own_window = window_of(at.o);
        let width = own_window.w - own_window.z;
        let image = at.o / (p.oh * p.ow) * p.h;
        let end = min((own_window.y - own_window.x) * width, (chunk + 1u) * chunk_size());
        for (var i = chunk * chunk_size() + at.first; i < end; i += tile_height()) {
            let y = i / width;
            let pixel = (image + own_window.x + y) * p.w + own_window.z + i - y * width;
            own += source[pixel * p.c + at.c];
        }
    }
    let sum = added_rows(lane, own);
    if at.exists && at.first == 0u { parts[(at.o * chunks() + chunk) * p.c + at.c] = sum; }
}

@compute @workgroup_size(256)
fn forward_total(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = lane_of_tile(index_of(group, groups, 0u, 1u), lane);
    var own = 0.0;
    if at.exists {
        for (var chunk = at.first; chunk < chunks(); chunk += tile_height()) {
            own += parts[(at.o * chunks() + chunk) * p.c + at.c];
        }
    }
    let sum = added_rows(lane, own);
    if at.exists && at.first == 0u {
        let own_window = window_of(at.o);
        let count = (own_window.y - own_window.x) * (own_window.w - own_window.z);
        result[at.o * p.c + at.c] = sum / f32(count);
    }
}

// Every element gathers from the windows that cover it.
@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane, p.h, p.w);
    if !i.exists { return; }
    let down = windows_over(i.y, p.stride_y, p.pad_y, p.kh, p.oh);
    let across = windows_over(i.x, p.stride_x, p.pad_x, p.kw, p.ow);
    let out = ((i.n * p.h + i.y) * p.w + i.x) * p.c;
    for (var c = i.c; c < min(i.c + 4u, p.c); c++) {
        var sum = 0.0;
        for (var oy = down.x; oy < down.y; oy++) {
            let rows = window(oy, p.stride_y, p.pad_y, p.kh, p.h);
            for (var ox = across.x; ox < across.y; ox++) {
                let columns = window(ox, p.stride_x, p.pad_x, p.kw, p.w);
                let count = f32((rows.y - rows.x) * (columns.y - columns.x));
                sum += source[((i.n * p.oh + oy) * p.ow + ox) * p.c + c] / count;
            }
        }
        result[out + c] = sum;
    }
}
