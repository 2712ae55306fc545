// The inputs of elementwise.wgsl as buffers.

@group(0) @binding(1) var<storage, read> a: array<Real>;
@group(0) @binding(2) var<storage, read> b: array<Real>;
fn load_a(i: u32) -> Real { return a[i]; }
fn load_b(i: u32) -> Real { return b[i]; }
