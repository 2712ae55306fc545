//! Residual blocks in a flat list of layers: which node reads which.

use super::Layer;
use crate::{Error, Result};

/// The deepest nesting of blocks; the reader of descriptions also stops there.
pub(super) const MAX_DEPTH: usize = 16;

/// For each layer, the index of the layer whose output it reads, and for a residual block also the index of the layer
/// whose output is added (for other layers the first index again). An `input` has its own index.
///
/// # Errors
/// [`Error::Network`] if a block reaches beyond the first layer, is empty, overlaps another or is nested too deep.
pub(super) fn sources(layers: &[(Layer, f32)]) -> Result<Vec<[usize; 2]>> {
    let mut sources: Vec<[usize; 2]> = (0..layers.len()).map(|i| [i.saturating_sub(1); 2]).collect();
    // The first layer that the surrounding blocks allow each layer to reach back to. The last block is the outermost.
    let mut reach = vec![1; layers.len()];
    let mut depth = vec![0; layers.len()];
    for end in (0..layers.len()).rev() {
        let Layer::Residual { body, shortcut } = layers[end].0 else { continue };
        let refuse = |why: &str| Err(Error::Network(format!("layer {} (residual): {why}", end + 1)));
        if body == 0 {
            return refuse("the block has no body; rule: at least one layer in `layers`");
        }
        let first = shortcut.checked_add(body).and_then(|length| end.checked_sub(length));
        let Some(first) = first.filter(|first| *first >= reach[end]) else {
            return refuse("its layers reach beyond the block around it; rule: blocks are nested or separate");
        };
        let start = sources[first][0];
        if depth[end] == MAX_DEPTH {
            return refuse(&format!("rule: at most {MAX_DEPTH} nested blocks"));
        }
        let branch = end - shortcut;
        depth[first..end].iter_mut().for_each(|depth| *depth += 1);
        reach[first..branch].iter_mut().for_each(|reach| *reach = first);
        reach[branch..end].iter_mut().for_each(|reach| *reach = branch);
        if shortcut > 0 {
            sources[branch] = [start; 2];
        }
        sources[end] = [branch - 1, if shortcut > 0 { end - 1 } else { start }];
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Activation;

    /// Pairs stand for blocks (body, shortcut), `None` for any other layer.
    fn of(layers: &[Option<(usize, usize)>]) -> Result<Vec<[usize; 2]>> {
        let layer = |block: &Option<(usize, usize)>| {
            (
                block
                    .map_or(Layer::Activation(Activation::Relu), |(body, shortcut)| Layer::Residual { body, shortcut }),
                0.0,
            )
        };
        sources(&layers.iter().map(layer).collect::<Vec<_>>())
    }

    #[test]
    fn a_block_adds_what_entered_it_or_what_its_shortcut_makes_of_that() {
        let plain = of(&[None, None, None, None, Some((2, 0)), None]).expect("a block");
        assert_eq!(plain, [[0, 0], [0, 0], [1, 1], [2, 2], [3, 1], [4, 4]]);
        let projected = of(&[None, None, None, None, None, Some((2, 2))]).expect("a block with a shortcut");
        assert_eq!(projected, [[0, 0], [0, 0], [1, 1], [0, 0], [3, 3], [2, 4]]);
    }

    #[test]
    fn a_block_at_the_start_of_a_shortcut_reads_what_the_shortcut_reads() {
        // The layers are: input, a body of one, a shortcut of a block of one and a layer, end.
        let nested = of(&[None, None, None, Some((1, 0)), None, Some((1, 3))]).expect("a block in a shortcut");
        assert_eq!(nested, [[0, 0], [0, 0], [0, 0], [2, 0], [3, 3], [1, 4]]);
        let twice = of(&[None, None, Some((1, 0)), Some((2, 0))]).expect("a block in a body");
        assert_eq!(twice, [[0, 0], [0, 0], [1, 0], [2, 0]]);
    }

    /// A layer inside `depth` blocks.
    fn nested(depth: usize) -> Vec<Option<(usize, usize)>> {
        [None, None].into_iter().chain((1..=depth).map(|body| Some((body, 0)))).collect()
    }

    #[test]
    fn blocks_nest_as_deep_as_descriptions_do() {
        assert!(of(&nested(MAX_DEPTH)).is_ok());
    }

    #[test]
    fn blocks_that_overlap_or_reach_too_far_are_refused() {
        for wrong in [
            &[None, Some((1, 0))][..],
            &[None, None, Some((0, 0))],
            &[None, None, Some((0, 1))],
            &[None, None, Some((usize::MAX, 1))],
            &[None, None, None, Some((2, 0)), Some((2, 0))],
            &[None, None, None, Some((2, 0)), Some((2, 1))],
            &nested(MAX_DEPTH + 1),
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
