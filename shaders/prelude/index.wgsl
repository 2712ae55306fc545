// The number of this invocation, in workgroups of `size` over two dimensions.
fn index_of(group: vec3u, groups: vec3u, lane: u32, size: u32) -> u32 {
    return (group.y * groups.x + group.x) * size + lane;
}
