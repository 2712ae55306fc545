// Whether inputs are read from textures, which hold them row by row, 8,192 texels in each.
override TEXTURES: bool = false;

fn texel(i: u32) -> vec2u { return vec2u(i & 8191u, i >> 13u); }
