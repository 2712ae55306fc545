// A weight gradient for few input channels, where a product's tiles would copy more than they compute: rows of the result
// are taps x channels, and the last one is the bias. The files before this one say what dy and the result are: load_dy,
// store.
//
// A workgroup takes bands of BAND output rows of an image, one after another, until its split ends. It copies the input
// rows under a band to workgroup memory, with zeros around the image. A block of the result is one row of taps of a
// channel (or the bias) x 8 filters; a lane computes a block over one output row of the band, four pixels at a time, and
// at the end the lanes of a block add their sums in order.

@group(0) @binding(1) var<storage, read> x: array<f32>;

const LANES = 64u;

override BAND: u32 = 1; // output rows; divides the image's and the split's
override KH: u32 = 1;
override PAIRS: u32 = (O + 7) / 8;
override BLOCKS: u32 = (KH * C + 1) * PAIRS;
override INPUT_ROWS: u32 = BAND + KH - 1;
// Vectors of four adjacent columns in a row, one more than the last pixels begin at.
override ACROSS: u32 = (OW + 3) / 4 + 1;
override X_SIZE: u32 = INPUT_ROWS * C * ACROSS;

var<workgroup> staged: array<vec4f, X_SIZE>;
var<workgroup> sums: array<vec4f, LANES>;

fn load_x(n: u32, row: i32, column: i32, channel: u32) -> f32 {
    let inside = row >= 0 && row < i32(H) && column >= 0 && column < i32(W);
    let at = ((n * H + u32(row)) * W + u32(column)) * C + channel;
    return select(0.0, x[select(0u, at, inside)], inside);
}

// The sum over the lanes of a block, in its first lane.
fn summed(own: vec4f, lane: u32) -> vec4f {
    workgroupBarrier();
    sums[lane] = own;
    workgroupBarrier();
    var sum = own;
    if lane < BLOCKS {
        for (var row = 1u; row < BAND; row++) { sum += sums[lane + row * BLOCKS]; }
    }
    return sum;
}

@compute @workgroup_size(64)
fn band(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let split = index_of(group, groups, 0u, 1u);
    // Empty for the last workgroups if they have no split.
    let range = range_of(split);
    let block = lane % BLOCKS;
    let own_row = lane / BLOCKS;
    let tap = block / PAIRS;
    let column = block % PAIRS * 2u;
    let is_bias = tap == KH * C;
    let ky = tap / C;
    let channel = tap % C;

    // By tap: sums of the lower and the higher four filters.
    var l0 = vec4f(); var l1 = vec4f(); var l2 = vec4f(); var l3 = vec4f(); var l4 = vec4f();
    var h0 = vec4f(); var h1 = vec4f(); var h2 = vec4f(); var h3 = vec4f(); var h4 = vec4f();
    for (var first = range.x; first < range.y; first += BAND * OW) {
        let n = first / (OH * OW);
        let top = i32(first / OW % OH) - i32(p.pad_y);
        workgroupBarrier();
        for (var i = lane; i < X_SIZE; i += LANES) {
            let row = top + i32(i / (C * ACROSS));
            let of_channel = i / ACROSS % C;
            let left = i32(i % ACROSS * 4u) - i32(p.pad_x);
            staged[i] = vec4f(load_x(n, row, left, of_channel), load_x(n, row, left + 1, of_channel),
                load_x(n, row, left + 2, of_channel), load_x(n, row, left + 3, of_channel));
        }
        workgroupBarrier();
        if own_row < BAND {
            let at = (min(own_row + ky, INPUT_ROWS - 1u) * C + channel) * ACROSS;
            let pixel = first + own_row * OW;
            var u = select(staged[at], vec4f(1.0), is_bias);
            for (var i = 0u; i + 1u < ACROSS; i++) {
                let v = select(staged[at + i + 1u], vec4f(1.0), is_bias);
                let here = pixel + 4u * i;
                let left = OW - 4u * i;
                var low = load_dy(here, true, column);
                var high = load_dy(here, true, column + 1u);
                l0 += u.x * low; l1 += u.y * low; l2 += u.z * low; l3 += u.w * low; l4 += v.x * low;
                h0 += u.x * high; h1 += u.y * high; h2 += u.z * high; h3 += u.w * high; h4 += v.x * high;
                low = load_dy(here + 1u, left > 1u, column);
                high = load_dy(here + 1u, left > 1u, column + 1u);
                l0 += u.y * low; l1 += u.z * low; l2 += u.w * low; l3 += v.x * low; l4 += v.y * low;
                h0 += u.y * high; h1 += u.z * high; h2 += u.w * high; h3 += v.x * high; h4 += v.y * high;
                low = load_dy(here + 2u, left > 2u, column);
                high = load_dy(here + 2u, left > 2u, column + 1u);
                l0 += u.z * low; l1 += u.w * low; l2 += v.x * low; l3 += v.y * low; l4 += v.z * low;
                h0 += u.z * high; h1 += u.w * high; h2 += v.x * high; h3 += v.y * high; h4 += v.z * high;
                low = load_dy(here + 3u, left > 3u, column);
                high = load_dy(here + 3u, left > 3u, column + 1u);
                l0 += u.w * low; l1 += v.x * low; l2 += v.y * low; l3 += v.z * low; l4 += v.w * low;
                h0 += u.w * high; h1 += v.x * high; h2 += v.y * high; h3 += v.z * high; h4 += v.w * high;
                u = v;
            }
        }
    }
    let writes = lane < BLOCKS && range.x < range.y;
    let row = select((ky * KW) * C + channel, inputs(), is_bias);
    write(split, row, column, summed(l0, lane), summed(h0, lane), writes);
    if KW > 1u { write(split, row + C, column, summed(l1, lane), summed(h1, lane), writes && !is_bias); }
    if KW > 2u { write(split, row + 2u * C, column, summed(l2, lane), summed(h2, lane), writes && !is_bias); }
    if KW > 3u { write(split, row + 3u * C, column, summed(l3, lane), summed(h3, lane), writes && !is_bias); }
    if KW > 4u { write(split, row + 4u * C, column, summed(l4, lane), summed(h4, lane), writes && !is_bias); }
}

fn write(split: u32, row: u32, column: u32, low: vec4f, high: vec4f, writes: bool) {
    if !writes { return; }
    store(split, row, column, low);
    store(split, row, column + 1u, high);
}
