// The header of a step, as kernels/batch.rs writes it.
struct Header {
    step: u32, // of this run, from 0
    valid: u32, // examples; rows at and beyond it belong to none
    seed: u32,
    training: u32, // 1 while training, else 0
    learning_rate: f32,
    correction1: f32, // Adam's 1 - beta1^t
    correction2: f32, // Adam's 1 - beta2^t
    place: u32, // of a crop in evaluation
    global_valid: u32, // examples of the whole batch, of which this may be a part
    first_row: u32, // of this part, by its number in the whole batch; draws go by that
}
