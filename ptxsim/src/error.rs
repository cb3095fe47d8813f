//! Everything that can be wrong before a kernel runs. What goes wrong while it runs is a
//! [`crate::Fault`] in its report.

use std::fmt;

/// Why a module could not be loaded or a launch not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The text is not PTX.
    Syntax {
        /// Name of the module, as given to the loader.
        module: String,
        /// Line of the PTX text, from 1.
        line: u32,
        /// What would have been accepted there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Instructions, modifiers or special registers that the simulator does not know. All of them
    /// are listed, since a guess at any would make every later result worthless.
    Unsupported {
        /// Name of the module, as given to the loader.
        module: String,
        /// One entry a kind of instruction, with the places where it stands.
        problems: Vec<Problem>,
    },
    /// A launch or a copy whose arguments are refused.
    Argument(String),
}

/// One instruction that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the PTX text, from 1.
    pub ptx_line: u32,
    /// Where it comes from in the CUDA source, as `file:line`, if `.loc` says so.
    pub source: Option<String>,
    /// What is wrong, in a sentence that names the instruction.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Syntax { module, line, expected, found } => {
                write!(f, "{module}:{line}: expected {expected}, found {found}")
            }
            Error::Unsupported { module, problems } => {
                write!(f, "{module}: {} instructions cannot be run", problems.len())?;
                for problem in problems {
                    write!(f, "\n  {module}:{}: {}", problem.ptx_line, problem.message)?;
                    if let Some(source) = &problem.source {
                        write!(f, " ({source})")?;
                    }
                }
                Ok(())
            }
            Error::Argument(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}
