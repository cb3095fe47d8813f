//! The command: what it prints, what it writes, and how it ends.

use crate::common::{compile, root};
use ptxsim::cli::numbers;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

const SOURCE: &str = r#"
struct Params { const float* x; float* y; int n; };
extern "C" __global__ void axpy(Params p, float a) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.n) p.y[i] += a * p.x[i];
}
extern "C" __global__ void __launch_bounds__(64) racy(unsigned* out) {
    __shared__ unsigned s[64];
    extern __shared__ unsigned more[];
    s[threadIdx.x] = threadIdx.x;
    more[threadIdx.x] = 1;
    out[threadIdx.x] = s[63 - threadIdx.x] + more[threadIdx.x];
}
"#;

/// A folder of its own with `k.ptx` in it.
fn folder(name: &str) -> PathBuf {
    let folder = root().join("target/ptxsim-tests").join(format!("cli-{name}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("k.ptx"), compile(SOURCE, &[], "compute_80")).unwrap();
    folder
}

fn ptxsim(folder: &PathBuf, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptxsim"));
    command.current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command that goes wrong says.
fn refused(folder: &PathBuf, arguments: &[&str]) -> String {
    let output = ptxsim(folder, arguments);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    let message = text(&output.stderr);
    message.strip_prefix("ptxsim: ").unwrap().trim_end().to_owned()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn a_kernel_runs_and_its_buffers_are_written() {
    let folder = folder("axpy");
    fs::write(folder.join("x"), floats(&[1.0, 2.0, 3.0, 4.0, 5.0])).unwrap();
    fs::write(folder.join("y"), floats(&[10.0; 5])).unwrap();
    let fields = "{in:x,inout:y=z,i32:5}";
    let arguments = ["run", "k.ptx", "--entry=axpy", "--grid", "2", "--block=4", "--seeds", "3"];
    let arguments = [&arguments[..], &["--arg", fields, "--arg", "f32:2"]].concat();
    let output = ptxsim(&folder, &arguments);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    assert!(said.starts_with("seed 0:\nno faults\n") && said.contains("\nseed 2:\n"), "{said}");
    let expected = floats(&[12.0, 14.0, 16.0, 18.0, 20.0]);
    assert_eq!(fs::read(folder.join("z")).unwrap(), expected);
    // One block short: the last element keeps its value.
    let arguments =
        [&arguments[..3], &["--block", "4", "--arg", fields, "--arg", "f32:2"]].concat();
    assert_eq!(ptxsim(&folder, &arguments).status.code(), Some(0));
    let expected = floats(&[12.0, 14.0, 16.0, 18.0, 10.0]);
    assert_eq!(fs::read(folder.join("z")).unwrap(), expected);
}

#[test]
fn faults_and_results_that_depend_on_the_seed_end_with_1() {
    let folder = folder("racy");
    let run = ["run", "k.ptx", "--entry", "racy", "--block", "64", "--shared", "256"];
    let output = ptxsim(&folder, &[&run[..], &["--arg", "out:256=o", "--seeds", "2"]].concat());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(said.contains("race"), "{said}");
    assert_eq!(fs::read(folder.join("o")).unwrap().len(), 256);
    let quiet = [&run[..], &["--arg", "zero:1K=o", "--no-checks", "--seed", "1"]].concat();
    assert_eq!(ptxsim(&folder, &quiet).status.code(), Some(0));
    assert_eq!(fs::read(folder.join("o")).unwrap()[256..], [0; 768]);
}

#[test]
fn entries_and_instructions_are_listed() {
    let folder = folder("list");
    let output = ptxsim(&folder, &["list", "k.ptx"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for line in [
        "k.ptx: PTX 9.0 for sm_80",
        "entry axpy",
        "  parameter axpy_param_0: struct of 24 bytes, aligned to 8",
        "  parameter axpy_param_1: .f32, 4 bytes",
        "  at most 64 x 1 x 1 threads",
        "  static shared memory: 256 bytes",
        "       1 fma.rn.f32",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    let forms = text(&ptxsim(&folder, &["instructions"]).stdout);
    assert!(forms.lines().any(|line| line.starts_with("fma") && line.ends_with("r=rrr")));
    let version = text(&ptxsim(&folder, &["--version"]).stdout);
    assert_eq!(version, format!("ptxsim {}\n", env!("CARGO_PKG_VERSION")));
    assert!(text(&ptxsim(&folder, &["run", "--help"]).stdout).contains("ptxsim list FILE.ptx"));
}

#[test]
fn mistakes_end_with_2_and_say_what_to_do() {
    let folder = folder("mistakes");
    fs::write(folder.join("bad.ptx"), ".version 9.0\n.target sm_80\n.entry k( {").unwrap();
    fs::write(folder.join("four"), [0; 4]).unwrap();
    fs::write(folder.join("binary"), [0xff; 4]).unwrap();
    let run = |rest: &[&str]| refused(&folder, &[&["run", "k.ptx"], rest].concat());
    let axpy = |rest: &[&str]| run(&[&["--entry", "axpy"], rest].concat());
    let told = [
        (refused(&folder, &["frob"]), "`frob` is no command; there are `run`, `list`"),
        (refused(&folder, &["run"]), "run: a file is missing, as in `ptxsim run kernel.ptx`"),
        (refused(&folder, &["list"]), "list: takes one file, as in `ptxsim list kernel.ptx`"),
        (refused(&folder, &["run", "no.ptx"]), "no.ptx: cannot be read: "),
        (refused(&folder, &["run", "binary"]), "binary: not text; give the PTX that"),
        (refused(&folder, &["run", "bad.ptx"]), "bad.ptx:3: expected `.param` or `.reg`"),
        (refused(&folder, &["run", "a", "b"]), "run: one file, not both `a` and `b`"),
        (run(&[]), "k.ptx: say which by --entry; there are: "),
        (run(&["--entry", "x"]), "k.ptx: no entry `x`; there are: "),
        (run(&["--gird", "1"]), "run: `--gird` is no option; `ptxsim --help`"),
        (run(&["--grid"]), "--grid: a value is missing"),
        (run(&["--grid", "1,2,3,4"]), "--grid: `1,2,3,4` is not one to three numbers"),
        (run(&["--block", "0"]), "--block: `0` is not one to three numbers above 0"),
        (run(&["--seed", "x"]), "--seed: `x` is no whole number"),
        (run(&["--seeds", "0"]), "--seeds: 0 seeds run nothing"),
        (run(&["--shared", "5X"]), "--shared: `5X` is no number of bytes"),
        (run(&["--no-checks=1"]), "--no-checks: takes no value"),
        (axpy(&[]), "`axpy` was given 0 --arg; its parameters: axpy_param_0 (struct of 24 bytes"),
        (
            axpy(&["--arg", "bytes:four", "--arg", "f32:1"]),
            "--arg bytes:four for axpy_param_0: has 4 bytes; the kernel takes struct of 24 bytes",
        ),
        (
            axpy(&["--arg", "{in:no,in:four,u32:1}", "--arg", "f32:1"]),
            "--arg {in:no,in:four,u32:1} for axpy_param_0: no: cannot be read: ",
        ),
        (
            axpy(&["--arg", "{in:four", "--arg", "f32:1"]),
            "--arg {in:four for axpy_param_0: `}` is missing",
        ),
        (
            axpy(&["--arg", "{in:four,out:4,u32:1}", "--arg", "f32:1"]),
            "--arg {in:four,out:4,u32:1} for axpy_param_0: `=FILE` is missing after `4`",
        ),
        (
            axpy(&["--arg", "{in:four,in:four,u32:-1}", "--arg", "f32:1"]),
            "--arg {in:four,in:four,u32:-1} for axpy_param_0: `-1` does not fit u32",
        ),
        (
            axpy(&["--arg", "{in:four,in:four,u32:1}", "--arg", "float:1"]),
            "--arg float:1 for axpy_param_1: `float:` is unknown; an argument is such as",
        ),
        (
            axpy(&["--arg", "{in:four,in:four,u32:1}", "--arg", "f32:x"]),
            "--arg f32:x for axpy_param_1: `x` is no number",
        ),
        (run(&["--entry", "racy", "--block", "2000", "--arg", "buffer:256"]), "racy: "),
    ];
    for (message, start) in told {
        assert!(message.starts_with(start), "{message}\n{start}");
    }
}

#[test]
fn numbers_of_sixteen_bits() {
    let bits = |kind: &str, text: &str| {
        let bytes = numbers::encode(kind, text).unwrap().unwrap();
        u16::from_le_bytes(bytes.try_into().unwrap())
    };
    let f16 = |text: &str| bits("f16", text);
    assert_eq!([f16("1"), f16("-2"), f16("65504")], [0x3c00, 0xc000, 0x7bff]);
    assert_eq!([f16("65520"), f16("1e300"), f16("inf")], [0x7c00; 3]);
    assert_eq!([f16("5.96e-8"), f16("2.9e-8"), f16("6.1035e-5")], [1, 0, 0x0400]);
    assert_eq!([f16("2049"), f16("2051")], [0x6800, 0x6802], "ties to even");
    assert_eq!(f16("nan"), 0x7fff);
    let bf16 = |text: &str| bits("bf16", text);
    assert_eq!([bf16("1"), bf16("1.005"), bf16("-0.0")], [0x3f80, 0x3f81, 0x8000]);
    assert_eq!([bf16("3.4e38"), bf16("1e-40")], [0x7f80, 0x0001]);
}

#[test]
fn whole_numbers_have_their_range() {
    let encode = |kind: &str, text: &str| numbers::encode(kind, text).unwrap();
    assert_eq!(encode("u32", "0xff").unwrap(), [255, 0, 0, 0]);
    assert_eq!(encode("i16", "-2").unwrap(), [254, 255]);
    assert_eq!(encode("u64", "18446744073709551615").unwrap(), [255; 8]);
    assert_eq!(encode("i8", "128").unwrap_err(), "`128` does not fit i8");
    assert_eq!(encode("u32", "-1").unwrap_err(), "`-1` does not fit u32");
    assert!(encode("u32", "--1").is_err() && encode("u32", "+1").is_err());
    let (bytes, hex) = (numbers::bytes, numbers::hex);
    assert_eq!(bytes("4K"), Ok(4096));
    assert!(bytes("K").is_err() && bytes("-1").is_err() && bytes("99999999999G").is_err());
    assert_eq!(hex("00ff"), Ok(vec![0, 255]));
    assert!(hex("0").is_err() && hex("zz").is_err());
}
