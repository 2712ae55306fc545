// A matrix product in tiles: result [M,N] = a [M,K] * b [K,N], N and K counted in vectors of four. The files before this
// one say what a and b are, and what becomes of a lane's sums: depth(), place_of, load_a, load_b, first_sum, finish.
//
// A workgroup computes TY*ROWS rows x 4*TX columns. Per stage it copies 4*DEPTH columns of a and rows of b to workgroup
// memory; a lane keeps ROWS x 4 sums in named vectors, because compilers put arrays that are indexed by a loop into
// memory. Lane (ty, tx) has rows ty, ty + TY, ty + 2*TY, ...: neighbours then read different banks. In a small product,
// SLICES lanes share a block: each takes every SLICES-th step of the depth, and their sums are added as a tree. Lanes
// that are left over only copy. Loops inside a stage have bounds that compilers know, so that they can unroll them. Sums
// take one product at a time, which is one instruction.

const LANES = 64u;

override TX: u32 = 8;
override ROWS: u32 = 4; // 4, 8 or 9
override DEPTH: u32 = 4;
override SLICES: u32 = 1; // divides DEPTH
override TY: u32 = LANES / (TX * SLICES);
override TILE_ROWS: u32 = TY * ROWS;
// Odd, so that the rows of a start in different banks.
override PITCH: u32 = DEPTH | 1u;
override A_SIZE: u32 = TILE_ROWS * PITCH;
// The tree over slices needs half a workgroup's sums.
override B_SIZE: u32 = max(4 * DEPTH * TX, LANES / 2);
// Vectors of a and blocks of b in a stage, and how often all lanes copy one.
override A_COUNT: u32 = TILE_ROWS * DEPTH;
override B_COUNT: u32 = DEPTH * TX;
override A_PASSES: u32 = (A_COUNT + LANES - 1) / LANES;
override B_PASSES: u32 = (B_COUNT + LANES - 1) / LANES;

var<workgroup> staged_a: array<vec4f, A_SIZE>;
var<workgroup> staged_b: array<vec4f, B_SIZE>;
var<workgroup> places: array<vec4i, TILE_ROWS>;

// The tree's sum over slices, in the lanes of slice 0; through the memory of staged values, which nothing reads then.
fn summed(own: vec4f, lane: u32) -> vec4f {
    if SLICES == 1u { return own; }
    var sum = own;
    let block = TX * TY;
    for (var width = SLICES / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane >= width * block && lane < 2u * width * block { staged_b[lane - width * block] = sum; }
        workgroupBarrier();
        if lane < width * block { sum += staged_b[lane]; }
    }
    return sum;
}

@compute @workgroup_size(64)
fn product(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = index_of(group, groups, 0u, 1u) * TILE_ROWS;
    let first_column = group.z * TX;
    let slice = min(lane / (TX * TY), SLICES - 1u);
    let ty = lane / TX % TY;
    let tx = lane % TX;
    let column = first_column + tx;
    for (var i = lane; i < TILE_ROWS; i += LANES) { places[i] = place_of(first_row + i); }

    var c0 = select(vec4f(), first_sum(column), slice == 0u); var c1 = c0; var c2 = c0; var c3 = c0;
    var c4 = c0; var c5 = c0; var c6 = c0; var c7 = c0; var c8 = c0;
    let end = depth();
    for (var k = 0u; k < end; k += DEPTH) {
        workgroupBarrier();
        for (var i = 0u; i < A_PASSES; i++) {
            let number = i * LANES + lane;
            if A_COUNT % LANES != 0u && number >= A_COUNT { continue; }
            let row = number / DEPTH;
            let step = number % DEPTH;
            staged_a[row * PITCH + step] = load_a(places[row], k + step);
        }
        for (var i = 0u; i < B_PASSES; i++) {
            let number = i * LANES + lane;
            if B_COUNT % LANES != 0u && number >= B_COUNT { continue; }
            let step = number / TX;
            let across = number % TX;
            let block = load_b(k + step, first_column + across);
            let at = 4u * step * TX + across;
            staged_b[at] = block[0];
            staged_b[at + TX] = block[1];
            staged_b[at + 2u * TX] = block[2];
            staged_b[at + 3u * TX] = block[3];
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH / SLICES; i++) {
            let step = i * SLICES + slice;
            let at = 4u * step * TX + tx;
            let b0 = staged_b[at];
            let b1 = staged_b[at + TX];
            let b2 = staged_b[at + 2u * TX];
            let b3 = staged_b[at + 3u * TX];
            let row = ty * PITCH + step;
            let down = TY * PITCH;
            var a = staged_a[row];
            c0 += a.x * b0; c0 += a.y * b1; c0 += a.z * b2; c0 += a.w * b3;
            a = staged_a[row + down];
            c1 += a.x * b0; c1 += a.y * b1; c1 += a.z * b2; c1 += a.w * b3;
            a = staged_a[row + 2u * down];
            c2 += a.x * b0; c2 += a.y * b1; c2 += a.z * b2; c2 += a.w * b3;
            a = staged_a[row + 3u * down];
            c3 += a.x * b0; c3 += a.y * b1; c3 += a.z * b2; c3 += a.w * b3;
            if ROWS > 4u {
                a = staged_a[row + 4u * down];
                c4 += a.x * b0; c4 += a.y * b1; c4 += a.z * b2; c4 += a.w * b3;
                a = staged_a[row + 5u * down];
                c5 += a.x * b0; c5 += a.y * b1; c5 += a.z * b2; c5 += a.w * b3;
                a = staged_a[row + 6u * down];
                c6 += a.x * b0; c6 += a.y * b1; c6 += a.z * b2; c6 += a.w * b3;
                a = staged_a[row + 7u * down];
                c7 += a.x * b0; c7 += a.y * b1; c7 += a.z * b2; c7 += a.w * b3;
            }
            if ROWS > 8u {
                a = staged_a[row + 8u * down];
                c8 += a.x * b0; c8 += a.y * b1; c8 += a.z * b2; c8 += a.w * b3;
            }
        }
    }
    c0 = summed(c0, lane);
    c1 = summed(c1, lane);
    c2 = summed(c2, lane);
    c3 = summed(c3, lane);
    if ROWS > 4u {
        c4 = summed(c4, lane);
        c5 = summed(c5, lane);
        c6 = summed(c6, lane);
        c7 = summed(c7, lane);
    }
    if ROWS > 8u { c8 = summed(c8, lane); }
    if lane < TX * TY { finish(first_row + ty, column, c0, c1, c2, c3, c4, c5, c6, c7, c8); }
}
