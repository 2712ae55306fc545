// The gradient of a convolution's outputs from that of a ReLU and a max-pooling after it: it goes to the winner of each
// window, unless the ReLU blocks it; then no place is equal to the winner's.

fn dy_at(pixel: i32, exists: bool, column: u32) -> vec4f {
    let place = pooled_place(u32(pixel));
    let inside = exists && place >= 0;
    let at = select(0u, u32(place) * (O / 4u) + column, inside);
    return select(vec4f(), dy[at], (winner[at] == vec4u(u32(pixel) % (OH * OW))) & vec4<bool>(inside));
}
