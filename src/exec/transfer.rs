//! Moves data sets and weights between the host and an executor.
//!
//! Images `[N,H,W,C]` are written as bytes, four per word, little endian, into the step's chunks; weights and biases
//! are written to their places in the flat buffer of all parameters, in the order and layout of
//! [`crate::net::Network::parameters`]. The numbers of the classes are written with the images, for steps that learn
//! numbers.

use super::Executor;
use crate::data::Examples;
use crate::error::Result;
use crate::net::Parameters;
use crate::program::TrainingStep;

/// Fills the chunks of the step's data set. `examples` must be as many as the step was lowered for, and of the
/// same shape.
pub fn upload_examples(executor: &mut dyn Executor, step: &TrainingStep, examples: &Examples) -> Result<()> {
    let image = examples.shape.iter().product::<usize>();
    let mut rest = &examples.pixels[..];
    for chunk in step.chunks {
        let (held, left) = rest.split_at(rest.len().min(step.examples_per_chunk * image));
        let words = pack(held);
        assert_eq!(words.len(), chunk.len, "words of {} examples of {:?}", held.len() / image, examples.shape);
        executor.write(chunk.id, &words)?;
        rest = left;
    }
    assert!(rest.is_empty(), "{} bytes more than the step's chunks hold", rest.len());
    match step.numbers {
        Some(numbers) => super::write_reals(executor, numbers.id, &class_numbers(examples, numbers.len)),
        None => Ok(()),
    }
}

/// The number of each class. For labels without examples it is the first class's, which is then the nearest to nothing
/// except the first class itself, which comes before.
fn class_numbers(examples: &Examples, len: usize) -> Vec<f32> {
    let mut numbers: Vec<f32> = (0..examples.classes).map(|class| examples.number(class)).collect();
    numbers.resize(len, examples.number(0));
    numbers
}

/// Packs four bytes into each word, the first one lowest; at least one word, because no buffer is empty.
fn pack(bytes: &[u8]) -> Vec<u32> {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut packed: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    if !tail.is_empty() || packed.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        packed.push(u32::from_le_bytes(last));
    }
    packed
}

/// Writes all weights and biases; the gaps between tensors become zeros.
pub fn upload_parameters(executor: &mut dyn Executor, step: &TrainingStep, parameters: &[Parameters]) -> Result<()> {
    super::write_reals(executor, step.parameters.id, &step.join_parameters(parameters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Device;
    use crate::net::Network;
    use crate::program::{Options, Source};

    #[test]
    fn bytes_are_packed_little_endian() {
        assert_eq!(pack(&[1, 2, 3, 4, 5]), [0x0403_0201, 5]);
        assert_eq!(pack(&[]), [0]);
    }

    #[test]
    fn parameters_come_back_as_they_went() {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let source = Source { height: 28, width: 28, channels: 1, examples: 3 };
        let step = TrainingStep::lower(&network, &Options::evaluation(1, source)).expect("it lowers");
        let parameters = network.initial_parameters(3);
        let back = pollster::block_on(async {
            let mut executor = Device::Cpu.executor(step.program.clone()).await?;
            upload_parameters(&mut *executor, &step, &parameters)?;
            let flat = crate::exec::read_reals(&mut *executor, step.parameters.id).await?;
            Ok::<_, crate::Error>(step.split_parameters(&network, &flat))
        });
        assert_eq!(back.expect("the executor reads"), parameters);
    }

    #[test]
    fn a_data_set_is_spread_over_chunks_of_whole_examples() {
        let network = Network::preset("convnetjs-mnist").expect("a preset");
        let (source, image) = (Source { height: 28, width: 28, channels: 1, examples: 10 }, 784);
        // A chunk holds four examples, so ten need three chunks.
        let options = Options { max_binding: 4 * image as u64, ..Options::evaluation(1, source) };
        let step = TrainingStep::lower(&network, &options).expect("it lowers");
        let pixels = (0..10 * image).map(|i| (i / image) as u8).collect();
        let examples = Examples { shape: [28, 28, 1], classes: 10, pixels, labels: vec![0; 10], numbers: vec![] };
        let read = pollster::block_on(async {
            let mut executor = Device::Cpu.executor(step.program.clone()).await?;
            upload_examples(&mut *executor, &step, &examples)?;
            executor.read(step.chunks[2].id).await
        });
        let words = read.expect("the executor reads");
        assert_eq!((words.len(), words[0], words[196]), (2 * 196, 0x0808_0808, 0x0909_0909));
    }
}
