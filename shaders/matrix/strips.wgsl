// What products by cooperative matrices have in common. A workgroup computes STRIPS strips of 2*SIDE rows x ACROSS*SIDE
// columns, one for each subgroup. If it has fewer subgroups, they compute one strip after another. If it has more,
// several compute the same one and write the same sums, because matrices need uniform control flow. Per stage it copies
// DEPTH steps of both factors to workgroup memory.
//
// In SPIR-V such a shader has the Vulkan memory model, whose barriers do not make writes of workgroup memory visible as
// naga 30 translates them. No driver is known that relies on it; `glassnet check` shows a device that does.

const LANES = 32u * STRIPS;
const STRIP = 2u * SIDE;
const DEPTH = 16u;

override ACROSS: u32 = 2; // 1 or 2
override COLUMNS: u32 = ACROSS * SIDE;
// Rows of matrices must begin at multiples of 16 bytes.
override PITCH: u32 = COLUMNS + 8;
override B_SIZE: u32 = DEPTH * PITCH;
// In f16, the factor that is a gradient is multiplied by 2^SCALE_BITS, because most gradients are far below the smallest
// f16. The result is divided by it.
override SCALE_BITS: u32 = 0;
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
    return unscaled(vec4f(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]));
}
