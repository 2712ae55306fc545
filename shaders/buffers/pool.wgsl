// The inputs of pool.wgsl as buffers.

// ---- forward ----
@group(0) @binding(1) var<storage, read> x: array<Real>;
fn load_x(i: u32) -> Real { return x[i]; }

// ---- backward ----
@group(0) @binding(1) var<storage, read> dy: array<Real>;
@group(0) @binding(2) var<storage, read> won: array<Word>;
fn load_dy(i: u32) -> Real { return dy[i]; }
fn load_winner(i: u32) -> Word { return won[i]; }
