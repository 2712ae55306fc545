// A matrix product like that of tile/product.wgsl, with the same files before it, by cooperative matrices. If a lane's
// sums are the outputs of one pooling window, it has ROWS of them, TY rows apart. HEIGHT matrices, a tile, have TY
// windows.

override ROWS: u32 = 1; // 1, 4 or 9
override TY: u32 = HEIGHT * SIDE / ROWS;
override TILE_ROWS: u32 = TY * ROWS;
override TILES: u32 = 2 / HEIGHT; // of a strip

const A_PITCH = DEPTH;
// Rows that all lanes copy at once, four vectors of each.
const AT_ONCE = LANES / 4u;

var<workgroup> staged_a: array<Factor, STRIPS * STRIP * A_PITCH>;

// The place of a staged row. The last rows of a tile may be in no window, and their sums are not used.
fn place_in(first_strip: u32, row: u32) -> vec4i {
    let tile = first_strip * TILES + row / (HEIGHT * SIDE);
    return place_of(tile * TILE_ROWS + min(row % (HEIGHT * SIDE), TILE_ROWS - 1u));
}

fn stage_a(row: u32, step: u32, place: vec4i, k: u32) {
    let v = factors(load_a(place, k + step), scale());
    let at = row * A_PITCH + 4u * step;
    staged_a[at] = v.x;
    staged_a[at + 1u] = v.y;
    staged_a[at + 2u] = v.z;
    staged_a[at + 3u] = v.w;
}

// Four rows of b, and four columns.
fn stage_block(number: u32, k: u32, first_column: u32) {
    let step = number / (COLUMNS / 4u);
    let across = number % (COLUMNS / 4u);
    let block = load_b(k + step, first_column + across);
    let at = 4u * (step * PITCH + across);
    stage_b(at, factors(block[0], 1.0));
    stage_b(at + PITCH, factors(block[1], 1.0));
    stage_b(at + 2u * PITCH, factors(block[2], 1.0));
    stage_b(at + 3u * PITCH, factors(block[3], 1.0));
}

// Passes the sums of one tile of every strip on.
fn finish_tiles(first_strip: u32, strips: u32, tile: u32, first_column: u32, lane: u32) {
    let vectors = SIDE / 4u;
    for (var i = lane; i < strips * TY * vectors; i += LANES) {
        let strip = i / (TY * vectors);
        let ty = i / vectors % TY;
        let column = first_column + i % vectors;
        let at = (strip * HEIGHT * SIDE + ty) * SIDE + 4u * (i % vectors);
        let down = TY * SIDE;
        let row = ((first_strip + strip) * TILES + tile) * TILE_ROWS + ty;
        let first = first_sum(column);
        var c1 = first; var c2 = first; var c3 = first; var c4 = first;
        var c5 = first; var c6 = first; var c7 = first; var c8 = first;
        if ROWS > 1u {
            c1 += sums_at(at + down);
            c2 += sums_at(at + 2u * down);
            c3 += sums_at(at + 3u * down);
        }
        if ROWS > 4u {
            c4 += sums_at(at + 4u * down);
            c5 += sums_at(at + 5u * down);
            c6 += sums_at(at + 6u * down);
            c7 += sums_at(at + 7u * down);
            c8 += sums_at(at + 8u * down);
        }
        finish(row, column, first + sums_at(at), c1, c2, c3, c4, c5, c6, c7, c8);
    }
}

@compute @workgroup_size(LANES)
fn product(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let strips = min(subgroups, STRIPS);
    let own_strip = subgroup % strips;
    let first_column = group.z * (COLUMNS / 4u);
    let step = lane % 4u;
    let row = lane / 4u;
    let end = depth();
    for (var strip = 0u; strip < STRIPS; strip += strips) {
        let first_strip = index_of(group, groups, 0u, 1u) * STRIPS + strip;
        let place0 = place_in(first_strip, row);
        let place1 = place_in(first_strip, row + AT_ONCE);
        let place2 = place_in(first_strip, row + 2u * AT_ONCE);
        let place3 = place_in(first_strip, row + 3u * AT_ONCE);
        var c00 = Sum(); var c01 = Sum(); var c10 = Sum(); var c11 = Sum();
        for (var k = 0u; k < end; k += DEPTH / 4u) {
            stage_a(row, step, place0, k);
            if strips * STRIP > AT_ONCE { stage_a(row + AT_ONCE, step, place1, k); }
            if strips * STRIP > 2u * AT_ONCE {
                stage_a(row + 2u * AT_ONCE, step, place2, k);
                stage_a(row + 3u * AT_ONCE, step, place3, k);
            }
            if lane < COLUMNS { stage_block(lane, k, first_column); }
            workgroupBarrier();
            for (var i = 0u; i < DEPTH; i += SIDE) {
                let at = own_strip * STRIP * A_PITCH + i;
                let a0 = coopLoadT<Left>(&staged_a[at], A_PITCH);
                let a1 = coopLoadT<Left>(&staged_a[at + SIDE * A_PITCH], A_PITCH);
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
        let at = own_strip * HEIGHT * SIDE * SIDE;
        coopStoreT(c00, &sums[at], SIDE);
        if HEIGHT > 1u {
            coopStoreT(c10, &sums[at + SIDE * SIDE], SIDE);
        } else {
            workgroupBarrier();
            finish_tiles(first_strip, strips, 0u, first_column, lane);
            workgroupBarrier();
            coopStoreT(c10, &sums[at], SIDE);
        }
        workgroupBarrier();
        finish_tiles(first_strip, strips, TILES - 1u, first_column, lane);
        workgroupBarrier();
        if ACROSS > 1u {
            coopStoreT(c01, &sums[at], SIDE);
            if HEIGHT > 1u {
                coopStoreT(c11, &sums[at + SIDE * SIDE], SIDE);
            } else {
                workgroupBarrier();
                finish_tiles(first_strip, strips, 0u, first_column + SIDE / 4u, lane);
                workgroupBarrier();
                coopStoreT(c11, &sums[at], SIDE);
            }
            workgroupBarrier();
            finish_tiles(first_strip, strips, TILES - 1u, first_column + SIDE / 4u, lane);
            workgroupBarrier();
        }
    }
}
