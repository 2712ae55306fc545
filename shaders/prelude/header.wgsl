// The header of a step, written by kernels/batch.rs.
struct Header {
    step: u32, // in this run, from 0
    valid: u32, // the number of examples; rows from it on belong to none
    seed: u32,
    training: u32, // 1 while training, otherwise 0
    learning_rate: f32,
    correction1: f32, // Adam's 1 - beta1^t
    correction2: f32, // Adam's 1 - beta2^t
    place: u32, // the crop in evaluation
    global_valid: u32, // the number of examples in the whole batch, of which this may be a part
    first_row: u32, // the number of this part's first row in the whole batch; random draws use it
}
