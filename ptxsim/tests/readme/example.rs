//! The example of the README.

use ptxsim::{Device, Launch, Report};

pub fn run(ptx: &str) -> Result<Report, ptxsim::Error> {
    let mut device = Device::new();
    let module = device.load_ptx("reverse.ptx", ptx)?;
    let data = device.alloc(64 * 4)?;
    device.copy_in(data, &[0; 64 * 4])?;
    device.launch(&Launch {
        module,
        entry: "reverse".into(),
        block: [64, 1, 1],
        params: data.to_le_bytes().into(),
        ..Launch::default()
    })
}
