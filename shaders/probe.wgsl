// A device's peak rates: multiply-adds that only depend on each other, and a copy.

struct Params {
    count: u32, // the number of vec4 in the output
    rounds: u32, // the number of steps in every chain, a multiple of 4
    chains: u32, // the same as CHAINS
    scale: f32,
    shift: f32,
    reserved0: u32, reserved1: u32, reserved2: u32,
}

@group(0) @binding(0) var<uniform> p: Params;

// The number of chains of every output: 4, 8 or 12. Each is a vec4 in registers; drivers can keep different numbers
// there.
override CHAINS: u32 = 8;

// Whether a step uses `fma`: some drivers compile it to two instructions, others compile a product and a sum to one.
override FUSED: bool = true;

// ---- multiply_add: y = sum over the chains; a step is v = scale*v + shift and depends on the step before it ----
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
    // Four unrolled steps: with fewer, the loop's own instructions count; with more, llvmpipe's code was slower.
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

// ---- copy: y = x, one vec4 per invocation ----
@group(0) @binding(2) var<storage, read_write> copy_y: array<vec4f>;

@compute @workgroup_size(256)
fn copy(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if i >= p.count { return; }
    copy_y[i] = load_copy_x(i);
}
