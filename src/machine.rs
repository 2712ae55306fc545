//! What this machine has left for the program.

use crate::{Error, Result};

/// Bytes of memory that this process can still take: the least of what the system has available, what the limit of its
/// control group leaves, and what its own limit of addresses (`ulimit -v`) leaves. In a browser,
/// which does not say, what 32 bits can address; `None` where nobody says.
/// Swap space does not count: a training step that waits for it would never end.
pub fn free_memory() -> Option<u64> {
    #[cfg(not(target_arch = "wasm32"))]
    return native::free_memory();
    #[cfg(target_arch = "wasm32")]
    Some(1 << 32)
}

/// Whether so many more bytes can be taken.
///
/// # Errors
/// [`Error::TooLarge`] that says what takes `bytes`, how many are free, and to do as `remedy` says.
pub fn check_room(what: &str, bytes: u64, remedy: &str) -> Result<()> {
    match free_memory() {
        Some(free) if bytes > free => {
            Err(Error::TooLarge(format!("{what} takes {} of memory, and {} are free; {remedy}", mib(bytes), mib(free))))
        }
        _ => Ok(()),
    }
}

/// Bytes for people.
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

    /// What is used includes files that were read, which give way.
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
            // Of a group above this one, which is fuller.
            assert_eq!(left_in(&CGroupLimits { free_memory: 0, rss: 2000, ..limits }), 0);
        }

        #[test]
        fn this_machine_has_memory_left() {
            assert!(free_memory().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
