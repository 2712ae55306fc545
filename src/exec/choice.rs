//! The choice of a device.

use super::gpu::{AdapterSummary, Choice, Gpu, RuntimeChecks, list_adapters};
use super::{Device, self_check};
use crate::error::Result;

/// The device to compute on. A GPU must pass [`self_check()`] first.
#[derive(Debug, Clone, Default)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one that computes correctly, otherwise the processor.
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
    /// Another choice, whose GPU is used without the self-check: to examine it, or to measure the host's work on a
    /// device that computes nothing.
    WithoutSelfCheck(Box<DeviceChoice>),
}

impl DeviceChoice {
    /// Opens the device. If [`DeviceChoice::Auto`] chooses the processor, also returns the reason.
    ///
    /// # Errors
    /// [`Error::Adapter`](crate::Error::Adapter) if there is no such adapter, and those of [`Gpu::open`] and
    /// [`self_check()`].
    pub async fn open(&self, checks: RuntimeChecks) -> Result<(Device, Option<String>)> {
        self.open_checked(checks, true).await
    }

    async fn open_checked(&self, checks: RuntimeChecks, self_checked: bool) -> Result<(Device, Option<String>)> {
        let gpu = async |choice| open_gpu(&choice, checks, self_checked).await.map(Device::Gpu);
        let device = match self {
            DeviceChoice::Auto => match automatic(checks, self_checked).await {
                Automatic { gpu: Some(gpu), .. } => Device::Gpu(gpu),
                Automatic { gpu: None, reason } => return Ok((Device::Cpu, Some(reason))),
            },
            DeviceChoice::Gpu => gpu(Choice::Any).await?,
            DeviceChoice::Adapter(name) => gpu(Choice::Named(name.clone())).await?,
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Reference => Device::Reference,
            DeviceChoice::Open(device) => device.clone(),
            DeviceChoice::WithoutSelfCheck(choice) => return Box::pin(choice.open_checked(checks, false)).await,
        };
        Ok((device, None))
    }
}

async fn open_gpu(choice: &Choice, checks: RuntimeChecks, self_checked: bool) -> Result<Gpu> {
    let gpu = Gpu::open(choice, checks).await?;
    if !self_checked {
        return Ok(gpu.without_self_check());
    }
    self_check(&gpu).await?;
    Ok(gpu)
}

/// The result of [`DeviceChoice::Auto`].
#[derive(Debug)]
pub struct Automatic {
    /// `None` if it is the processor.
    pub gpu: Option<Gpu>,
    /// The reason for this choice.
    pub reason: String,
}

/// Opens the hardware GPU that [`DeviceChoice::Auto`] uses; with `self_checked`, only one that passes
/// [`self_check()`].
pub async fn automatic(checks: RuntimeChecks, self_checked: bool) -> Automatic {
    match hardware(&list_adapters().await) {
        (None, reason) => Automatic { gpu: None, reason },
        (Some(_), reason) => match open_gpu(&Choice::Hardware, checks, self_checked).await {
            Ok(gpu) => Automatic { gpu: Some(gpu), reason },
            Err(error) => Automatic { gpu: None, reason: error.to_string() },
        },
    }
}

/// The best hardware adapter, and the reason for using it or none.
fn hardware(adapters: &[AdapterSummary]) -> (Option<&AdapterSummary>, String) {
    match adapters.iter().find(|adapter| !adapter.software) {
        Some(adapter) => (Some(adapter), format!("{} is a hardware adapter", adapter.name)),
        None if adapters.is_empty() => (None, "there is no GPU adapter".into()),
        None => (None, "there are only software adapters, and they are slower than Glassnet's CPU path".into()),
    }
}
