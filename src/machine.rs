//! The memory that this machine has left for the program.

use crate::{Error, Result};

/// The number of bytes that this process can still allocate: the least of the system's available memory, what the limit
/// of its control group leaves, and what its own address limit (`ulimit -v`) leaves. In a browser, which gives no
/// figure, the 32-bit address space; `None` if nothing is known. Swap space does not count, because a training step
/// that waits for it would never end.
pub fn free_memory() -> Option<u64> {
    #[cfg(not(target_arch = "wasm32"))]
    return native::free_memory();
    #[cfg(target_arch = "wasm32")]
    Some(1 << 32)
}

/// Checks that `bytes` more can be allocated.
///
/// # Errors
/// [`Error::TooLarge`], which says that `what` takes `bytes` and how many are free, and ends with `remedy`.
pub fn check_room(what: &str, bytes: u64, remedy: &str) -> Result<()> {
    match free_memory() {
        Some(free) if bytes > free => {
            Err(Error::TooLarge(format!("{what} takes {} of memory, but {} are free; {remedy}", mib(bytes), mib(free))))
        }
        _ => Ok(()),
    }
}

/// A number of bytes for people.
pub fn mib(bytes: u64) -> String {
    match bytes {
        large if large >= 10 << 30 => format!("{:.1} GiB", large as f64 / f64::from(1 << 30)),
        small => format!("{:.1} MiB", small as f64 / f64::from(1 << 20)),
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use sysinfo::{CGroupLimits, ProcessRefreshKind, ProcessesToUpdate, System};

    pub fn free_memory() -> Option<u64> {
        let mut system = System::new().ok()?;
        system.refresh_memory();
        let available = Some(system.available_memory()).filter(|bytes| *bytes > 0);
        let own = sysinfo::get_current_pid().ok();
        let process = own.and_then(|own| {
            let what = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
            system.process(own)
        });
        let group = process.and_then(|process| process.cgroup_limits()).map(|limits| left_in(&limits));
        let addresses = process.and_then(|process| Some(address_limit()?.saturating_sub(process.virtual_memory())));
        [available, group, addresses].into_iter().flatten().min()
    }

    /// The memory in use includes cached files, which can be dropped.
    fn left_in(group: &CGroupLimits) -> u64 {
        group.total_memory.saturating_sub(group.rss).max(group.free_memory)
    }

    #[cfg(target_os = "linux")]
    fn address_limit() -> Option<u64> {
        rustix::process::getrlimit(rustix::process::Resource::As).current
    }

    #[cfg(not(target_os = "linux"))]
    fn address_limit() -> Option<u64> {
        None
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn files_that_were_read_do_not_count_as_used() {
            let limits = CGroupLimits { total_memory: 1000, free_memory: 100, free_swap: 0, rss: 300 };
            assert_eq!(left_in(&limits), 700);
            // Usage of a fuller group above this one.
            assert_eq!(left_in(&CGroupLimits { free_memory: 0, rss: 2000, ..limits }), 0);
        }

        #[test]
        fn this_machine_has_memory_left() {
            assert!(free_memory().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
