// What becomes of a factor: the f16 next to it.

const LARGEST = 65504.0;

// A value beyond the largest f16 becomes that one; an infinity and a NaN stay, so that they are visible.
fn factors(v: vec4f) -> vec4<Factor> {
    let finite = (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) < vec4u(0x7f800000u);
    return vec4<Factor>(select(v, clamp(v, vec4f(-LARGEST), vec4f(LARGEST)), finite));
}
