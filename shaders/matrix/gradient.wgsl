// A weight gradient like that of tile/gradient.wgsl, with the same files before it, by cooperative matrices.

// Vectors of rows of the result that a workgroup computes.
const WIDTH = STRIPS * STRIP / 4u;
const A_PITCH = 4u * WIDTH + 8u;

var<workgroup> staged_a: array<Factor, DEPTH * A_PITCH>;

fn stage_a(at: u32, v: vec4<Factor>) {
    staged_a[at] = v.x;
    staged_a[at + 1u] = v.y;
    staged_a[at + 2u] = v.z;
    staged_a[at + 3u] = v.w;
}

// Stores the sums of one matrix of every strip.
fn store_matrices(split: u32, first_row: u32, strips: u32, first_column: u32, lane: u32) {
    let vectors = SIDE / 4u;
    for (var i = lane; i < strips * SIDE * vectors; i += LANES) {
        let row = first_row + i / (SIDE * vectors) * STRIP + i / vectors % SIDE;
        store(split, row, first_column + i % vectors, sums_at(4u * i));
    }
}

@compute @workgroup_size(LANES)
fn gradient(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let strips = min(subgroups, STRIPS);
    let own_strip = subgroup % strips;
    let width = strips * STRIP / 4u;
    let tiles = (inputs() / 4u + WIDTH) / WIDTH;
    let number = index_of(group, groups, 0u, 1u);
    let split = number / tiles;
    let first_column = group.z * (COLUMNS / 4u);
    // Empty for the last workgroups if they have no split.
    let range = range_of(split);
    for (var strip = 0u; strip < STRIPS; strip += strips) {
        let first_row = (number - split * tiles) * WIDTH + strip * STRIP / 4u;
        // While staging a, a lane keeps to one column.
        let own = column_of(first_row + lane % width);
        var c00 = Sum(); var c01 = Sum(); var c10 = Sum(); var c11 = Sum();
        for (var m = range.x; m < range.y; m += DEPTH) {
            for (var step = lane / width; step < DEPTH; step += LANES / width) {
                stage_a(step * A_PITCH + 4u * (lane % width), factors(load_a(m + step, m + step < range.y, own), 1.0));
            }
            for (var i = lane; i < DEPTH * COLUMNS / 4u; i += LANES) {
                let step = i / (COLUMNS / 4u);
                let across = i % (COLUMNS / 4u);
                let dy = load_dy(m + step, m + step < range.y, first_column + across);
                stage_b(step * PITCH + 4u * across, factors(dy, scale()));
            }
            workgroupBarrier();
            for (var i = 0u; i < DEPTH; i += SIDE) {
                let at = i * A_PITCH + own_strip * STRIP;
                let a0 = coopLoad<Left>(&staged_a[at], A_PITCH);
                let a1 = coopLoad<Left>(&staged_a[at + SIDE], A_PITCH);
                let b0 = coopLoadT<Right>(&staged_b[i * PITCH], PITCH);
                c00 = coopMultiplyAdd(a0, b0, c00);
                c10 = coopMultiplyAdd(a1, b0, c10);
                if ACROSS > 1u {
                    let b1 = coopLoadT<Right>(&staged_b[i * PITCH + SIDE], PITCH);
                    c01 = coopMultiplyAdd(a0, b1, c01);
                    c11 = coopMultiplyAdd(a1, b1, c11);
                }
            }
            workgroupBarrier();
        }
        let at = own_strip * SIDE * SIDE;
        let exists = select(0u, strips, range.x < range.y);
        coopStoreT(c00, &sums[at], SIDE);
        workgroupBarrier();
        store_matrices(split, 4u * first_row, exists, first_column, lane);
        workgroupBarrier();
        coopStoreT(c10, &sums[at], SIDE);
        workgroupBarrier();
        store_matrices(split, 4u * first_row + SIDE, exists, first_column, lane);
        workgroupBarrier();
        if ACROSS > 1u {
            coopStoreT(c01, &sums[at], SIDE);
            workgroupBarrier();
            store_matrices(split, 4u * first_row, exists, first_column + SIDE / 4u, lane);
            workgroupBarrier();
            coopStoreT(c11, &sums[at], SIDE);
            workgroupBarrier();
            store_matrices(split, 4u * first_row + SIDE, exists, first_column + SIDE / 4u, lane);
            workgroupBarrier();
        }
    }
}
