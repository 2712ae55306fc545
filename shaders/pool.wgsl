// Max-pooling, NHWC: x [N,H,W,C] -> y [N,OH,OW,C] and winner [N,OH,OW,C], the winner's place iy*W+ix in its plane.
// Padding is skipped; the first maximum in row-major order wins, and a NaN wins over everything, so that it shows.
// Kernel taps are kh x kw; a window always holds at least one real element (the network's shape rules see to it).

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, kh: u32, kw: u32,
    stride_y: u32, stride_x: u32, pad_y: u32, pad_x: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read_write> forward_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> forward_winner: array<u32>;

// Four channels an invocation: the index arithmetic, full of divisions, is done once for them.
struct Place { n: u32, y: u32, x: u32, c: u32, exists: bool }

fn place(group: vec3u, groups: vec3u, lane: u32, height: u32, width: u32) -> Place {
    let blocks = (p.c + 3u) / 4u;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let pixel = i / blocks;
    let row = pixel / width;
    let n = row / height;
    return Place(n, row - n * height, pixel - row * width, (i - pixel * blocks) * 4u, n < p.n);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let o = place(group, groups, lane, p.oh, p.ow);
    if !o.exists { return; }
    // The window clipped to the image: [y0, y1) x [x0, x1).
    let y0 = u32(max(i32(o.y * p.stride_y) - i32(p.pad_y), 0));
    let x0 = u32(max(i32(o.x * p.stride_x) - i32(p.pad_x), 0));
    let y1 = min(o.y * p.stride_y + p.kh - p.pad_y, p.h);
    let x1 = min(o.x * p.stride_x + p.kw - p.pad_x, p.w);
    let plane = o.n * p.h * p.w;
    let out = ((o.n * p.oh + o.y) * p.ow + o.x) * p.c;
    for (var c = o.c; c < min(o.c + 4u, p.c); c++) {
        var best = forward_x[(plane + y0 * p.w + x0) * p.c + c];
        var winner = y0 * p.w + x0;
        for (var y = y0; y < y1; y++) {
            for (var x = x0; x < x1; x++) {
                let v = forward_x[(plane + y * p.w + x) * p.c + c];
                if v > best || is_nan(v) && !is_nan(best) {
                    best = v;
                    winner = y * p.w + x;
                }
            }
        }
        forward_y[out + c] = best;
        forward_winner[out + c] = winner;
    }
}

// By bit pattern: a driver may assume that no float is a NaN.
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// ---- backward: each input gathers the gradients of the windows that it won ----
@group(0) @binding(1) var<storage, read> backward_dy: array<f32>;
@group(0) @binding(2) var<storage, read> backward_winner: array<u32>;
@group(0) @binding(3) var<storage, read_write> backward_dx: array<f32>;

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane, p.h, p.w);
    if !i.exists { return; }
    // Windows that cover row y: oy*stride <= y+pad < oy*stride+kh; likewise for columns.
    let oy0 = first_window(i.y + p.pad_y, p.kh, p.stride_y);
    let ox0 = first_window(i.x + p.pad_x, p.kw, p.stride_x);
    let oy1 = min((i.y + p.pad_y) / p.stride_y + 1u, p.oh);
    let ox1 = min((i.x + p.pad_x) / p.stride_x + 1u, p.ow);
    let place = i.y * p.w + i.x;
    let at = (i.n * p.h * p.w + place) * p.c;
    for (var c = i.c; c < min(i.c + 4u, p.c); c++) {
        var sum = 0.0;
        for (var oy = oy0; oy < oy1; oy++) {
            for (var ox = ox0; ox < ox1; ox++) {
                let o = ((i.n * p.oh + oy) * p.ow + ox) * p.c + c;
                if backward_winner[o] == place {
                    sum += backward_dy[o];
                }
            }
        }
        backward_dx[at + c] = sum;
    }
}

// The smallest o with o*stride + k > at.
fn first_window(at: u32, k: u32, stride: u32) -> u32 {
    if at < k { return 0u; }
    return (at - k) / stride + 1u;
}
