//! Adadelta (Zeiler 2012), which Burn lacks: both roots are of (mean square + epsilon), and L2 decay applies to weights
//! only.

use burn::optim::{LearningRate, Optimizer, RecordState};
use burn::tensor::{Device, Tensor};

#[derive(Clone)]
pub struct Adadelta {
    pub rho: f64,
    pub epsilon: f64,
    pub l2_decay: f64,
}

/// Running means of squared gradients and of squared updates.
#[derive(RecordState, Clone)]
pub struct AdadeltaState<const D: usize> {
    gradients: Tensor<D>,
    updates: Tensor<D>,
}

impl Optimizer for Adadelta {
    type State<const D: usize> = AdadeltaState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: LearningRate,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let fresh = || AdadeltaState { gradients: gradient.zeros_like(), updates: gradient.zeros_like() };
        let state = state.unwrap_or_else(fresh);
        // Biases have one dimension.
        let gradient = if D > 1 { gradient + parameter.clone().mul_scalar(self.l2_decay) } else { gradient };
        let mean =
            |old: Tensor<D>, new: Tensor<D>| old.mul_scalar(self.rho) + (new.clone() * new).mul_scalar(1.0 - self.rho);
        let gradients = mean(state.gradients, gradient.clone());
        let root = |mean: Tensor<D>| mean.add_scalar(self.epsilon).sqrt();
        let update = gradient * root(state.updates.clone()) / root(gradients.clone());
        let updates = mean(state.updates, update.clone());
        (parameter - update.mul_scalar(learning_rate), Some(AdadeltaState { gradients, updates }))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        AdadeltaState { gradients: state.gradients.to_device(device), updates: state.updates.to_device(device) }
    }
}
