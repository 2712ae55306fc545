//! The program: reads the command line, runs one command, and turns an error into a message and an exit code.
//!
//! Exit codes: 0 success, 1 failure or a negative finding, 2 an invalid command line, 101 a fault of this program, 130
//! stopped by Ctrl-C.

mod cli;

use std::panic::PanicHookInfo;
use std::process::ExitCode;

/// Log levels if `RUST_LOG` is unset. Errors of this program already report what wgpu and its parts say about a failing
/// driver.
const LOGGED: &str = "warn,wgpu=off,wgpu_core=off,wgpu_hal=off,gpu_allocator=off,gpu_descriptor=off,naga=off";

fn main() -> ExitCode {
    quiet_device_selection();
    cli::launched();
    std::panic::set_hook(Box::new(on_panic(std::panic::take_hook())));
    let usual = env_logger::fmt::ConfigurableFormat::default();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(LOGGED))
        .format(move |to, record| {
            // The message may contain a file's name or content.
            let text = glassnet::text::tame(record.args());
            let mut tamed = log::Record::builder();
            usual.format(to, &tamed.metadata(record.metadata().clone()).args(format_args!("{text}")).build())
        })
        .init();
    match cli::run(cli::arguments::read()) {
        Ok(code) => code,
        // The reader of stdout closed it; this is not a failure.
        Err(error) if cli::output::is_hang_up(&error) => ExitCode::SUCCESS,
        Err(error) => {
            cli::output::note(format_args!("error: {}", cli::output::told(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Keeps Mesa's device-select layer from asking for a Wayland display if there is none. libwayland would then write
/// "error: XDG_RUNTIME_DIR is invalid or not set in the environment." to stderr for each listing of adapters. The layer
/// only orders adapters, by such a display or by these variables; this program lists them all and chooses itself.
fn quiet_device_selection() {
    let absolute = |name| std::env::var_os(name).is_some_and(|path| std::path::Path::new(&path).is_absolute());
    let set = |name: &&str| std::env::var_os(name).is_some();
    let has_wayland = absolute("XDG_RUNTIME_DIR") || absolute("WAYLAND_DISPLAY");
    let has_wish = ["NODEVICE_SELECT", "MESA_VK_DEVICE_SELECT", "DRI_PRIME"].iter().any(set);
    if cfg!(target_os = "linux") && !has_wayland && !has_wish {
        // SAFETY: this is the first thing that the program does; no other thread runs that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// What a panic prints: nothing if it becomes an error; the usual text if a backtrace was requested; otherwise one
/// line.
fn on_panic(usual: impl Fn(&PanicHookInfo<'_>)) -> impl Fn(&PanicHookInfo<'_>) {
    move |info| {
        if glassnet::exec::gpu::is_contained() {
            log::debug!("contained: {info}");
        } else if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            usual(info);
        } else {
            let text = info.payload_as_str().unwrap_or("a panic without a message").replace('\n', " / ");
            let place = info.location().map_or(String::new(), |place| format!(" at {}:{}", place.file(), place.line()));
            cli::output::note(format_args!(
                "error: a fault of this program{place}: {text}; please report it with this text (RUST_BACKTRACE=1 gives more)"
            ));
        }
    }
}
