// The gradient of a convolution's input.

fn store(row: u32, column: u32, sum: vec4f) {
    if row < rows() && column < columns() { dx[row * columns() + column] = sum; }
}
