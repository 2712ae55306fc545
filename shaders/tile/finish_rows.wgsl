// Every sum is a result.

fn finish(row: u32, column: u32, c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f, c4: vec4f, c5: vec4f, c6: vec4f, c7: vec4f,
    c8: vec4f) {
    store(row, column, c0);
    store(row + TY, column, c1);
    store(row + 2u * TY, column, c2);
    store(row + 3u * TY, column, c3);
    if ROWS > 4u {
        store(row + 4u * TY, column, c4);
        store(row + 5u * TY, column, c5);
        store(row + 6u * TY, column, c6);
        store(row + 7u * TY, column, c7);
    }
}
