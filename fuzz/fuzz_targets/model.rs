//! Models and checkpoints as safetensors: what is accepted is finite, has the network's shapes and reads back the same.
#![no_main]

use glassnet::formats::{Checkpoint, Model, onnx};
use glassnet_fuzz::{SOURCE, accepted, containers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for bytes in containers(input) {
        let Some(model) = accepted(Model::from_bytes(&bytes, SOURCE), SOURCE) else { continue };
        for (shape, values) in model.network.parameters().iter().zip(&model.parameters) {
            assert_eq!((shape.weight_len(), shape.bias), (values.weight.len(), values.bias.len()));
        }
        model.class_names();
        // Some networks have no words there; then that is told.
        accepted(model.to_convnetjs(), "");
        onnx::to_bytes(&model).expect("what was read is finite");
        let written = model.to_bytes().expect("what was read is finite");
        assert_eq!(Model::from_bytes(&written, SOURCE).expect("what was written"), model);
        if let Some(checkpoint) = accepted(Checkpoint::from_bytes(&bytes, SOURCE), SOURCE) {
            let written = checkpoint.to_bytes().expect("what was read is finite");
            assert_eq!(Checkpoint::from_bytes(&written, SOURCE).expect("what was written"), checkpoint);
        }
    }
});
