// Makes a batch: gathers examples from the packed bytes of the data set, crops, and normalises to x/255 - 0.5.
//
// images are [SH,SW,C] bytes, four to a word, whole examples in up to four chunks; batch x is [N,H,W,C].
// Rows at and beyond header.valid are zero. Crops: random while training (header.training = 1), else centred.

struct Params {
    n: u32, h: u32, w: u32, c: u32,
    source_h: u32, source_w: u32, examples_per_chunk: u32, reserved: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> header: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read> chunk0: array<u32>;
@group(0) @binding(4) var<storage, read> chunk1: array<u32>;
@group(0) @binding(5) var<storage, read> chunk2: array<u32>;
@group(0) @binding(6) var<storage, read> chunk3: array<u32>;
@group(0) @binding(7) var<storage, read_write> x_out: array<f32>;

// pcg3d of Jarzynski and Olano, "Hash Functions for GPU Rendering" (2020); kernels/batch.rs has the same in Rust.
fn pcg3d(seed: vec3u) -> vec3u {
    var v = seed * 1664525u + 1013904223u;
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v ^= v >> vec3u(16u);
    v.x += v.y * v.z;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    return v;
}

// Four values of one image row an invocation: the index arithmetic, full of divisions, is done once for them.
@compute @workgroup_size(64)
fn gather(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let values = p.w * p.c;
    let blocks = (values + 3u) / 4u;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let row = i / blocks;
    let n = row / p.h;
    if n >= p.n { return; }
    let y = row - n * p.h;
    let first = (i - row * blocks) * 4u;
    let end = min(first + 4u, values);
    let out = row * values;
    if n >= header[1] {
        for (var j = first; j < end; j++) { x_out[out + j] = 0.0; }
        return;
    }
    var dy = (p.source_h - p.h) / 2u;
    var dx = (p.source_w - p.w) / 2u;
    if header[3] != 0u {
        let random = pcg3d(vec3u(header[2], header[0], n));
        dy = random.x % (p.source_h - p.h + 1u);
        dx = random.y % (p.source_w - p.w + 1u);
    }
    let example = indices[n];
    let chunk = example / p.examples_per_chunk;
    let within = example - chunk * p.examples_per_chunk;
    let line = ((within * p.source_h + y + dy) * p.source_w + dx) * p.c;
    for (var j = first; j < end; j++) {
        let byte = line + j;
        var word = 0u;
        if chunk == 0u {
            word = chunk0[byte / 4u];
        } else if chunk == 1u {
            word = chunk1[byte / 4u];
        } else if chunk == 2u {
            word = chunk2[byte / 4u];
        } else {
            word = chunk3[byte / 4u];
        }
        let value = (word >> (8u * (byte % 4u))) & 255u;
        x_out[out + j] = f32(value) / 255.0 - 0.5;
    }
}
