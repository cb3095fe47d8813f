//! The kernels in this binary: one [`Module`] for each file of `kernels/`, as `build.rs` compiled
//! it, with what ptxas said of each kernel.

/// Every kernel file, by name. Empty in a build without the feature `cuda`.
pub static MODULES: &[Module] = include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// One file of `kernels/` in its compiled forms.
#[derive(Debug)]
pub struct Module {
    /// The file's stem, such as `embed` or `gemm_prefill_sm90`.
    pub name: &'static str,
    /// Fat binary for the driver: machine code for the targets of the build, and PTX of
    /// `compute_80` from which the driver makes code for newer devices. Aligned to 16 bytes.
    pub fatbin: &'static [u8],
    /// PTX of `compute_80`, from which all machine code but Hopper's is made. `None` where the
    /// file is for Hopper alone.
    pub ptx_80: Option<&'static str>,
    /// PTX of `compute_90a`, from which the machine code for Hopper is made.
    pub ptx_90a: &'static str,
    /// The kernels of the file, in its order.
    pub entries: &'static [Entry],
}

/// One kernel.
#[derive(Debug)]
pub struct Entry {
    /// Its symbol in the module, unmangled: `<op>_<dtype>` and constants.
    pub symbol: &'static str,
    /// Its machine code, one element for each target of the build.
    pub targets: &'static [KernelTarget],
}

/// One kernel's machine code for one target, as ptxas reports it.
#[derive(Debug)]
pub struct KernelTarget {
    /// Such as `sm_90a`.
    pub target: &'static str,
    /// 32-bit registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block. A launch may ask for more.
    pub shared_bytes: u32,
    /// Stack of a thread. The build fails unless it is 0.
    pub stack_bytes: u32,
    /// Bytes of register spills, stores and loads added up. The build fails unless it is 0.
    pub spill_bytes: u32,
    /// Size of the kernel's text in the PTX that this code was made from.
    pub ptx_bytes: u32,
    /// Whether the kernel executes `griddepcontrol.wait`. Only such a kernel may be launched as
    /// the dependent of a programmatic launch: any other would race with its predecessor.
    pub waits_for_grid: bool,
    /// Neighbouring blocks along x that are started together as a cluster; 1 where there are no
    /// clusters. The size is compiled in, so that a launch need not name it; its grid is a
    /// multiple.
    pub cluster: u32,
}

/// Gives embedded bytes the alignment that the driver reads their headers with; a plain
/// `include_bytes!` has none.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the table is empty"))]
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

/// The target whose machine code a device runs, or from whose pass its driver makes code: on
/// compute capability 9.0 `sm_90a`; elsewhere the newest portable target that the device can run
/// as it is, or any portable one, since its PTX can be compiled for what is newer.
pub fn target_for(compute: (u32, u32)) -> Option<&'static str> {
    let entries = MODULES.iter().flat_map(|module| module.entries);
    let targets = entries.flat_map(|entry| entry.targets).map(|t| t.target);
    best_target(compute, targets)
}

/// The choice of [`target_for`] among given targets.
pub fn best_target<'a>(
    (major, minor): (u32, u32),
    mut targets: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    if (major, minor) == (9, 0)
        && let Some(own) = targets.find(|t| *t == "sm_90a")
    {
        return Some(own);
    }
    let number = |target: &str| target.strip_prefix("sm_")?.parse::<u32>().ok();
    let portable = targets.filter_map(|t| Some((number(t)?, t)));
    // Machine code runs on devices of its major version and at least its minor one.
    let native = |n: u32| n / 10 == major && n % 10 <= minor;
    portable.max_by_key(|&(n, _)| (native(n), std::cmp::Reverse(n / 10 > major), n)).map(|(_, t)| t)
}
