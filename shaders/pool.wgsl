// Max-pooling, NHWC: x [N,H,W,C] -> y [N,OH,OW,C] and winner [N,OH,OW,C], the winner's place iy*W+ix in its plane.
// Padding is skipped; the first maximum in row-major order wins, and a NaN wins over everything, so that it shows.
// Kernel taps are kh x kw; a window always holds at least one real element (the network's shape rules see to it).
//
// With `relu`, x is what a ReLU before the pooling would take: y is the pooling of max(x, 0), a winner that this ReLU
// passes no gradient to carries BLOCKED, and backward gives the gradient of x.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, kh: u32, kw: u32,
    stride_y: u32, stride_x: u32, pad_y: u32, pad_x: u32,
    relu: u32, reserved0: u32, reserved1: u32, reserved2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// Whether inputs are read from textures, which hold them row by row, 8,192 texels in each.
override TEXTURES: bool = false;

fn texel(i: u32) -> vec2u { return vec2u(i & 8191u, i >> 13u); }

const BLOCKED: u32 = 0x80000000u;

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

// The window of an output clipped to the image: [y0, y1) x [x0, x1).
struct Window { y0: u32, y1: u32, x0: u32, x1: u32 }

fn window_of(o: Place) -> Window {
    return Window(
        u32(max(i32(o.y * p.stride_y) - i32(p.pad_y), 0)), min(o.y * p.stride_y + p.kh - p.pad_y, p.h),
        u32(max(i32(o.x * p.stride_x) - i32(p.pad_x), 0)), min(o.x * p.stride_x + p.kw - p.pad_x, p.w),
    );
}

// The outputs whose windows cover an input: oy*stride <= y+pad < oy*stride+kh; likewise for columns.
fn windows_over(i: Place) -> Window {
    return Window(
        first_window(i.y + p.pad_y, p.kh, p.stride_y), min((i.y + p.pad_y) / p.stride_y + 1u, p.oh),
        first_window(i.x + p.pad_x, p.kw, p.stride_x), min((i.x + p.pad_x) / p.stride_x + 1u, p.ow),
    );
}

// ---- forward, any C ----
@group(0) @binding(1) var<storage, read> forward_x: array<f32>;
@group(0) @binding(2) var<storage, read_write> forward_y: array<f32>;
@group(0) @binding(3) var<storage, read_write> forward_winner: array<u32>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let o = place(group, groups, lane, p.oh, p.ow);
    if !o.exists { return; }
    let window = window_of(o);
    let plane = o.n * p.h * p.w;
    let out = ((o.n * p.oh + o.y) * p.ow + o.x) * p.c;
    let first = window.y0 * p.w + window.x0;
    for (var c = o.c; c < min(o.c + 4u, p.c); c++) {
        var best = forward_x[(plane + first) * p.c + c];
        var winner = first;
        for (var y = window.y0; y < window.y1; y++) {
            for (var x = window.x0; x < window.x1; x++) {
                let v = forward_x[(plane + y * p.w + x) * p.c + c];
                if v > best || (is_nan(v) && !is_nan(best)) {
                    best = v;
                    winner = y * p.w + x;
                }
            }
        }
        if p.relu == 1u {
            let bits = bitcast<u32>(best);
            let positive = bits - 1u < 0x7f800000u;
            let zero = !positive && !is_nan(best);
            winner = select(winner, first, zero) | select(BLOCKED, 0u, positive);
            best = select(best, 0.0, zero);
        }
        forward_y[out + c] = best;
        forward_winner[out + c] = winner;
    }
}

// By bit pattern, here as below: a driver may assume that no float is a NaN.
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// ---- forward_vec4: the same for C a multiple of 4 ----
@group(0) @binding(1) var<storage, read> forward_x4: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> forward_y4: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> forward_winner4: array<vec4u>;
@group(0) @binding(4) var forward_x4_texture: texture_2d<f32>;

fn load_x(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(forward_x4_texture, texel(i), 0); }
    return forward_x4[i];
}

@compute @workgroup_size(64)
fn forward_vec4(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let o = place(group, groups, lane, p.oh, p.ow);
    if !o.exists { return; }
    let window = window_of(o);
    let c4 = p.c / 4u;
    let plane = o.n * p.h * p.w * c4 + o.c / 4u;
    let first = window.y0 * p.w + window.x0;
    var best = load_x(plane + first * c4);
    var winner = vec4u(first);
    for (var y = window.y0; y < window.y1; y++) {
        for (var x = window.x0; x < window.x1; x++) {
            let at = y * p.w + x;
            let v = load_x(plane + at * c4);
            let wins = (v > best) | (are_nan(v) & !are_nan(best));
            best = select(best, v, wins);
            winner = select(winner, vec4u(at), wins);
        }
    }
    if p.relu == 1u {
        let positive = bitcast<vec4u>(best) - vec4u(1u) < vec4u(0x7f800000u);
        let zero = !positive & !are_nan(best);
        winner = select(winner, vec4u(first), zero) | select(vec4u(BLOCKED), vec4u(0u), positive);
        best = select(best, vec4f(0.0), zero);
    }
    let out = ((o.n * p.oh + o.y) * p.ow + o.x) * c4 + o.c / 4u;
    forward_y4[out] = best;
    forward_winner4[out] = winner;
}

fn are_nan(v: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

// ---- backward: dx gathers dy from every window that this place won; without `relu` BLOCKED is ignored ----
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
    let windows = windows_over(i);
    let place = i.y * p.w + i.x;
    let ignored = select(BLOCKED, 0u, p.relu == 1u);
    let at = (i.n * p.h * p.w + place) * p.c;
    for (var c = i.c; c < min(i.c + 4u, p.c); c++) {
        var sum = 0.0;
        for (var oy = windows.y0; oy < windows.y1; oy++) {
            for (var ox = windows.x0; ox < windows.x1; ox++) {
                let o = ((i.n * p.oh + oy) * p.ow + ox) * p.c + c;
                if (backward_winner[o] & ~ignored) == place {
                    sum += backward_dy[o];
                }
            }
        }
        backward_dx[at + c] = sum;
    }
}

// ---- backward_vec4: the same for C a multiple of 4 ----
@group(0) @binding(1) var<storage, read> backward_dy4: array<vec4f>;
@group(0) @binding(2) var<storage, read> backward_winner4: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> backward_dx4: array<vec4f>;
@group(0) @binding(4) var backward_dy4_texture: texture_2d<f32>;
@group(0) @binding(5) var backward_winner4_texture: texture_2d<u32>;

fn load_dy(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(backward_dy4_texture, texel(i), 0); }
    return backward_dy4[i];
}

fn load_winner(i: u32) -> vec4u {
    if TEXTURES { return textureLoad(backward_winner4_texture, texel(i), 0); }
    return backward_winner4[i];
}

@compute @workgroup_size(64)
fn backward_vec4(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = place(group, groups, lane, p.h, p.w);
    if !i.exists { return; }
    let windows = windows_over(i);
    let place = i.y * p.w + i.x;
    let ignored = select(BLOCKED, 0u, p.relu == 1u);
    let c4 = p.c / 4u;
    var sum = vec4f(0.0);
    for (var oy = windows.y0; oy < windows.y1; oy++) {
        for (var ox = windows.x0; ox < windows.x1; ox++) {
            let o = ((i.n * p.oh + oy) * p.ow + ox) * c4 + i.c / 4u;
            sum += select(vec4f(0.0), load_dy(o), (load_winner(o) & vec4u(~ignored)) == vec4u(place));
        }
    }
    backward_dx4[(i.n * p.h * p.w + place) * c4 + i.c / 4u] = sum;
}

// The smallest o with o*stride + k > at.
fn first_window(at: u32, k: u32, stride: u32) -> u32 {
    if at < k { return 0u; }
    return (at - k) / stride + 1u;
}
