// The result of a convolution's forward pass for any number of filters, possibly that of a ReLU after it.

@group(0) @binding(4) var<storage, read_write> y: array<f32>;

override RELU: bool = false;

fn rows() -> u32 { return p.n * OH * OW; }

fn place_of(row: u32) -> vec4i { return window_of(row, row < rows()); }

fn store(row: u32, column: u32, sum: vec4f) {
    if row >= rows() { return; }
    let value = select(sum, rectified(sum), RELU);
    for (var j = 0u; j < 4u && 4u * column + j < O; j++) { y[row * O + 4u * column + j] = value[j]; }
}
