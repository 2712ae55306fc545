// The gradient of the input of a ReLU, whose output is a convolution's input.

fn store(row: u32, column: u32, sum: vec4f) {
    if row >= rows() || column >= columns() { return; }
    let at = row * columns() + column;
    dx[at] = select(vec4f(), sum, passes(output[at]));
}
