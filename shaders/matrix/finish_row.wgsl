// A lane has one sum, which is a result.

fn finish(row: u32, column: u32, c0: vec4f, c1: vec4f, c2: vec4f, c3: vec4f, c4: vec4f, c5: vec4f, c6: vec4f, c7: vec4f,
    c8: vec4f) {
    store(row, column, c0);
}
