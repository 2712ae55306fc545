// One value an invocation: for any shape.
alias Real = f32;
alias Word = u32;
alias Flag = bool;
const LANES: u32 = 1u;

fn real_of(texel: vec4f) -> Real { return texel.x; }
fn word_of(texel: vec4u) -> Word { return texel.x; }
