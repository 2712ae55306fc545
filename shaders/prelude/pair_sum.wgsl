// The sum of pairs by a tree over the 256 lanes of a workgroup.

var<workgroup> pairs: array<vec2f, 256>;

// The sum of all lanes' pairs, in every lane. A workgroup calls it once.
fn pair_sum(lane: u32, own: vec2f) -> vec2f {
    var sum = own;
    pairs[lane] = sum;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            sum += pairs[lane + width];
            pairs[lane] = sum;
        }
    }
    workgroupBarrier();
    return pairs[0];
}
