// Sums of the partial gradients of all layers. The result is divided into blocks of 64 values; for each of them the
// table says where its first partial sum is, the distance to the next, their number, and how many of the 64 values
// exist. The others are zero.

struct Params { blocks: u32, reserved0: u32, reserved1: u32, reserved2: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

const BLOCK = 64u;
// Lanes that share a value.
const SLICES = 4u;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn gradients(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = index_of(group, groups, 0u, 1u);
    let entry = table[min(block, p.blocks - 1u)];
    let i = lane % BLOCK;
    var sum = 0.0;
    if i < entry.w {
        for (var split = lane / BLOCK; split < entry.z; split += SLICES) {
            sum += partials[entry.x + i + split * entry.y];
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if lane < BLOCK && block < p.blocks {
        result[block * BLOCK + lane] = (sums[lane] + sums[lane + BLOCK]) + (sums[lane + 2u * BLOCK] + sums[lane + 3u * BLOCK]);
    }
}
