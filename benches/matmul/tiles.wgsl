// The matrix product c [M,N] = a [M,K] * b [K,N] for hardware.
//
// 256 invocations share a tile of a and one of b in workgroup memory and keep blocks of c in registers; M and N are
// multiples of the tile, K of 16 and 32.

struct Params { m: u32, n: u32, k: u32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;

// ---- tiles128: 128 x 128 of c, 8 x 8 an invocation: rows 4*ty.. and 64 + 4*ty.., columns 4*tx.. and 64 + 4*tx.. ----
// Tiles of 16 along K. That of a lies transposed, [K,M], so that both are read by the vec4. Its columns are exchanged
// (xor) by the four rows they belong to: neighbours that store blocks of different rows meet different banks.
var<workgroup> tile_a: array<vec4f, 512>;
var<workgroup> tile_b: array<vec4f, 512>;

@compute @workgroup_size(256)
fn tiles128(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let n4 = p.n / 4u;
    let k4 = p.k / 4u;
    // A subgroup of 32 computes 4 x 8 blocks: what it reads of a is the same for eight of them, of b for four.
    let ty = (lane / 64u) * 4u + (lane % 32u) / 8u;
    let tx = (lane / 32u % 2u) * 8u + lane % 8u;
    // The lower half fetches a: a block of 4 x 4 each. The upper half fetches b: four vec4 of a column, 4 rows apart.
    let fetches_a = lane < 128u;
    let t = lane % 128u;
    let block_k = t % 4u;
    let block_m = t / 4u;
    let start = select((t / 32u) * n4 + group.x * 32u + t % 32u, (group.y * 128u + block_m * 4u) * k4 + block_k, fetches_a);
    let apart = select(4u * n4, k4, fetches_a);
    let advance = select(16u * n4, 4u, fetches_a);
    var at = start;
    var f0: vec4f; var f1: vec4f; var f2: vec4f; var f3: vec4f;
    if fetches_a {
        f0 = a[at]; f1 = a[at + apart]; f2 = a[at + 2u * apart]; f3 = a[at + 3u * apart];
    } else {
        f0 = b[at]; f1 = b[at + apart]; f2 = b[at + 2u * apart]; f3 = b[at + 3u * apart];
    }
    var c0l = vec4f(0.0); var c1l = c0l; var c2l = c0l; var c3l = c0l;
    var c4l = c0l; var c5l = c0l; var c6l = c0l; var c7l = c0l;
    var c0h = c0l; var c1h = c0l; var c2h = c0l; var c3h = c0l;
    var c4h = c0l; var c5h = c0l; var c6h = c0l; var c7h = c0l;
    for (var k = 0u; k < p.k; k += 16u) {
        workgroupBarrier();
        if fetches_a {
            let to = block_k * 128u + (block_m ^ (block_k * 2u));
            tile_a[to] = vec4f(f0.x, f1.x, f2.x, f3.x);
            tile_a[to + 32u] = vec4f(f0.y, f1.y, f2.y, f3.y);
            tile_a[to + 64u] = vec4f(f0.z, f1.z, f2.z, f3.z);
            tile_a[to + 96u] = vec4f(f0.w, f1.w, f2.w, f3.w);
        } else {
            tile_b[t] = f0; tile_b[t + 128u] = f1; tile_b[t + 256u] = f2; tile_b[t + 384u] = f3;
        }
        workgroupBarrier();
        // The next tiles are on their way while these are multiplied.
        at += advance;
        if k + 16u < p.k {
            if fetches_a {
                f0 = a[at]; f1 = a[at + apart]; f2 = a[at + 2u * apart]; f3 = a[at + 3u * apart];
            } else {
                f0 = b[at]; f1 = b[at + apart]; f2 = b[at + 2u * apart]; f3 = b[at + 3u * apart];
            }
        }
        for (var i = 0u; i < 16u; i++) {
            let column = ty ^ ((i / 4u) * 2u);
            let al = tile_a[i * 32u + column];
            let ah = tile_a[i * 32u + 16u + column];
            let bl = tile_b[i * 32u + tx];
            let bh = tile_b[i * 32u + 16u + tx];
            c0l = fma(vec4f(al.x), bl, c0l); c0h = fma(vec4f(al.x), bh, c0h);
            c1l = fma(vec4f(al.y), bl, c1l); c1h = fma(vec4f(al.y), bh, c1h);
            c2l = fma(vec4f(al.z), bl, c2l); c2h = fma(vec4f(al.z), bh, c2h);
            c3l = fma(vec4f(al.w), bl, c3l); c3h = fma(vec4f(al.w), bh, c3h);
            c4l = fma(vec4f(ah.x), bl, c4l); c4h = fma(vec4f(ah.x), bh, c4h);
            c5l = fma(vec4f(ah.y), bl, c5l); c5h = fma(vec4f(ah.y), bh, c5h);
            c6l = fma(vec4f(ah.z), bl, c6l); c6h = fma(vec4f(ah.z), bh, c6h);
            c7l = fma(vec4f(ah.w), bl, c7l); c7h = fma(vec4f(ah.w), bh, c7h);
        }
    }
    let upper = (group.y * 128u + ty * 4u) * n4 + group.x * 32u + tx;
    let lower = upper + 64u * n4;
    c[upper] = c0l; c[upper + 16u] = c0h;
    c[upper + n4] = c1l; c[upper + n4 + 16u] = c1h;
    c[upper + 2u * n4] = c2l; c[upper + 2u * n4 + 16u] = c2h;
    c[upper + 3u * n4] = c3l; c[upper + 3u * n4 + 16u] = c3h;
    c[lower] = c4l; c[lower + 16u] = c4h;
    c[lower + n4] = c5l; c[lower + n4 + 16u] = c5h;
    c[lower + 2u * n4] = c6l; c[lower + 2u * n4 + 16u] = c6h;
    c[lower + 3u * n4] = c7l; c[lower + 3u * n4 + 16u] = c7h;
}

// ---- tiles64: 64 x 64 of c, 4 x 4 an invocation; tiles of 32 along K. For products too small to fill a GPU with the
// above ----
@compute @workgroup_size(256)
fn tiles64(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let n4 = p.n / 4u;
    let k4 = p.k / 4u;
    let ty = (lane / 64u) * 4u + (lane % 32u) / 8u;
    let tx = (lane / 32u % 2u) * 8u + lane % 8u;
    let fetches_a = lane < 128u;
    let t = lane % 128u;
    let block_k = t % 8u;
    let block_m = t / 8u;
    let start = select((t / 16u) * n4 + group.x * 16u + t % 16u, (group.y * 64u + block_m * 4u) * k4 + block_k, fetches_a);
    let apart = select(8u * n4, k4, fetches_a);
    let advance = select(32u * n4, 8u, fetches_a);
    var at = start;
    var f0: vec4f; var f1: vec4f; var f2: vec4f; var f3: vec4f;
    if fetches_a {
        f0 = a[at]; f1 = a[at + apart]; f2 = a[at + 2u * apart]; f3 = a[at + 3u * apart];
    } else {
        f0 = b[at]; f1 = b[at + apart]; f2 = b[at + 2u * apart]; f3 = b[at + 3u * apart];
    }
    var c0 = vec4f(0.0); var c1 = c0; var c2 = c0; var c3 = c0;
    for (var k = 0u; k < p.k; k += 32u) {
        workgroupBarrier();
        if fetches_a {
            let to = block_k * 64u + (block_m ^ block_k);
            tile_a[to] = vec4f(f0.x, f1.x, f2.x, f3.x);
            tile_a[to + 16u] = vec4f(f0.y, f1.y, f2.y, f3.y);
            tile_a[to + 32u] = vec4f(f0.z, f1.z, f2.z, f3.z);
            tile_a[to + 48u] = vec4f(f0.w, f1.w, f2.w, f3.w);
        } else {
            tile_b[t] = f0; tile_b[t + 128u] = f1; tile_b[t + 256u] = f2; tile_b[t + 384u] = f3;
        }
        workgroupBarrier();
        at += advance;
        if k + 32u < p.k {
            if fetches_a {
                f0 = a[at]; f1 = a[at + apart]; f2 = a[at + 2u * apart]; f3 = a[at + 3u * apart];
            } else {
                f0 = b[at]; f1 = b[at + apart]; f2 = b[at + 2u * apart]; f3 = b[at + 3u * apart];
            }
        }
        for (var i = 0u; i < 32u; i++) {
            let rows = tile_a[i * 16u + (ty ^ (i / 4u))];
            let columns = tile_b[i * 16u + tx];
            c0 = fma(vec4f(rows.x), columns, c0);
            c1 = fma(vec4f(rows.y), columns, c1);
            c2 = fma(vec4f(rows.z), columns, c2);
            c3 = fma(vec4f(rows.w), columns, c3);
        }
    }
    let to = (group.y * 64u + ty * 4u) * n4 + group.x * 16u + tx;
    c[to] = c0;
    c[to + n4] = c1;
    c[to + 2u * n4] = c2;
    c[to + 3u * n4] = c3;
}
