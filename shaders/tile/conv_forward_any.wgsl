// b of a convolution's forward pass for any number of filters.

@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

fn columns() -> u32 { return (O + 3u) / 4u; }

fn load_b(k: u32, column: u32) -> mat4x4f {
    return mat4x4f(load_weights(4u * k, 4u * column), load_weights(4u * k + 1u, 4u * column),
        load_weights(4u * k + 2u, 4u * column), load_weights(4u * k + 3u, 4u * column));
}

fn load_weights(k: u32, o: u32) -> vec4f {
    return vec4f(load_weight(k, o), load_weight(k, o + 1u), load_weight(k, o + 2u), load_weight(k, o + 3u));
}

fn load_weight(k: u32, o: u32) -> f32 {
    let inside = k < taps() * IC && o < O;
    return select(0.0, weight[select(0u, k * O + o, inside)], inside);
}

fn first_sum(column: u32) -> vec4f {
    let o = min(vec4u(4u * column) + vec4u(0u, 1u, 2u, 3u), vec4u(O - 1u));
    return vec4f(bias[o.x], bias[o.y], bias[o.z], bias[o.w]);
}
