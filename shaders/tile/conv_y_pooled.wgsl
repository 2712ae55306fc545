// The result of a convolution, a ReLU and a max-pooling: a lane's rows are the outputs of one window. pool.wgsl says what
// a pooling with a ReLU writes.

@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> winner: array<vec4u>;

const BLOCKED: u32 = 0x80000000u;

fn windows() -> u32 { return p.n * pooled_rows() * pooled_columns(); }

// The window of a lane (ty) in tile `row / TILE_ROWS`, whose outputs are TY rows apart.
fn place_of(row: u32) -> vec4i {
    let local = row % TILE_ROWS;
    let number = row / TILE_ROWS * TY + local % TY;
    let i = local / TY;
    let n = number / (pooled_rows() * pooled_columns());
    let oy = number / pooled_columns() % pooled_rows() * WINDOW_Y + i / WINDOW_X;
    let ox = number % pooled_columns() * WINDOW_X + i % WINDOW_X;
    return window_of((n * OH + oy) * OW + ox, number < windows());
}

struct Best { value: vec4f, place: vec4u }

fn is_nan(v: vec4f) -> vec4<bool> { return (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u); }

fn better(best: Best, value: vec4f, first: u32, i: u32) -> Best {
    let wins = (value > best.value) | (is_nan(value) & !is_nan(best.value));
    let place = first + i / WINDOW_X * OW + i % WINDOW_X;
    return Best(select(best.value, value, wins), select(best.place, vec4u(place), wins));
}

fn finish(row: u32, column: u32, c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f, c4: vec4f, c5: vec4f, c6: vec4f, c7: vec4f,
    c8: vec4f) {
    let number = row / TILE_ROWS * TY + row % TILE_ROWS;
    if number >= windows() || column >= columns() { return; }
    let first = (number / pooled_columns() % pooled_rows() * WINDOW_Y) * OW + number % pooled_columns() * WINDOW_X;
    var best = Best(c0, vec4u(first));
    best = better(best, c1, first, 1u);
    best = better(best, c2, first, 2u);
    best = better(best, c3, first, 3u);
    if ROWS > 8u {
        best = better(best, c4, first, 4u);
        best = better(best, c5, first, 5u);
        best = better(best, c6, first, 6u);
        best = better(best, c7, first, 7u);
        best = better(best, c8, first, 8u);
    }
    let zero = !passes(best.value) & !is_nan(best.value);
    let place = select(best.place, vec4u(first), zero) | select(vec4u(BLOCKED), vec4u(), passes(best.value));
    y[number * columns() + column] = select(best.value, vec4f(), zero);
    winner[number * columns() + column] = place;
}
