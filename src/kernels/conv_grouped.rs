//! Convolution on the CPU in many small groups: several adjacent groups are computed as one, with zeros for the weights
//! between them. A matrix product with two columns takes nearly as long as one with sixteen.
//!
//! Zero times infinity is not zero, so values multiplied by those zeros must be finite.

use super::conv_depthwise;
use super::conv_params::Params;

/// The intended number of input and output channels per group.
const WANTED: usize = 16;

/// The most floats of merged weights per thread besides the network's own: 64 MiB.
const MOST_WEIGHTS: usize = 1 << 24;

/// The same convolution in fewer groups; `None` if they are already large enough.
pub(super) fn merged(p: &Params) -> Option<Params> {
    let groups = p.groups as usize;
    let wanted = WANTED.div_ceil(p.group_inputs().min(p.group_outputs()));
    let together = (1..=groups).filter(|n| groups.is_multiple_of(*n)).min_by_key(|n| n.abs_diff(wanted))?;
    let merged = Params { groups: (groups / together) as u32, ..*p };
    let suits = together > 1 && !conv_depthwise::takes(p) && weights(&merged) <= MOST_WEIGHTS;
    suits.then_some(merged)
}

/// The number of weights, including those that are always zero.
fn weights(p: &Params) -> usize {
    p.k() * p.o as usize
}

/// Calls `f(own, merged, count)` for runs of `count` contiguous weights, which start at `own` in the weights of `p`
/// `[KH,KW,C/G,O]` and at `merged` in those of `merged`.
fn for_runs(p: &Params, merged: &Params, mut f: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs, o) = (p.group_inputs(), p.group_outputs(), p.o as usize);
    let (together, merged_inputs) = ((p.groups / merged.groups) as usize, merged.group_inputs());
    for row in 0..p.k() {
        let (tap, channel) = (row / inputs, row % inputs);
        for group in 0..p.groups as usize {
            let to = tap * merged_inputs + group % together * inputs + channel;
            f(row * o + group * outputs, to * o + group * outputs, outputs);
        }
    }
}

/// The weights of `p` in the layout of `merged`.
pub(super) fn merge(p: &Params, merged: &Params, weight: &[f32], to: &mut Vec<f32>) {
    to.clear();
    to.resize(weights(merged), 0.0);
    for_runs(p, merged, |own, at, count| to[at..at + count].copy_from_slice(&weight[own..own + count]));
}

/// Adds a gradient of the merged weights to that of the weights of `p`.
pub(super) fn add_parts(p: &Params, merged: &Params, gradient: &[f32], dweight: &mut [f32]) {
    for_runs(p, merged, |own, at, count| {
        dweight[own..own + count].iter_mut().zip(&gradient[at..at + count]).for_each(|(sum, v)| *sum += v);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(c: usize, o: usize, groups: usize) -> Params {
        Params::new([1, 5, 5, c], o, [3, 3], [1, 1], [1, 1]).with([1, 1], groups)
    }

    #[test]
    fn small_groups_are_merged_to_sixteen_channels_or_about_that() {
        for ((c, o, groups), expected) in [
            ((64, 64, 32), Some(4)),
            ((64, 64, 8), Some(4)),
            ((64, 64, 4), None),
            ((24, 12, 12), Some(1)),
            ((30, 30, 15), Some(3)),
            ((62, 62, 31), None),
            ((64, 64, 64), None),
            ((64, 64, 1), None),
        ] {
            assert_eq!(merged(&params(c, o, groups)).map(|p| p.groups), expected, "{c} to {o} in {groups} groups");
        }
    }

    #[test]
    fn weights_come_back_from_between_the_zeros() {
        let p = params(12, 18, 6);
        let merged = Params { groups: 2, ..p };
        let weight: Vec<f32> = (1..=weights(&p)).map(|i| i as f32).collect();
        let (mut spread, mut back) = (Vec::new(), vec![1.0; weight.len()]);
        merge(&p, &merged, &weight, &mut spread);
        assert_eq!(spread.len(), 3 * weight.len());
        assert_eq!(spread.iter().filter(|w| **w != 0.0).count(), weight.len());
        add_parts(&p, &merged, &spread, &mut back);
        assert!(back.iter().zip(&weight).all(|(back, w)| *back == w + 1.0));
    }
}
