// The result of a convolution's forward pass, possibly that of a ReLU after it.

@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

override RELU: bool = false;

fn rows() -> u32 { return p.n * OH * OW; }

fn place_of(row: u32) -> vec4i { return window_of(row, row < rows()); }

fn store(row: u32, column: u32, sum: vec4f) {
    if row >= rows() || column >= columns() { return; }
    y[row * columns() + column] = select(sum, rectified(sum), RELU);
}
