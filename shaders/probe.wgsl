// What a device does at best: multiply-adds that wait for nothing but each other, and a copy.

struct Params {
    count: u32, // vec4 of the output
    rounds: u32, // steps of every chain, a multiple of 4
    chains: u32, // as CHAINS
    scale: f32,
    shift: f32,
    reserved0: u32, reserved1: u32, reserved2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// Chains of every output: 4, 8 or 12. Each is a vec4 in registers; the most that a driver keeps there differs.
override CHAINS: u32 = 8;

// Whether a step says `fma`: some drivers make two instructions of it, some make one of a product and a sum.
override FUSED: bool = true;

// ---- multiply_add: y = sum over the chains; a step is v = scale*v + shift. No step of a chain can begin before its last ----
@group(0) @binding(1) var<storage, read_write> chains_y: array<vec4f>;

fn step(v: vec4f, scale: vec4f, shift: vec4f) -> vec4f {
    if FUSED { return fma(v, scale, shift); }
    return v * scale + shift;
}

@compute @workgroup_size(256)
fn multiply_add(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if i >= p.count { return; }
    let s = vec4f(p.scale);
    let t = vec4f(p.shift);
    var a = vec4f((vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u)) & vec4u(255u)) / 256.0;
    var b = a + 1.0; var c = a + 2.0; var d = a + 3.0;
    var e = a + 4.0; var f = a + 5.0; var g = a + 6.0; var h = a + 7.0;
    var j = a + 8.0; var k = a + 9.0; var l = a + 10.0; var m = a + 11.0;
    // Four steps by hand: fewer leave the loop's own instructions among them, more made llvmpipe's code slower.
    for (var round = 0u; round < p.rounds; round += 4u) {
        a = step(a, s, t); b = step(b, s, t); c = step(c, s, t); d = step(d, s, t);
        if CHAINS > 4u { e = step(e, s, t); f = step(f, s, t); g = step(g, s, t); h = step(h, s, t); }
        if CHAINS > 8u { j = step(j, s, t); k = step(k, s, t); l = step(l, s, t); m = step(m, s, t); }
        a = step(a, s, t); b = step(b, s, t); c = step(c, s, t); d = step(d, s, t);
        if CHAINS > 4u { e = step(e, s, t); f = step(f, s, t); g = step(g, s, t); h = step(h, s, t); }
        if CHAINS > 8u { j = step(j, s, t); k = step(k, s, t); l = step(l, s, t); m = step(m, s, t); }
        a = step(a, s, t); b = step(b, s, t); c = step(c, s, t); d = step(d, s, t);
        if CHAINS > 4u { e = step(e, s, t); f = step(f, s, t); g = step(g, s, t); h = step(h, s, t); }
        if CHAINS > 8u { j = step(j, s, t); k = step(k, s, t); l = step(l, s, t); m = step(m, s, t); }
        a = step(a, s, t); b = step(b, s, t); c = step(c, s, t); d = step(d, s, t);
        if CHAINS > 4u { e = step(e, s, t); f = step(f, s, t); g = step(g, s, t); h = step(h, s, t); }
        if CHAINS > 8u { j = step(j, s, t); k = step(k, s, t); l = step(l, s, t); m = step(m, s, t); }
    }
    var sum = (a + b) + (c + d);
    if CHAINS > 4u { sum += (e + f) + (g + h); }
    if CHAINS > 8u { sum += (j + k) + (l + m); }
    chains_y[i] = sum;
}

// ---- copy: y = x, a vec4 an invocation ----
@group(0) @binding(2) var<storage, read_write> copy_y: array<vec4f>;

@compute @workgroup_size(256)
fn copy(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if i >= p.count { return; }
    copy_y[i] = load_copy_x(i);
}
