//! Smoke.
use ptxsim::*;
use std::time::Instant;
fn bf(x: f32) -> u16 { (x.to_bits() >> 16) as u16 }
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let checks = std::env::args().nth(2).map(|x| x != "0").unwrap_or(true);
    for f in ["gemm", "fa", "softmax"] {
        let text = std::fs::read_to_string(format!("{dir}/{f}.ptx")).unwrap();
        let mut d = Device::new();
        let m = match d.load_ptx(f, &text) { Ok(m) => m, Err(e) => { println!("{e}"); continue } };
        let mut params: Vec<u8> = vec![];
        let n: usize = 512;
        let mut buf = |d: &mut Device, data: &[u8], p: &mut Vec<u8>| { let a = d.alloc(data.len() as u64).unwrap(); d.copy_in(a, data).unwrap(); p.extend(a.to_le_bytes()); a };
        let rnd = |i: usize| ((i.wrapping_mul(2654435761) >> 8) & 0xff) as f32 / 256.0 - 0.5;
        let a: Vec<u8> = (0..n * n).flat_map(|i| bf(rnd(i)).to_le_bytes()).collect();
        let af: Vec<u8> = (0..n * n).flat_map(|i| rnd(i).to_le_bytes()).collect();
        let mut l = Launch { module: m, checks, ..Default::default() };
        let macs;
        if f == "gemm" {
            buf(&mut d, &a, &mut params); buf(&mut d, &a, &mut params);
            let c = d.alloc((n * n * 4) as u64).unwrap(); params.extend(c.to_le_bytes());
            for x in [n, n, n] { params.extend((x as u32).to_le_bytes()) }
            l.entry = "gemm_bf16".into(); l.grid = [4, 4, 1]; l.block = [256, 1, 1]; l.shared_bytes = 32768; macs = n * n * n;
        } else if f == "fa" {
            buf(&mut d, &a[..64 * 256], &mut params); buf(&mut d, &a[..512 * 256], &mut params); buf(&mut d, &a[..512 * 256], &mut params);
            let c = d.alloc(64 * 128 * 4).unwrap(); params.extend(c.to_le_bytes());
            params.extend(512u32.to_le_bytes()); params.extend(0.1f32.to_le_bytes());
            l.entry = "fa".into(); l.block = [128, 1, 1]; l.shared_bytes = 5 * 16384; l.shared_opt_in = true; macs = 64 * 512 * 128 * 2;
        } else {
            buf(&mut d, &af, &mut params); let c = d.alloc((n * n * 4) as u64).unwrap(); params.extend(c.to_le_bytes()); params.extend((n as u32).to_le_bytes());
            l.entry = "softmax_rows".into(); l.grid = [n as u32, 1, 1]; l.block = [128, 1, 1]; l.shared_bytes = 64; macs = 0;
        }
        l.params = params;
        for seed in 0..3 {
        l.seed = seed;
        let t = Instant::now();
        let r = d.launch(&l).unwrap();
        let dt = t.elapsed().as_secs_f64();
        println!("{f}: {:.1} ms {:.2} GMAC/s {} insts {:.1} ns/inst", dt * 1e3, macs as f64 / dt / 1e9, r.counters.warp_instructions, dt*1e9 / r.counters.warp_instructions as f64);
        if seed == 2 || !r.is_clean() { println!("{r}"); if !r.is_clean() {break} }
        }
    }
}
