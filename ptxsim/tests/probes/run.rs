//! Runs probes on the simulator.

use super::{HEADER, Param, Probe};
use ptxsim::{Device, Launch, ModuleId};

/// Probes of a module: few enough that a refusal is soon found, enough to be worth the while.
const GROUP: usize = 128;

/// Takes the results of a probe, a buffer each, or what is wrong.
type Taker<'a> = &'a mut dyn FnMut(&Probe, Result<Vec<Vec<u8>>, String>);

/// Runs all probes and compares their results with the models'. What is wrong, one line each.
pub fn run(probes: &[Probe]) -> Vec<String> {
    let mut problems = Vec::new();
    for group in probes.chunks(GROUP) {
        results(group, &mut |probe, outcome| match outcome {
            Ok(results) => {
                let wrong = (probe.check)(&results);
                problems.extend(wrong.into_iter().map(|text| format!("{}: {text}", probe.name)));
            }
            Err(problem) => problems.push(format!("{}: {problem}", probe.name)),
        });
    }
    problems
}

/// Runs some probes as one module and hands over the results of each, a buffer each.
pub fn results(group: &[Probe], take: Taker<'_>) {
    let mut device = Device::new();
    let text: String = group.iter().map(|probe| probe.text.as_str()).collect();
    match device.load_ptx("probes", &format!("{HEADER}{text}")) {
        Ok(module) => {
            for probe in group {
                take(probe, one(&mut device, module, probe));
            }
        }
        // One of them is refused: each for itself.
        Err(_) if group.len() > 1 => {
            for probe in group {
                results(std::slice::from_ref(probe), take);
            }
        }
        Err(error) => take(&group[0], Err(error.to_string())),
    }
}

fn one(device: &mut Device, module: ModuleId, probe: &Probe) -> Result<Vec<Vec<u8>>, String> {
    let said = |error: ptxsim::Error| error.to_string();
    let mut params = Vec::new();
    let mut buffers = Vec::new();
    let mut all = Vec::new();
    for param in &probe.params {
        let zeros;
        let data: &[u8] = match param {
            Param::In(data) | Param::InOut(data) => data,
            Param::Out(bytes) => {
                zeros = vec![0; *bytes];
                &zeros
            }
            Param::Word(word) => {
                params.extend(word.to_le_bytes());
                continue;
            }
            Param::Bytes(bytes) => {
                params.resize(params.len().next_multiple_of(16), 0);
                params.extend(bytes);
                continue;
            }
        };
        let address = device.alloc(data.len() as u64).map_err(said)?;
        device.copy_in(address, data).map_err(said)?;
        params.resize(params.len().next_multiple_of(8), 0);
        params.extend(address.to_le_bytes());
        if !matches!(param, Param::In(_)) {
            buffers.push((address, data.len()));
        }
        all.push(address);
    }
    let launch = Launch {
        module,
        entry: probe.entry.clone(),
        grid: probe.grid,
        block: probe.block,
        params,
        seed: 1,
        ..Launch::default()
    };
    let report = device.launch(&launch).map_err(said)?;
    let mut results = Vec::new();
    for (address, bytes) in buffers {
        let mut data = vec![0; bytes];
        device.copy_out(address, &mut data).map_err(said)?;
        results.push(data);
    }
    for address in all {
        device.free(address).map_err(said)?;
    }
    if !report.is_clean() {
        return Err(format!("{}", report.faults[0]));
    }
    if report.printed != probe.printed {
        return Err(format!("printed {:?}, not {:?}", report.printed, probe.printed));
    }
    Ok(results)
}
