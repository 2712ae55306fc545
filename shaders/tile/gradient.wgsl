// A weight gradient in tiles: for each split of the reduction, result [K+1,O] = aᵀ * dy, a [M,K] with one more column of
// ones, whose row of the result is the bias gradient. M is long, K and O are short. The file before this one says what
// a and dy are: inputs(), Column, column_of, load_a, load_dy, range_of, store.
//
// A workgroup computes 4*TY*ROWS rows x 4*TX columns of one split. Per stage it copies STEPS rows of a and dy to
// workgroup memory. If a tile has fewer blocks than the workgroup has lanes, SLICES lanes share a block: each takes
// every SLICES-th step, and their sums are added as a tree, for which A_SIZE must be at least 2*LANES. Lanes that are
// left over only copy. Loops have bounds that compilers know, so that they can unroll them.

const LANES = 64u;

override TX: u32 = 8;
override TY: u32 = 8;
override ROWS: u32 = 1; // vectors of rows of a lane: 1 or 2
override STEPS: u32 = 16;
override SLICES: u32 = 1; // divides STEPS
override WIDTH: u32 = TY * ROWS; // vectors of a staged row of a
override A_SIZE: u32 = STEPS * WIDTH;
override B_SIZE: u32 = STEPS * TX;
// Steps of a and of dy that all lanes copy at once.
override A_AT_ONCE: u32 = LANES / WIDTH;
override B_AT_ONCE: u32 = LANES / TX;
override A_PASSES: u32 = (STEPS + A_AT_ONCE - 1) / A_AT_ONCE;
override B_PASSES: u32 = (STEPS + B_AT_ONCE - 1) / B_AT_ONCE;

var<workgroup> staged_a: array<vec4f, A_SIZE>;
var<workgroup> staged_b: array<vec4f, B_SIZE>;
// The tree's sum of every block, in the lanes of slice 0; through the memory of staged values, which nothing reads then.
fn summed(own: mat4x4f, lane: u32) -> mat4x4f {
    var sum = own;
    let block = TX * TY;
    for (var width = SLICES / 2u; width > 0u; width /= 2u) {
        if lane >= width * block && lane < 2u * width * block {
            let at = 4u * (lane - width * block);
            staged_a[at] = sum[0];
            staged_a[at + 1u] = sum[1];
            staged_a[at + 2u] = sum[2];
            staged_a[at + 3u] = sum[3];
        }
        workgroupBarrier();
        if lane < width * block {
            let at = 4u * lane;
            sum = mat4x4f(sum[0] + staged_a[at], sum[1] + staged_a[at + 1u], sum[2] + staged_a[at + 2u],
                sum[3] + staged_a[at + 3u]);
        }
        workgroupBarrier();
    }
    return sum;
}

@compute @workgroup_size(64)
fn gradient(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles = (inputs() / 4u + WIDTH) / WIDTH;
    let number = index_of(group, groups, 0u, 1u);
    let split = number / tiles;
    let first_row = (number - split * tiles) * WIDTH;
    let first_column = group.z * TX;
    // Empty for the last workgroups if they have no split.
    let range = range_of(split);

    let slice = min(lane / (TX * TY), SLICES - 1u);
    let ty = lane / TX % TY;
    let tx = lane % TX;
    // While staging a, a lane keeps to one column.
    let own = column_of(first_row + lane % WIDTH);

    var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
    var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
    for (var m = range.x; m < range.y; m += STEPS) {
        for (var i = 0u; i < A_PASSES; i++) {
            let step = i * A_AT_ONCE + lane / WIDTH;
            if STEPS % A_AT_ONCE != 0u && step >= STEPS { continue; }
            if LANES % WIDTH != 0u && lane >= A_AT_ONCE * WIDTH { continue; }
            staged_a[step * WIDTH + lane % WIDTH] = load_a(m + step, m + step < range.y, own);
        }
        for (var i = 0u; i < B_PASSES; i++) {
            let step = i * B_AT_ONCE + lane / TX;
            if STEPS % B_AT_ONCE != 0u && step >= STEPS { continue; }
            if LANES % TX != 0u && lane >= B_AT_ONCE * TX { continue; }
            staged_b[step * TX + tx] = load_dy(m + step, m + step < range.y, first_column + tx);
        }
        workgroupBarrier();
        for (var i = 0u; i < STEPS / SLICES; i++) {
            let step = i * SLICES + slice;
            let b = staged_b[step * TX + tx];
            var a = staged_a[step * WIDTH + ty];
            c0 += a.x * b;
            c1 += a.y * b;
            c2 += a.z * b;
            c3 += a.w * b;
            if ROWS > 1u {
                a = staged_a[step * WIDTH + TY + ty];
                c4 += a.x * b;
                c5 += a.y * b;
                c6 += a.z * b;
                c7 += a.w * b;
            }
        }
        workgroupBarrier();
    }
    let low = summed(mat4x4f(c0, c1, c2, c3), lane);
    let writes = lane < TX * TY && range.x < range.y;
    let column = first_column + tx;
    let row = 4u * (first_row + ty);
    if writes {
        store(split, row, column, low[0]);
        store(split, row + 1u, column, low[1]);
        store(split, row + 2u, column, low[2]);
        store(split, row + 3u, column, low[3]);
    }
    if ROWS > 1u {
        let high = summed(mat4x4f(c4, c5, c6, c7), lane);
        if writes {
            store(split, row + 4u * TY, column, high[0]);
            store(split, row + 4u * TY + 1u, column, high[1]);
            store(split, row + 4u * TY + 2u, column, high[2]);
            store(split, row + 4u * TY + 3u, column, high[3]);
        }
    }
}
