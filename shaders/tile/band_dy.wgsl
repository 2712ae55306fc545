// The operands of conv.backward_weight except x, and the gradients of an output row.

@group(0) @binding(2) var<storage, read> dy: array<Filters>;
@group(0) @binding(3) var<storage, read_write> partial: array<Filters>;

fn columns() -> u32 { return O / WIDTH; }

struct Row { first: u32 }

fn row_of(n: u32, row: u32) -> Row { return Row((n * OH + row) * OW); }

fn one(row: Row, column: u32, filters: u32) -> Filters {
    let inside = column < OW && filters < columns();
    return select(Filters(), dy[select(0u, (row.first + column) * columns() + filters, inside)], inside);
}

// The gradients of four adjacent pixels are read where they are used: reading them before would take many registers.
struct Read { filters: u32 }

fn read_four(row: Row, column: u32, filters: u32) -> Read { return Read(filters); }

fn four_of(row: Row, column: u32, read: Read) -> Four {
    return Four(one(row, column, read.filters), one(row, column + 1u, read.filters),
        one(row, column + 2u, read.filters), one(row, column + 3u, read.filters));
}
