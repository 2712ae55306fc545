// The gradient of a convolution's outputs.

fn dy_at(pixel: i32, exists: bool, column: u32) -> vec4f {
    return select(vec4f(), dy[select(0u, u32(pixel) * (O / 4u) + column, exists)], exists);
}
