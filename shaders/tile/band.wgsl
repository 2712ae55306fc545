// A weight gradient for few input channels, where a product's tiles would copy more than they compute: rows of the result
// are taps x channels, and the last one is the bias. The files before this one say how many filters a lane has, and what
// dy and the result are: Filters, Row, row_of, read_four, four_of, columns, partial.
//
// A workgroup takes bands of BAND output rows of an image, one after another, until its split ends. It copies the input
// rows under a band to workgroup memory, with zeros around the image. A lane has all taps of one channel for WIDTH
// filters, over one of PARTS parts of an output row, four pixels at a time; each gradient is read by one lane of each
// channel. At the end the lanes with the same filters and channel add their sums in order.

@group(0) @binding(1) var<storage, read> x: array<f32>;

const LANES = 64u;

override BAND: u32 = 1; // output rows; divides the image's and the split's
override PARTS: u32 = 1; // at most GROUPS
override KH: u32 = 1; // at most 5, like KW
override FILTER_LANES: u32 = 1; // lanes for different filters
override BLOCKS: u32 = FILTER_LANES * IC; // BLOCKS * BAND * PARTS is at most LANES
override INPUT_ROWS: u32 = BAND + KH - 1;
// Groups of four adjacent pixels of an output row: all of them, and those of a part.
override GROUPS: u32 = (OW + 3) / 4;
override OWN_GROUPS: u32 = (GROUPS + PARTS - 1) / PARTS;
// Vectors of four adjacent columns in an input row, one more than the last pixels begin at.
override ACROSS: u32 = GROUPS + 1;
override X_COUNT: u32 = INPUT_ROWS * IC * ACROSS;
override X_PASSES: u32 = (X_COUNT + LANES - 1) / LANES;
override SUMS: u32 = LANES * KW;

var<workgroup> staged: array<vec4f, X_COUNT>;
var<workgroup> sums: array<Filters, SUMS>;

// The sums of a row of taps.
struct Taps { t0: Filters, t1: Filters, t2: Filters, t3: Filters, t4: Filters }

// The gradients of four adjacent pixels.
struct Four { a: Filters, b: Filters, c: Filters, d: Filters }

fn load_x(n: u32, row: i32, column: i32, channel: u32) -> f32 {
    let inside = row >= 0 && row < i32(H) && column >= 0 && column < i32(W);
    let at = ((n * H + u32(row)) * W + u32(column)) * IC + channel;
    return select(0.0, x[select(0u, at, inside)], inside);
}

// The columns of an input row that four pixels' taps read.
struct Eight { u: vec4f, v: vec4f }

fn eight_at(at: u32) -> Eight { return Eight(staged[at], staged[at + 1u]); }

// Adds what four pixels give.
fn added(own: Taps, x: Eight, dy: Four) -> Taps {
    var t = own;
    let u = x.u;
    let v = x.v;
    t.t0 += u.x * dy.a;
    if KW > 1u { t.t1 += u.y * dy.a; }
    if KW > 2u { t.t2 += u.z * dy.a; }
    if KW > 3u { t.t3 += u.w * dy.a; }
    if KW > 4u { t.t4 += v.x * dy.a; }
    t.t0 += u.y * dy.b;
    if KW > 1u { t.t1 += u.z * dy.b; }
    if KW > 2u { t.t2 += u.w * dy.b; }
    if KW > 3u { t.t3 += v.x * dy.b; }
    if KW > 4u { t.t4 += v.y * dy.b; }
    t.t0 += u.z * dy.c;
    if KW > 1u { t.t1 += u.w * dy.c; }
    if KW > 2u { t.t2 += v.x * dy.c; }
    if KW > 3u { t.t3 += v.y * dy.c; }
    if KW > 4u { t.t4 += v.z * dy.c; }
    t.t0 += u.w * dy.d;
    if KW > 1u { t.t1 += v.x * dy.d; }
    if KW > 2u { t.t2 += v.y * dy.d; }
    if KW > 3u { t.t3 += v.z * dy.d; }
    if KW > 4u { t.t4 += v.w * dy.d; }
    return t;
}

// Writes the sums over all lanes of `count` taps from result row `first` on, and of one channel or of all.
fn write(own: Taps, count: u32, first: u32, blocks: u32, place: Place) {
    workgroupBarrier();
    sums[place.lane] = own.t0;
    if count > 1u { sums[LANES + place.lane] = own.t1; }
    if count > 2u { sums[2u * LANES + place.lane] = own.t2; }
    if count > 3u { sums[3u * LANES + place.lane] = own.t3; }
    if count > 4u { sums[4u * LANES + place.lane] = own.t4; }
    workgroupBarrier();
    if !place.writes { return; }
    for (var i = place.lane; i < count * blocks; i += LANES) {
        let block = i % blocks;
        let tap = i / blocks;
        var sum = Filters();
        for (var part = 0u; part < BAND * PARTS; part++) { sum += sums[tap * LANES + part * BLOCKS + block]; }
        let row = first + tap * IC + block / FILTER_LANES;
        let filters = place.filters + block % FILTER_LANES;
        if filters < columns() { partial[(place.split * (taps() * IC + 1u) + row) * columns() + filters] = sum; }
    }
}

// Where a workgroup's sums go.
struct Place { split: u32, filters: u32, lane: u32, writes: bool }

@compute @workgroup_size(64)
fn band(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let split = index_of(group, groups, 0u, 1u);
    // Empty for the last workgroups if they have no split.
    let range = range_of(split);
    let channel = lane % BLOCKS / FILTER_LANES;
    let filters = group.z * FILTER_LANES + lane % FILTER_LANES;
    // Lanes that are left over repeat others, and nobody reads their sums.
    let own_row = lane / BLOCKS % BAND;
    let part = min(lane / (BLOCKS * BAND), PARTS - 1u);
    let down = IC * ACROSS;

    var r0 = Taps(); var r1 = Taps(); var r2 = Taps(); var r3 = Taps(); var r4 = Taps();
    var bias = Filters();
    for (var first = range.x; first < range.y; first += BAND * OW) {
        let n = first / (OH * OW);
        let row = first / OW % OH;
        workgroupBarrier();
        for (var i = 0u; i < X_PASSES; i++) {
            let number = i * LANES + lane;
            let y = i32(row + number / down) - i32(p.pad_y);
            let left = i32(number % ACROSS * 4u) - i32(p.pad_x);
            let of_channel = number / ACROSS % IC;
            // Beyond the last vector it also reads, so that no branch separates the passes' reads.
            let four = vec4f(load_x(n, y, left, of_channel), load_x(n, y, left + 1, of_channel),
                load_x(n, y, left + 2, of_channel), load_x(n, y, left + 3, of_channel));
            if X_COUNT % LANES == 0u || number < X_COUNT { staged[number] = four; }
        }
        workgroupBarrier();
        let gradients = row_of(n, row + own_row);
        // What the next pixels need is read before these are computed, because some compilers keep the order.
        var read = read_four(gradients, 4u * part * OWN_GROUPS, filters);
        // This loop's end is no constant: unrolled, it would need more registers.
        for (var number = part * OWN_GROUPS; number < min((part + 1u) * OWN_GROUPS, GROUPS); number++) {
            let at = own_row * down + channel * ACROSS + number;
            var x = eight_at(at);
            let dy = four_of(gradients, 4u * number, read);
            read = read_four(gradients, 4u * number + 4u, filters);
            var next = x;
            if KH > 1u { next = eight_at(at + down); }
            bias += dy.a + dy.b + dy.c + dy.d;
            r0 = added(r0, x, dy);
            if KH > 2u { x = eight_at(at + 2u * down); }
            if KH > 1u { r1 = added(r1, next, dy); }
            if KH > 3u { next = eight_at(at + 3u * down); }
            if KH > 2u { r2 = added(r2, x, dy); }
            if KH > 4u { x = eight_at(at + 4u * down); }
            if KH > 3u { r3 = added(r3, next, dy); }
            if KH > 4u { r4 = added(r4, x, dy); }
        }
    }
    let place = Place(split, group.z * FILTER_LANES, lane, range.x < range.y);
    let rows = KW * IC;
    write(r0, KW, 0u, BLOCKS, place);
    if KH > 1u { write(r1, KW, rows, BLOCKS, place); }
    if KH > 2u { write(r2, KW, 2u * rows, BLOCKS, place); }
    if KH > 3u { write(r3, KW, 3u * rows, BLOCKS, place); }
    if KH > 4u { write(r4, KW, 4u * rows, BLOCKS, place); }
    write(Taps(bias, bias, bias, bias, bias), 1u, KH * rows, FILTER_LANES, place);
}
