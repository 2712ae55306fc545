// a and b of a convolution's forward pass: rows are output pixels, columns filters, and the depth is taps x channels.

@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;

fn columns() -> u32 { return O / 4u; }

fn load_b(k: u32, column: u32) -> mat4x4f {
    let exists = column < columns();
    let at = 4u * k * columns() + select(0u, column, exists);
    return mat4x4f(
        load_weight(4u * k, at, exists), load_weight(4u * k + 1u, at + columns(), exists),
        load_weight(4u * k + 2u, at + 2u * columns(), exists), load_weight(4u * k + 3u, at + 3u * columns(), exists),
    );
}

fn load_weight(k: u32, at: u32, exists: bool) -> vec4f {
    let inside = exists && k < taps() * IC;
    return select(vec4f(), weight[select(0u, at, inside)], inside);
}

fn first_sum(column: u32) -> vec4f { return bias[min(column, columns() - 1u)]; }
