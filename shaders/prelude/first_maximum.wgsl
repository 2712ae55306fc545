// The first maximum of a row of values by a tree over the 256 lanes of a workgroup.

// A value as an integer in the same order, and its place. A driver may assume that no float is a NaN.
struct Candidate { key: u32, place: u32 }

fn no_candidate() -> Candidate { return Candidate(0u, 0xffffffffu); }

// As a comparison with `>` from the first value on: zeros are equal, no value is above a NaN at the first place, and a
// NaN elsewhere is above none.
fn candidate(value: f32, place: u32) -> Candidate {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u { return Candidate(select(0u, 0xffffffffu, place == 0u), place); }
    if magnitude == 0u { return Candidate(0x80000000u, place); }
    return Candidate(select(bits | 0x80000000u, ~bits, bits > magnitude), place);
}

fn better(a: Candidate, b: Candidate) -> Candidate {
    if b.key > a.key || (b.key == a.key && b.place < a.place) { return b; }
    return a;
}

var<workgroup> candidates: array<Candidate, 256>;

// The place of the best candidate of all lanes, in every lane.
fn first_maximum(lane: u32, own: Candidate) -> u32 {
    var best = own;
    candidates[lane] = best;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            best = better(best, candidates[lane + width]);
            candidates[lane] = best;
        }
    }
    workgroupBarrier();
    return candidates[0].place;
}
