// dy and the result of a convolution's weight gradient; rows of the result are taps x channels, and the last one is the
// bias.

fn inputs() -> u32 { return taps() * IC; }
fn columns() -> u32 { return O / 4u; }

fn load_dy(pixel: u32, exists: bool, column: u32) -> vec4f {
    return dy_at(i32(pixel), exists && column < columns(), column);
}

fn store(split: u32, row: u32, column: u32, sum: vec4f) {
    if row > inputs() || column >= columns() { return; }
    partial[(split * (inputs() + 1u) + row) * columns() + column] = sum;
}
