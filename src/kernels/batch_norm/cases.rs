//! Cases of batch normalisation.

use super::{Params, backward_input, backward_weight, finish, forward, moments, running, sums};
use crate::kernels::Case;
use crate::kernels::batch::Header;
use crate::kernels::case::{CaseBuilder, Tolerance, also_split};

/// Examples, pixels, channels, valid examples, and whether it is a training step.
const SHAPES: &[([usize; 3], u32, bool)] = &[
    ([1, 1, 1], 1, true),
    ([1, 1, 4], 1, true),
    ([20, 576, 8], 20, true),
    ([20, 576, 8], 13, true),
    ([20, 143, 7], 20, true),
    ([20, 143, 7], 20, false),
    ([7, 1, 64], 5, true),
    ([130, 9, 12], 130, true),
    ([130, 9, 12], 129, false),
    ([3, 35, 65], 2, true),
    // One value per channel, from several examples and from one.
    ([5, 1, 6], 1, true),
    // Valid examples end with a unit, and with the first part of one.
    ([64, 100, 3], 8, true),
    ([64, 100, 4], 9, true),
    ([4, 4, 4], 0, true),
    // Sums of many chunks.
    ([512, 4, 3], 511, true),
    // Enough channels that all of these kernels have several workgroups, and several tiles in a chunk.
    ([9, 3, 258], 8, true),
    ([9, 3, 256], 8, true),
    ([6, 35, 132], 6, true),
    ([4, 300, 33], 3, true),
    // 512 chunks, two for each lane that merges them; several rows for each lane of a chunk.
    ([64, 512, 3], 61, true),
    ([64, 512, 4], 64, true),
    // Chunks of more than 256 rows, for a single channel and for a whole tile.
    ([32, 5000, 1], 31, true),
    ([8, 2600, 32], 8, true),
];

pub fn cases() -> Vec<Case> {
    let of_shapes = SHAPES.iter().flat_map(|&(size, valid, training)| cases_of(size, valid, training));
    let special = [large_means(), spread_means(), infinite()].into_iter().flatten();
    also_split(of_shapes.chain(special).collect(), &["[9, 3, 25", "[7, 1, 64]"])
}

/// Means whose squares exceed f32; most lanes of a workgroup have no chunk.
fn large_means() -> Vec<Case> {
    let case = |channels: usize| {
        let p = Params::new([4, 1, channels], 1e-3, 0.1);
        let mut b = CaseBuilder::default();
        let header = b.header(Header { training: true, ..Header::evaluation(4) });
        let chunk = [[3e19, -2e25].repeat(channels / 2), vec![0.0; channels]].concat();
        let (moments, running) = (b.reals(chunk.repeat(p.chunks())), b.real(p.running_len()));
        let op = finish(p, header, moments, running, b.out(p.statistics_len()));
        b.case(format_args!("{channels} means of 3e19 and -2e25"), op, Tolerance::ELEMENTWISE)
    };
    vec![case(2), case(4)]
}

/// Values that grow with the row, so that the means of lanes, and of chunks, differ far more than their deviations.
fn spread_means() -> Vec<Case> {
    let case = |channels: usize| {
        let p = Params::new([16, 640, channels], 1e-3, 0.1);
        let mut b = CaseBuilder::default();
        let header = b.header(Header { training: true, ..Header::evaluation(15) });
        let x = b.reals((0..p.len()).map(|i| (i / channels) as f32 - 5000.0 + (i % channels) as f32).collect());
        let op = moments(p, header, x, b.out(p.partial_len()));
        b.case(format_args!("[16, 640, {channels}] of growing values"), op, Tolerance { atol: 1e-2, rtol: 1e-5 })
    };
    vec![case(3), case(8)]
}

/// A NaN or an infinity in the last row of one channel, which only the tree's last merge sees.
fn infinite() -> Vec<Case> {
    let (n, pixels, channels) = (2, 129, 4);
    let p = Params::new([n, pixels, channels], 1e-3, 0.1);
    let values = |odd: f32, at: usize| -> Vec<f32> {
        (0..p.len()).map(|i| if i == at { odd } else { (i % 7) as f32 * 0.25 }).collect()
    };
    let mut cases = Vec::new();
    for odd in [f32::NAN, f32::INFINITY] {
        for at in [p.len() - 2, (p.rows(0, n * pixels).end - 1) * channels + 1] {
            // With an infinity, the mean is infinite or a NaN, depending on the order.
            if odd.is_nan() {
                let mut b = CaseBuilder::default();
                let header = b.header(Header { training: true, ..Header::evaluation(n as u32) });
                let x = b.reals(values(odd, at));
                let op = moments(p, header, x, b.out(p.partial_len()));
                cases.push(b.case(format_args!("{odd} at {at}"), op, Tolerance { atol: 1e-4, rtol: 1e-5 }));
            }
            let mut b = CaseBuilder::default();
            let header = b.header(Header { training: true, ..Header::evaluation(n as u32) });
            let (x, dy, statistics) = (b.real(p.len()), b.reals(values(odd, at)), b.between(3 * channels, 0.5, 2.0));
            let op = sums(p, header, x, dy, statistics, b.out(p.partial_len()));
            cases.push(b.case(format_args!("{odd} at {at}"), op, Tolerance { atol: 1e-4, rtol: 1e-5 }));
        }
    }
    // In the last of 512 chunks.
    let p = Params::new([64, 512, channels], 1e-3, 0.1);
    assert_eq!(p.chunks(), 512, "more chunks than a workgroup has lanes");
    let partial = |at: usize| -> Vec<f32> {
        (0..p.partial_len()).map(|i| if i == at { f32::NAN } else { 0.5 + (i % 3) as f32 * 0.25 }).collect()
    };
    let at = p.partial_len() - channels + 1;
    let mut b = CaseBuilder::default();
    let header = b.header(Header { training: true, ..Header::evaluation(64) });
    let (moments, running) = (b.reals(partial(at)), b.between(2 * channels, 0.5, 2.0));
    let op = finish(p, header, moments, running, b.out(3 * channels));
    cases.push(b.case("NaN in the last chunk", op, Tolerance { atol: 1e-5, rtol: 1e-5 }));
    let mut b = CaseBuilder::default();
    let sums = b.reals(partial(at));
    let op = backward_weight(p, sums, b.out(channels), b.out(channels));
    cases.push(b.case("NaN in the last chunk", op, Tolerance { atol: 1e-3, rtol: 1e-5 }));
    cases
}

fn cases_of(size @ [n, pixels, channels]: [usize; 3], valid: u32, training: bool) -> Vec<Case> {
    let p = Params::new(size, 1e-3, 0.1);
    let (len, partial, statistics) = (p.len(), p.partial_len(), p.statistics_len());
    let header = Header { step: 3, training, ..Header::evaluation(valid) };
    let mode = if training { "training" } else { "evaluation" };
    let shape = format!("[{n}, {pixels}, {channels}] valid {valid} {mode}");
    let rows = n * pixels;
    let mut cases = Vec::new();
    let mut add = |build: &dyn Fn(&mut CaseBuilder) -> crate::kernels::Op, tolerance: Tolerance| {
        let mut b = CaseBuilder::default();
        let op = build(&mut b);
        cases.push(b.case(&shape, op, tolerance));
    };
    add(
        // Far from zero, where the mean of squares minus the square of the mean would be noise.
        &|b| moments(p, b.header(header), b.between(len, 9.0, 11.0), b.out(partial)),
        Tolerance::sum(rows, 1.0),
    );
    add(
        &|b| {
            let (header, moments) = (b.header(header), b.between(partial, 0.5, 2.0));
            finish(p, header, moments, b.between(2 * channels, 0.5, 2.0), b.out(statistics))
        },
        Tolerance::sum(partial / channels, 1.0),
    );
    // Deviations are positive, because their inverse comes from a square root.
    add(
        &|b| {
            let (x, statistics, weight) = (b.real(len), b.between(statistics, 0.5, 2.0), b.real(channels));
            forward(p, x, statistics, [weight, b.real(channels)], b.out(len))
        },
        Tolerance::ELEMENTWISE,
    );
    add(
        &|b| {
            let (header, before) = (b.header(header), b.between(2 * channels, 0.5, 2.0));
            running(p, header, before, b.between(statistics, 0.5, 2.0), b.out(2 * channels))
        },
        Tolerance::ELEMENTWISE,
    );
    add(
        &|b| {
            let (header, x, dy) = (b.header(header), b.real(len), b.real(len));
            sums(p, header, x, dy, b.between(statistics, 0.5, 2.0), b.out(partial))
        },
        Tolerance::sum(rows, 4.0),
    );
    add(
        &|b| {
            let sums = b.real(partial);
            backward_weight(p, sums, b.out(channels), b.out(channels))
        },
        Tolerance::sum(partial / channels, 1.0),
    );
    add(
        &|b| {
            let (header, x, dy) = (b.header(header), b.real(len), b.real(len));
            let (statistics, weight) = (b.between(statistics, 0.5, 2.0), b.real(channels));
            // Sums over the batch are about as large as the batch.
            let gradients = [(); 2].map(|()| b.between(channels, -(rows as f32), rows as f32));
            backward_input(p, header, x, dy, statistics, weight, gradients, b.out(len))
        },
        Tolerance { atol: 2e-5, rtol: 4e-6 },
    );
    cases
}
