// A matrix product in tiles: result [M,N] = a [M,K] * b [K,N], N and K counted in vectors of four. The files before this
// one say what a and b are, and what becomes of a lane's sums: depth(), place_of, load_a, load_b, first_sum, finish.
//
// A workgroup computes LANES/TX * ROWS rows x 4*TX columns. Per stage it copies 4*DEPTH columns of a and rows of b to
// workgroup memory; a lane keeps ROWS x 4 sums in named vectors, because compilers put arrays that are indexed by a
// loop into memory. Lane (ty, tx) has rows ty, ty + TY, ty + 2*TY, ...: neighbours then read different banks.

const LANES = 64u;

override TX: u32 = 8;
override ROWS: u32 = 4; // 4, 8 or 9
override DEPTH: u32 = 4;
override TY: u32 = LANES / TX;
override TILE_ROWS: u32 = TY * ROWS;
// Odd, so that the rows of a start in different banks.
override PITCH: u32 = DEPTH | 1u;
override A_SIZE: u32 = TILE_ROWS * PITCH;
override B_SIZE: u32 = 4 * DEPTH * TX;

var<workgroup> staged_a: array<vec4f, A_SIZE>;
var<workgroup> staged_b: array<vec4f, B_SIZE>;
var<workgroup> places: array<vec4i, TILE_ROWS>;

@compute @workgroup_size(64)
fn product(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let first_row = index_of(group, groups, 0u, 1u) * TILE_ROWS;
    let first_column = group.z * TX;
    let ty = lane / TX;
    let tx = lane % TX;
    let column = first_column + tx;
    for (var i = lane; i < TILE_ROWS; i += LANES) { places[i] = place_of(first_row + i); }

    var c0 = first_sum(column); var c1 = c0; var c2 = c0; var c3 = c0;
    var c4 = c0; var c5 = c0; var c6 = c0; var c7 = c0; var c8 = c0;
    let end = depth();
    for (var k = 0u; k < end; k += DEPTH) {
        workgroupBarrier();
        for (var i = lane; i < TILE_ROWS * DEPTH; i += LANES) {
            let row = i / DEPTH;
            let step = i % DEPTH;
            staged_a[row * PITCH + step] = load_a(places[row], k + step);
        }
        for (var i = lane; i < DEPTH * TX; i += LANES) {
            let step = i / TX;
            let across = i % TX;
            let block = load_b(k + step, first_column + across);
            let at = 4u * step * TX + across;
            staged_b[at] = block[0];
            staged_b[at + TX] = block[1];
            staged_b[at + 2u * TX] = block[2];
            staged_b[at + 3u * TX] = block[3];
        }
        workgroupBarrier();
        for (var step = 0u; step < DEPTH; step++) {
            let at = 4u * step * TX + tx;
            let b0 = staged_b[at];
            let b1 = staged_b[at + TX];
            let b2 = staged_b[at + 2u * TX];
            let b3 = staged_b[at + 3u * TX];
            let row = ty * PITCH + step;
            let down = TY * PITCH;
            var a = staged_a[row];
            c0 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
            a = staged_a[row + down];
            c1 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
            a = staged_a[row + 2u * down];
            c2 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
            a = staged_a[row + 3u * down];
            c3 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
            if ROWS > 4u {
                a = staged_a[row + 4u * down];
                c4 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
                a = staged_a[row + 5u * down];
                c5 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
                a = staged_a[row + 6u * down];
                c6 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
                a = staged_a[row + 7u * down];
                c7 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
            }
            if ROWS > 8u {
                a = staged_a[row + 8u * down];
                c8 += a.x * b0 + a.y * b1 + a.z * b2 + a.w * b3;
            }
        }
    }
    finish(first_row + ty, column, c0, c1, c2, c3, c4, c5, c6, c7, c8);
}
