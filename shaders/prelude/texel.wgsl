// The place of texel i of a buffer in its texture, which has 8,192 texels in each row.
fn texel(i: u32) -> vec2u { return vec2u(i & 8191u, i >> 13u); }
