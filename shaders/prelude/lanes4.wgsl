// Four values an invocation, read and written as a vector: for innermost sizes that are multiples of 4.
alias Real = vec4f;
alias Word = vec4u;
alias Flag = vec4<bool>;
const LANES: u32 = 4u;

fn real_of(texel: vec4f) -> Real { return texel; }
fn word_of(texel: vec4u) -> Word { return texel; }
