// Matrix product: a [M,K], b [K,N], c [M,N] = a * b. What a convolution can be measured by: `cargo bench --bench matmul`.
//
// `tiles128` and `tiles64` are for hardware: 256 invocations share a tile of a and one of b in workgroup memory and keep
// blocks of c in registers; M and N are multiples of the tile, K of 16 and 32. `registers` is for software adapters,
// whose workgroup memory is as slow as buffers; M, N and K are multiples of 16, 8 and 4.

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

// ---- tiles64: 64 x 64 of c, 4 x 4 an invocation; tiles of 32 along K. For products too small to fill a GPU with the above ----
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

// ---- registers: 16 rows x 8 columns of c an invocation, neighbours below each other; no workgroup memory ----
@group(0) @binding(4) var a_texture: texture_2d<f32>;
@group(0) @binding(5) var b_texture: texture_2d<f32>;

fn load_a(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(a_texture, texel(i), 0); }
    return a[i];
}

fn load_b(i: u32) -> vec4f {
    if TEXTURES { return textureLoad(b_texture, texel(i), 0); }
    return b[i];
}

@compute @workgroup_size(64)
fn registers(@builtin(global_invocation_id) id: vec3u) {
    let n4 = p.n / 4u;
    let k4 = p.k / 4u;
    let blocks = p.m / 16u;
    if id.x >= blocks * (n4 / 2u) { return; }
    let row = (id.x % blocks) * 16u;
    let lo = (id.x / blocks) * 2u;
    let hi = lo + 1u;
    var l0 = vec4f(0.0); var l1 = l0; var l2 = l0; var l3 = l0; var l4 = l0; var l5 = l0;
    var l6 = l0; var l7 = l0; var l8 = l0; var l9 = l0; var l10 = l0;
    var l11 = l0; var l12 = l0; var l13 = l0; var l14 = l0; var l15 = l0;
    var h0 = l0; var h1 = l0; var h2 = l0; var h3 = l0; var h4 = l0; var h5 = l0;
    var h6 = l0; var h7 = l0; var h8 = l0; var h9 = l0; var h10 = l0;
    var h11 = l0; var h12 = l0; var h13 = l0; var h14 = l0; var h15 = l0;
    for (var k = 0u; k < k4; k++) {
        let at = row * k4 + k;
        let a0 = load_a(at); let a1 = load_a(at + k4);
        let a2 = load_a(at + 2u * k4); let a3 = load_a(at + 3u * k4);
        let a4 = load_a(at + 4u * k4); let a5 = load_a(at + 5u * k4);
        let a6 = load_a(at + 6u * k4); let a7 = load_a(at + 7u * k4);
        let a8 = load_a(at + 8u * k4); let a9 = load_a(at + 9u * k4);
        let a10 = load_a(at + 10u * k4); let a11 = load_a(at + 11u * k4);
        let a12 = load_a(at + 12u * k4); let a13 = load_a(at + 13u * k4);
        let a14 = load_a(at + 14u * k4); let a15 = load_a(at + 15u * k4);
        var wl = load_b(k * 4u * n4 + lo);
        var wh = load_b(k * 4u * n4 + hi);
        l0 += a0.x * wl; l1 += a1.x * wl; l2 += a2.x * wl; l3 += a3.x * wl;
        h0 += a0.x * wh; h1 += a1.x * wh; h2 += a2.x * wh; h3 += a3.x * wh;
        l4 += a4.x * wl; l5 += a5.x * wl; l6 += a6.x * wl; l7 += a7.x * wl;
        h4 += a4.x * wh; h5 += a5.x * wh; h6 += a6.x * wh; h7 += a7.x * wh;
        l8 += a8.x * wl; l9 += a9.x * wl; l10 += a10.x * wl; l11 += a11.x * wl;
        h8 += a8.x * wh; h9 += a9.x * wh; h10 += a10.x * wh; h11 += a11.x * wh;
        l12 += a12.x * wl; l13 += a13.x * wl; l14 += a14.x * wl; l15 += a15.x * wl;
        h12 += a12.x * wh; h13 += a13.x * wh; h14 += a14.x * wh; h15 += a15.x * wh;
        wl = load_b((k * 4u + 1u) * n4 + lo);
        wh = load_b((k * 4u + 1u) * n4 + hi);
        l0 += a0.y * wl; l1 += a1.y * wl; l2 += a2.y * wl; l3 += a3.y * wl;
        h0 += a0.y * wh; h1 += a1.y * wh; h2 += a2.y * wh; h3 += a3.y * wh;
        l4 += a4.y * wl; l5 += a5.y * wl; l6 += a6.y * wl; l7 += a7.y * wl;
        h4 += a4.y * wh; h5 += a5.y * wh; h6 += a6.y * wh; h7 += a7.y * wh;
        l8 += a8.y * wl; l9 += a9.y * wl; l10 += a10.y * wl; l11 += a11.y * wl;
        h8 += a8.y * wh; h9 += a9.y * wh; h10 += a10.y * wh; h11 += a11.y * wh;
        l12 += a12.y * wl; l13 += a13.y * wl; l14 += a14.y * wl; l15 += a15.y * wl;
        h12 += a12.y * wh; h13 += a13.y * wh; h14 += a14.y * wh; h15 += a15.y * wh;
        wl = load_b((k * 4u + 2u) * n4 + lo);
        wh = load_b((k * 4u + 2u) * n4 + hi);
        l0 += a0.z * wl; l1 += a1.z * wl; l2 += a2.z * wl; l3 += a3.z * wl;
        h0 += a0.z * wh; h1 += a1.z * wh; h2 += a2.z * wh; h3 += a3.z * wh;
        l4 += a4.z * wl; l5 += a5.z * wl; l6 += a6.z * wl; l7 += a7.z * wl;
        h4 += a4.z * wh; h5 += a5.z * wh; h6 += a6.z * wh; h7 += a7.z * wh;
        l8 += a8.z * wl; l9 += a9.z * wl; l10 += a10.z * wl; l11 += a11.z * wl;
        h8 += a8.z * wh; h9 += a9.z * wh; h10 += a10.z * wh; h11 += a11.z * wh;
        l12 += a12.z * wl; l13 += a13.z * wl; l14 += a14.z * wl; l15 += a15.z * wl;
        h12 += a12.z * wh; h13 += a13.z * wh; h14 += a14.z * wh; h15 += a15.z * wh;
        wl = load_b((k * 4u + 3u) * n4 + lo);
        wh = load_b((k * 4u + 3u) * n4 + hi);
        l0 += a0.w * wl; l1 += a1.w * wl; l2 += a2.w * wl; l3 += a3.w * wl;
        h0 += a0.w * wh; h1 += a1.w * wh; h2 += a2.w * wh; h3 += a3.w * wh;
        l4 += a4.w * wl; l5 += a5.w * wl; l6 += a6.w * wl; l7 += a7.w * wl;
        h4 += a4.w * wh; h5 += a5.w * wh; h6 += a6.w * wh; h7 += a7.w * wh;
        l8 += a8.w * wl; l9 += a9.w * wl; l10 += a10.w * wl; l11 += a11.w * wl;
        h8 += a8.w * wh; h9 += a9.w * wh; h10 += a10.w * wh; h11 += a11.w * wh;
        l12 += a12.w * wl; l13 += a13.w * wl; l14 += a14.w * wl; l15 += a15.w * wl;
        h12 += a12.w * wh; h13 += a13.w * wh; h14 += a14.w * wh; h15 += a15.w * wh;
    }
    let to = row * n4 + lo;
    c[to] = l0; c[to + 1u] = h0;
    c[to + n4] = l1; c[to + n4 + 1u] = h1;
    c[to + 2u * n4] = l2; c[to + 2u * n4 + 1u] = h2;
    c[to + 3u * n4] = l3; c[to + 3u * n4 + 1u] = h3;
    c[to + 4u * n4] = l4; c[to + 4u * n4 + 1u] = h4;
    c[to + 5u * n4] = l5; c[to + 5u * n4 + 1u] = h5;
    c[to + 6u * n4] = l6; c[to + 6u * n4 + 1u] = h6;
    c[to + 7u * n4] = l7; c[to + 7u * n4 + 1u] = h7;
    c[to + 8u * n4] = l8; c[to + 8u * n4 + 1u] = h8;
    c[to + 9u * n4] = l9; c[to + 9u * n4 + 1u] = h9;
    c[to + 10u * n4] = l10; c[to + 10u * n4 + 1u] = h10;
    c[to + 11u * n4] = l11; c[to + 11u * n4 + 1u] = h11;
    c[to + 12u * n4] = l12; c[to + 12u * n4 + 1u] = h12;
    c[to + 13u * n4] = l13; c[to + 13u * n4 + 1u] = h13;
    c[to + 14u * n4] = l14; c[to + 14u * n4 + 1u] = h14;
    c[to + 15u * n4] = l15; c[to + 15u * n4 + 1u] = h15;
}
