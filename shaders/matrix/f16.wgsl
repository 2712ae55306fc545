// The factors of a product in f16.

const LARGEST = 65504.0;

// These values times a power of two, in f16. Beyond the largest f16 they are cut to it; an infinity and a NaN stay, so
// that they are visible.
fn factors(v: vec4f, scale: f32) -> vec4<Factor> {
    let finite = (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) < vec4u(0x7f800000u);
    let largest = vec4f(LARGEST / scale);
    return vec4<Factor>(select(v, clamp(v, -largest, largest), finite) * scale);
}

// 2^(exponent - 127).
fn power_of_two(exponent: u32) -> f32 { return bitcast<f32>(exponent << 23u); }

fn scale() -> f32 { return power_of_two(127u + SCALE_BITS); }

fn unscaled(sum: vec4f) -> vec4f { return sum * power_of_two(127u - SCALE_BITS); }
