//! The `onevault` binary: hands its arguments to [`onevault::cli`] and decides nothing.

fn main() -> std::process::ExitCode {
    onevault::cli::main()
}
