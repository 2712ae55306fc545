// The operands of conv.backward_weight_pool except x, and the gradients of an output row: a pooled gradient goes to the
// winner of its window, unless the ReLU blocks it; then no place is equal to the winner's.

@group(0) @binding(2) var<storage, read> dy: array<Filters>;
@group(0) @binding(3) var<storage, read> winner: array<Places>;
@group(0) @binding(4) var<storage, read_write> partial: array<Filters>;

fn columns() -> u32 { return O / WIDTH; }

// The number of a row's first window, and that of its first pixel in its image.
struct Row { window: u32, pixel: u32, exists: bool }

fn row_of(n: u32, row: u32) -> Row {
    let down = row / WINDOW_Y;
    return Row((n * pooled_rows() + down) * pooled_columns(), row * OW, down < pooled_rows());
}

struct Window { dy: Filters, winner: Places }

// What is read for the gradients of four adjacent pixels: the window of each, once if they share it.
struct Read { a: Window, b: Window, c: Window, d: Window }

const NO_PLACE: u32 = 0xffffffffu;

fn window_at(row: Row, column: u32, filters: u32) -> Window {
    let across = column / WINDOW_X;
    let inside = row.exists && across < pooled_columns() && filters < columns();
    let at = select(0u, (row.window + across) * columns() + filters, inside);
    return Window(dy[at], select(Places(NO_PLACE), winner[at], inside));
}

fn read_four(row: Row, column: u32, filters: u32) -> Read {
    let a = window_at(row, column, filters);
    var b = a;
    if WINDOW_X % 2u != 0u { b = window_at(row, column + 1u, filters); }
    var c = a;
    if WINDOW_X % 4u != 0u { c = window_at(row, column + 2u, filters); }
    var d = c;
    if WINDOW_X % 2u != 0u { d = window_at(row, column + 3u, filters); }
    return Read(a, b, c, d);
}

fn gradient_of(window: Window, pixel: u32) -> Filters {
    return select(Filters(), window.dy, window.winner == Places(pixel));
}

fn four_of(row: Row, column: u32, read: Read) -> Four {
    let pixel = row.pixel + column;
    return Four(gradient_of(read.a, pixel), gradient_of(read.b, pixel + 1u), gradient_of(read.c, pixel + 2u),
        gradient_of(read.d, pixel + 3u));
}
