//! Explains the driver's errors: memory that ran out, a device that was lost, a command or shader that was refused.

use crate::text::first_lines;

/// What to do when memory runs out, whether or not the command has a batch.
const LESS: &str = "end other programs that use it, or give it less to do, as with a smaller batch";

/// Describes an error and what to do. `what` is the request to the device, such as "kernel pool.forward".
pub(super) fn describe(error: &wgpu::Error, what: &str) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => format!("the device is out of memory for {what}: {LESS}"),
        wgpu::Error::Validation { description, .. } => format!(
            "the device refused {what}, which is a fault of Glassnet or of the driver; report it with this text: {}",
            first_lines(description)
        ),
        wgpu::Error::Internal { description, .. } => format!(
            "the driver failed at {what}: {}; update the driver, and report this text if that does not help",
            first_lines(description)
        ),
    }
}

/// Describes why a device was lost. Drivers also give up a device when they run out of memory.
pub(super) fn lost(message: &str) -> String {
    let message = first_lines(message);
    if message.to_lowercase().contains("memory") {
        return format!("the device ran out of memory and was lost ({message}): {LESS}");
    }
    format!(
        "the device was lost ({message}): its driver stopped, or the system took it away; run this again, or compute on \
         the cpu"
    )
}

/// Describes a panic of wgpu or the driver. Its text about wgpu's internals only goes to the log.
pub(super) fn panicked(text: &str) -> String {
    // wgpu's message for a device that was lost during a wait.
    if text.contains("device is lost") {
        return lost("Device is lost");
    }
    log::debug!("a panic in wgpu or the driver: {text}");
    "the driver ran out of memory or failed; run this again, or compute on the cpu".into()
}

/// Describes a panic of wgpu or the driver while a device was opened.
pub(super) fn panicked_opening(text: &str) -> String {
    log::debug!("a panic while the device was opened: {text}");
    "the driver ran out of memory or failed while the device was opened".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_says_what_it_is() {
        let source = || Box::new(std::fmt::Error);
        let memory = describe(&wgpu::Error::OutOfMemory { source: source() }, "buffer a");
        assert!(memory.contains("out of memory for buffer a") && memory.contains("smaller batch"), "{memory}");
        let long = format!("Shader error\n{}", "line\n".repeat(1000));
        let invalid = wgpu::Error::Validation { source: source(), description: long };
        let invalid = describe(&invalid, "kernel pool.forward");
        assert!(invalid.contains("kernel pool.forward") && invalid.contains("report"), "{invalid}");
        assert!(!invalid.contains("batch") && invalid.len() < 300, "{invalid}");
        let internal = wgpu::Error::Internal { source: source(), description: "ICE".into() };
        assert!(describe(&internal, "kernel x").contains("the driver failed at kernel x: ICE"));
    }

    #[test]
    fn a_lost_device_is_told_from_one_without_memory() {
        assert!(lost("Out of memory").contains("smaller batch"));
        for said in [panicked("buckets are not empty"), panicked_opening("buckets are not empty")] {
            assert!(said.contains("out of memory or failed") && !said.contains("buckets"), "{said}");
        }
        assert!(!lost("Device is lost").contains("batch"));
        assert!(
            panicked("Error in Device::poll: Validation Error / Caused by: / Parent device is lost")
                .contains("was lost")
        );
    }
}
