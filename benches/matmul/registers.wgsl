// The matrix product c [M,N] = a [M,K] * b [K,N] for software adapters, whose workgroup memory is as slow as buffers.
// An invocation computes 16 rows x 8 columns of c, and the next one those below. M, N and K are multiples of 16, 8 and
// 4.

struct Params { m: u32, n: u32, k: u32, reserved: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(3) var<storage, read_write> c: array<vec4f>;

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
