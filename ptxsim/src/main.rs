//! The command `ptxsim`; see `ptxsim --help`.

fn main() -> std::process::ExitCode {
    ptxsim::cli::main()
}
