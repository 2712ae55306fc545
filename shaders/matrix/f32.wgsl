// What becomes of a factor: nothing.

fn factors(v: vec4f) -> vec4<Factor> { return v; }
