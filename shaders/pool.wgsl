// Max-pooling, NHWC: x [N,H,W,C] -> y [N,OH,OW,C] and winner [N,OH,OW,C], the winner's place iy*W+ix in its plane.
// Padding is skipped; the first maximum in row-major order wins; a NaN wins over everything, so that it is visible.
// Kernel taps are kh x kw. The network's shape rules guarantee that every window has at least one element of the image.
//
// With `relu`, x is the input of a ReLU before the pooling: y is the pooling of max(x, 0), a winner to which this ReLU
// passes no gradient is marked with BLOCKED, and backward computes the gradient of x.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    oh: u32, ow: u32, kh: u32, kw: u32,
    stride_y: u32, stride_x: u32, pad_y: u32, pad_x: u32,
    relu: u32, reserved0: u32, reserved1: u32, reserved2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

const BLOCKED: u32 = 0x80000000u;

// The place of an invocation's channels; c counts groups of LANES.
struct Place { n: u32, y: u32, x: u32, c: u32, exists: bool }

fn place(group: vec3u, groups: vec3u, lane: u32, height: u32, width: u32) -> Place {
    let blocks = p.c / LANES;
    let i = index_of(group, groups, lane, 64u);
    let pixel = i / blocks;
    let row = pixel / width;
    let n = row / height;
    return Place(n, row - n * height, pixel - row * width, i - pixel * blocks, n < p.n);
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

// Compares bits, because a driver may assume that no float is a NaN.
fn is_nan(v: Real) -> Flag {
    return (bitcast<Word>(v) & Word(0x7fffffffu)) > Word(0x7f800000u);
}

// ---- forward ----
@group(0) @binding(2) var<storage, read_write> y: array<Real>;
@group(0) @binding(3) var<storage, read_write> winner: array<Word>;

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let o = place(group, groups, lane, p.oh, p.ow);
    if !o.exists { return; }
    let window = window_of(o);
    let channels = p.c / LANES;
    let plane = o.n * p.h * p.w * channels + o.c;
    let first = window.y0 * p.w + window.x0;
    var best = load_x(plane + first * channels);
    var place = Word(first);
    for (var row = window.y0; row < window.y1; row++) {
        for (var column = window.x0; column < window.x1; column++) {
            let at = row * p.w + column;
            let v = load_x(plane + at * channels);
            let wins = (v > best) | (is_nan(v) & !is_nan(best));
            best = select(best, v, wins);
            place = select(place, Word(at), wins);
        }
    }
    if p.relu == 1u {
        let positive = bitcast<Word>(best) - Word(1u) < Word(0x7f800000u);
        let zero = !positive & !is_nan(best);
        place = select(place, Word(first), zero) | select(Word(BLOCKED), Word(0u), positive);
        best = select(best, Real(0.0), zero);
    }
    let out = ((o.n * p.oh + o.y) * p.ow + o.x) * channels + o.c;
    y[out] = best;
    winner[out] = place;
}

// ---- backward: dx gathers dy from every window whose winner is this place; without `relu`, BLOCKED is ignored ----
@group(0) @binding(3) var<storage, read_write> dx: array<Real>;

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
    let channels = p.c / LANES;
    var sum = Real(0.0);
    for (var oy = windows.y0; oy < windows.y1; oy++) {
        for (var ox = windows.x0; ox < windows.x1; ox++) {
            let o = ((i.n * p.oh + oy) * p.ow + ox) * channels + i.c;
            sum += select(Real(0.0), load_dy(o), (load_winner(o) & Word(~ignored)) == Word(place));
        }
    }
    dx[(i.n * p.h * p.w + place) * channels + i.c] = sum;
}

// The smallest o with o*stride + k > at.
fn first_window(at: u32, k: u32, stride: u32) -> u32 {
    if at < k { return 0u; }
    return (at - k) / stride + 1u;
}
