// Where element i of a buffer is in its texture, which holds it row by row, 8,192 texels in each.
fn texel(i: u32) -> vec2u { return vec2u(i & 8191u, i >> 13u); }
