// One value at a time, for any shape.
alias Real = f32;
alias Word = u32;
alias Flag = bool;
const LANES: u32 = 1u;
const FIRST_LANE: Real = 1.0;

fn real_of(texel: vec4f) -> Real { return texel.x; }
fn word_of(texel: vec4u) -> Word { return texel.x; }
fn lane_of(v: Real, j: u32) -> f32 { return v; }
fn of_lanes(v: array<f32, LANES>) -> Real { return v[0]; }
fn inner(a: Real, b: Real) -> f32 { return a * b; }
