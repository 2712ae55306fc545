// What products by cooperative matrices have in common. A workgroup computes four strips of 2*SIDE rows x ACROSS*SIDE
// columns, one for each subgroup; if it has fewer subgroups, they compute one strip after another, and if it has more,
// several compute the same one, because matrices need uniform control flow. Per stage it copies DEPTH steps of both
// factors to workgroup memory.

const LANES = 128u;
const STRIPS = 4u;
const STRIP = 2u * SIDE;
const DEPTH = 16u;

override ACROSS: u32 = 2; // 1 or 2
override COLUMNS: u32 = ACROSS * SIDE;
// A power of two, by which the factor that is a gradient is multiplied, because most gradients are far below the
// smallest f16. The result is divided by it.
override SCALE: u32 = 1;
// Multiples of 16 bytes, which rows of matrices must begin at.
override PITCH: u32 = COLUMNS + 8;
override B_SIZE: u32 = DEPTH * PITCH;
// Matrices of a strip, one above the other, whose sums are in workgroup memory at the same time: 1, or both.
override HEIGHT: u32 = 1;
override SUMS: u32 = STRIPS * HEIGHT * SIDE * SIDE;

var<workgroup> staged_b: array<Factor, B_SIZE>;
var<workgroup> sums: array<f32, SUMS>;

fn stage_b(at: u32, v: vec4<Factor>) {
    staged_b[at] = v.x;
    staged_b[at + 1u] = v.y;
    staged_b[at + 2u] = v.z;
    staged_b[at + 3u] = v.w;
}

fn sums_at(at: u32) -> vec4f {
    return vec4f(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]) / f32(SCALE);
}
