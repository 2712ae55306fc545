// The weight gradient of a convolution in groups: few products for each result, so there is nothing to share in tiles. A
// workgroup computes 16 adjacent values of one split, 16 lanes each; a lane takes every sixteenth output pixel, and the
// lanes' sums are added as a tree.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

override GROUPS: u32 = 1;

const VALUES = 16u;
const SHARES = 16u;

var<workgroup> sums: array<f32, VALUES * SHARES>;

@compute @workgroup_size(256)
fn grouped(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let inputs = IC / GROUPS;
    let bias = taps() * inputs;
    let blocks = ((bias + 1u) * O + VALUES - 1u) / VALUES;
    let number = index_of(group, groups, 0u, 1u);
    let split = number / blocks;
    let value = (number - split * blocks) * VALUES + lane % VALUES;
    let k = value / O;
    let o = value % O;
    let tap = k / inputs;
    let ky = tap / KW;
    let down = i32(ky * p.dilation_y);
    let across = i32((tap - ky * KW) * p.dilation_x);
    let channel = k % inputs + o / (O / GROUPS) * inputs;
    // Empty for the last workgroups if they have no split.
    let range = range_of(split);
    var sum = 0.0;
    for (var pixel = range.x + lane / VALUES; pixel < range.y; pixel += SHARES) {
        let window = window_of(pixel, true);
        let row = u32(window.y + down);
        let column = u32(window.z + across);
        let inside = row < H && column < W && k < bias;
        let at = (u32(window.x) + row * W + column) * IC + channel;
        let factor = select(1.0, x[select(0u, at, inside)], inside);
        sum += select(0.0, factor * dy[pixel * O + o], inside || k == bias);
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var width = SHARES / 2u; width > 0u; width /= 2u) {
        if lane < width * VALUES { sums[lane] += sums[lane + width * VALUES]; }
        workgroupBarrier();
    }
    if lane < VALUES && k <= bias && range.x < range.y { partial[(split * (bias + 1u) + k) * O + o] = sums[lane]; }
}
