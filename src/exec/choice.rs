//! The choice of a device.

use super::Device;
use super::gpu::{AdapterSummary, Choice, Gpu, RuntimeChecks, list_adapters};
use crate::error::Result;

/// The device to compute on.
#[derive(Debug, Clone, Default)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one, otherwise the processor.
    #[default]
    Auto,
    /// Any GPU; a software one if there is no other.
    Gpu,
    /// The GPU with this number in `glassnet devices`, or with this text in its name.
    Adapter(String),
    /// All cores of the processor.
    Cpu,
    /// Naive loops on one core.
    Reference,
    /// A device that is already open.
    Open(Device),
}

impl DeviceChoice {
    /// Opens the device. If [`DeviceChoice::Auto`] chooses the processor, also returns the reason.
    ///
    /// # Errors
    /// [`Error::Adapter`](crate::Error::Adapter) if there is no such adapter, and those of [`Gpu::open`].
    pub async fn open(&self, checks: RuntimeChecks) -> Result<(Device, Option<String>)> {
        let gpu = async |choice: Choice| Gpu::open(&choice, checks).await.map(Device::Gpu);
        let device = match self {
            DeviceChoice::Auto => match automatic_choice(&list_adapters().await) {
                (Some(_), _) => gpu(Choice::Hardware).await?,
                (None, reason) => return Ok((Device::Cpu, Some(reason))),
            },
            DeviceChoice::Gpu => gpu(Choice::Any).await?,
            DeviceChoice::Adapter(name) => gpu(Choice::Named(name.clone())).await?,
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Reference => Device::Reference,
            DeviceChoice::Open(device) => device.clone(),
        };
        Ok((device, None))
    }
}

/// The adapter that [`DeviceChoice::Auto`] uses, and the reason for choosing it or none.
pub fn automatic_choice(adapters: &[AdapterSummary]) -> (Option<&AdapterSummary>, String) {
    match adapters.iter().find(|adapter| !adapter.software) {
        Some(adapter) => (Some(adapter), format!("{} is a hardware adapter", adapter.name)),
        None if adapters.is_empty() => (None, "there is no GPU adapter".into()),
        None => (None, "there are only software adapters, and they are slower than Glassnet's CPU path".into()),
    }
}
