//! The choice of a device.

use super::gpu::{AdapterSummary, Choice, Gpu, RuntimeChecks, list_adapters};
use super::{Device, self_check};
use crate::error::{Error, Result};
use crate::kernels::Precision;

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
    /// Another choice, whose GPU computes products in this precision.
    WithPrecision(Box<DeviceChoice>, Precision),
}

/// The way a GPU is opened.
#[derive(Debug, Clone, Copy)]
struct Way {
    checks: RuntimeChecks,
    self_checked: bool,
    /// `None` if none was chosen; then a GPU that is opened now computes in f32.
    precision: Option<Precision>,
}

impl DeviceChoice {
    /// This choice with products in a precision, instead of one that was chosen before.
    pub fn in_precision(self, precision: Precision) -> DeviceChoice {
        match self {
            DeviceChoice::WithPrecision(choice, _) => choice.in_precision(precision),
            DeviceChoice::WithoutSelfCheck(choice) => {
                DeviceChoice::WithoutSelfCheck(Box::new(choice.in_precision(precision)))
            }
            choice => DeviceChoice::WithPrecision(Box::new(choice), precision),
        }
    }

    /// Whether it is the processor, whatever devices there are.
    pub fn is_processor(&self) -> bool {
        match self {
            DeviceChoice::Cpu | DeviceChoice::Reference => true,
            DeviceChoice::WithoutSelfCheck(choice) | DeviceChoice::WithPrecision(choice, _) => choice.is_processor(),
            DeviceChoice::Open(device) => !matches!(device, Device::Gpu(_)),
            DeviceChoice::Auto | DeviceChoice::Gpu | DeviceChoice::Adapter(_) => false,
        }
    }

    /// Opens the device. If [`DeviceChoice::Auto`] chooses the processor, or refuses an adapter before the one that it
    /// chooses, also returns the reason.
    ///
    /// # Errors
    /// [`Error::Adapter`] if there is no such adapter, [`Error::Precision`] if none computes in the precision, and those
    /// of [`Gpu::open`] and [`self_check()`].
    pub async fn open(&self, checks: RuntimeChecks) -> Result<(Device, Option<String>)> {
        self.open_in(Way { checks, self_checked: true, precision: None }).await
    }

    async fn open_in(&self, way: Way) -> Result<(Device, Option<String>)> {
        let gpu = async |choice| open_gpu(&choice, way).await.map(Device::Gpu);
        let device = match self {
            DeviceChoice::Auto => {
                let Automatic { gpu, reason, refused } = automatic_in(way).await;
                return match (gpu, way.precision.unwrap_or_default()) {
                    (Some(gpu), _) => Ok((Device::Gpu(gpu), Some(reason).filter(|_| refused > 0))),
                    (None, Precision::F32) => Ok((Device::Cpu, Some(reason))),
                    (None, precision) => Err(Error::Precision(format!(
                        "no GPU was chosen automatically for precision {precision}: {reason}{}",
                        others_in(precision).await
                    ))),
                };
            }
            DeviceChoice::Gpu => gpu(Choice::Any).await?,
            DeviceChoice::Adapter(name) => gpu(Choice::Named(name.clone())).await?,
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Reference => Device::Reference,
            DeviceChoice::Open(device) => device.clone(),
            DeviceChoice::WithoutSelfCheck(choice) => {
                return Box::pin(choice.open_in(Way { self_checked: false, ..way })).await;
            }
            DeviceChoice::WithPrecision(choice, precision) => {
                return Box::pin(choice.open_in(Way { precision: Some(*precision), ..way })).await;
            }
        };
        match (&device, way.precision) {
            (_, None) => Ok((device, None)),
            (_, Some(precision)) if device.info().precision == precision => Ok((device, None)),
            (Device::Gpu(gpu), Some(precision)) => Err(Error::Precision(format!(
                "{} is open in precision {}, not in {precision}; open it again",
                gpu.info().name,
                gpu.info().precision
            ))),
            (_, Some(precision)) => {
                Err(Error::Precision(format!("precision {precision} is for a GPU, and the processor computes in f32")))
            }
        }
    }
}

/// The adapters that compute in this precision, as the end of a sentence about the automatic choice.
async fn others_in(precision: Precision) -> String {
    let adapters = list_adapters().await;
    let able = adapters.iter().filter(|adapter| adapter.precisions.contains(&precision));
    let named: Vec<String> = able.map(|adapter| format!("{}: {}", adapter.index, adapter.name)).collect();
    if named.is_empty() { String::new() } else { format!("; adapters with it are {}", named.join(", ")) }
}

async fn open_gpu(choice: &Choice, way: Way) -> Result<Gpu> {
    let gpu = Gpu::open(choice, way.checks, way.precision.unwrap_or_default()).await?;
    if !way.self_checked {
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
    /// The reason for this choice, with those against the hardware adapters that were tried before it.
    pub reason: String,
    /// The number of those adapters.
    pub refused: usize,
}

/// Opens the hardware GPU that [`DeviceChoice::Auto`] uses: the first one that opens and, with `self_checked`, passes
/// [`self_check()`].
pub async fn automatic(checks: RuntimeChecks, self_checked: bool) -> Automatic {
    automatic_in(Way { checks, self_checked, precision: None }).await
}

async fn automatic_in(way: Way) -> Automatic {
    let adapters = list_adapters().await;
    let hardware = adapters.iter().filter(|adapter| !adapter.software);
    let named = |adapter: &AdapterSummary| Choice::Named(adapter.index.to_string());
    let open = async |adapter| open_gpu(&named(adapter), way).await;
    let (gpu, mut reasons) = first_opened(hardware, open).await;
    let refused = reasons.len();
    match &gpu {
        Some(gpu) => reasons.push(format!("{} is a hardware adapter", gpu.info().name)),
        None if adapters.is_empty() => reasons.push("there is no GPU adapter".into()),
        None if refused == 0 => {
            reasons.push("there are only software adapters, and they are slower than Glassnet's CPU path".into());
        }
        None => {}
    }
    Automatic { gpu, reason: reasons.join("; "), refused }
}

/// The first device that opens, and why those before it did not.
async fn first_opened<A, D>(
    adapters: impl Iterator<Item = A>,
    open: impl AsyncFn(A) -> Result<D>,
) -> (Option<D>, Vec<String>) {
    let mut refused = Vec::new();
    for adapter in adapters {
        match open(adapter).await {
            Ok(device) => return (Some(device), refused),
            Err(why) => refused.push(why.to_string()),
        }
    }
    (None, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(adapters: &[(&'static str, bool)]) -> (Option<&'static str>, Vec<String>) {
        let open = async |&(name, works): &(&'static str, bool)| {
            if works { Ok(name) } else { Err(Error::SelfCheck(format!("{name} computes wrongly"))) }
        };
        pollster::block_on(first_opened(adapters.iter(), open))
    }

    #[test]
    fn a_precision_that_a_device_does_not_have_is_an_error_and_the_last_one_holds() {
        let open = |choice: DeviceChoice| pollster::block_on(choice.open(RuntimeChecks::Off));
        for place in [DeviceChoice::Cpu, DeviceChoice::Reference, DeviceChoice::Open(Device::Cpu)] {
            assert!(place.is_processor());
            let refused = open(place.clone().in_precision(Precision::MatrixF16)).expect_err("a processor").to_string();
            assert!(refused.contains("matrix-f16 is for a GPU"), "{refused}");
            let wrapped = DeviceChoice::WithoutSelfCheck(Box::new(place.in_precision(Precision::MatrixF16)));
            assert!(open(wrapped.clone()).is_err());
            open(wrapped.in_precision(Precision::F32)).expect("f32 is the last word");
        }
        let refused = open(DeviceChoice::Auto.in_precision(Precision::MatrixF32));
        assert!(refused.is_err() || refused.is_ok_and(|(device, _)| device.info().precision == Precision::MatrixF32));
    }

    #[test]
    fn the_next_adapter_is_tried_where_one_is_refused() {
        assert_eq!(opened(&[("first", true), ("second", true)]), (Some("first"), vec![]));
        let why = |name: &str| format!("{name} computes wrongly");
        assert_eq!(opened(&[("first", false), ("second", true)]), (Some("second"), vec![why("first")]));
        assert_eq!(opened(&[("first", false), ("second", false)]), (None, vec![why("first"), why("second")]));
        assert_eq!(opened(&[]), (None, vec![]));
    }
}
