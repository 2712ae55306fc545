// Four values at a time, read and written as a vector, for innermost sizes that are multiples of 4.
alias Real = vec4f;
alias Word = vec4u;
alias Flag = vec4<bool>;
const LANES: u32 = 4u;
const FIRST_LANE: Real = vec4f(1.0, 0.0, 0.0, 0.0);

fn real_of(texel: vec4f) -> Real { return texel; }
fn word_of(texel: vec4u) -> Word { return texel; }
fn lane_of(v: Real, j: u32) -> f32 { return v[j]; }
fn of_lanes(v: array<f32, LANES>) -> Real { return vec4f(v[0], v[1], v[2], v[3]); }
fn inner(a: Real, b: Real) -> f32 { return dot(a, b); }
