//! Weight files: what is read, and every way a file can be broken.

use crate::common::fixture;
use ridgepoint::load::checkpoint::INDEX_FILE;
use ridgepoint::load::safetensors::parse_header;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::tensor::Dtype;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A file of this header over `data` bytes of zeros.
fn file(header: &Value, data: usize) -> Vec<u8> {
    let text = header.to_string();
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn tensor(dtype: &str, shape: &[u64], start: u64, end: u64) -> Value {
    json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]})
}

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn open_error(dir: &TempDir) -> String {
    let error = Checkpoint::open(dir.path()).err().expect("the directory is broken");
    assert!(error.is_mistake(), "{error}");
    error.to_string()
}

#[test]
fn tensors_are_read_in_place() {
    let good = file(&json!({"a": tensor("F32", &[2, 1], 0, 8)}), 8);
    let dir = directory(&[("model.safetensors", &good)]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let a = checkpoint.tensor("a", &[2, 1]).unwrap();
    assert_eq!((a.dtype, a.to_f32()), (Dtype::F32, vec![0.0, 0.0]));
    assert_eq!(checkpoint.bytes(), good.len() as u64);
    // The tensor keeps its map when the checkpoint is gone.
    drop(checkpoint);
    assert_eq!(a.bytes.as_slice(), [0; 8]);
}

#[test]
fn shards_are_found_by_the_index() {
    let checkpoint = Checkpoint::open(&fixture("llama3_gqa4")).unwrap();
    assert!(checkpoint.contains("model.norm.weight"));
    assert!(checkpoint.names().len() > 10);
}

#[test]
fn broken_headers_are_explained() {
    let wraps = u64::MAX / 2 - 7;
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (vec![], &["file length", "0 bytes"]),
        (vec![1, 2, 3], &["file length", "3 bytes", "8 bytes"]),
        (u64::MAX.to_le_bytes().to_vec(), &["header length", "18446744073709551615"]),
        (1000u64.to_le_bytes().to_vec(), &["header length", "1000 in a file of 8"]),
        ([4u64.to_le_bytes().as_slice(), b"\xff\xfe\xfd\xfc"].concat(), &["UTF-8"]),
        ([4u64.to_le_bytes().as_slice(), b"nope"].concat(), &["a JSON object of tensors"]),
        (file(&json!({"a": tensor("F99", &[1], 0, 4)}), 4), &["F99"]),
        (file(&json!({"a": tensor("F32", &[1], 0, 4)}), 3), &["file length", "truncated"]),
        (file(&json!({"a": tensor("F32", &[1], 0, 4)}), 9), &["file length"]),
        (file(&json!({"a": tensor("F32", &[1], 4, 8)}), 8), &["data_offsets", "tensor a"]),
        (file(&json!({"a": tensor("F32", &[1], 4, 0)}), 4), &["data_offsets"]),
        (file(&json!({"a": tensor("F32", &[3], 0, 4)}), 4), &["shape and dtype"]),
        (
            file(&json!({"a": tensor("F32", &[u64::MAX / 2, 8], 0, 4)}), 4),
            &["shape", "size that can exist"],
        ),
        (
            file(&json!({"a": tensor("F32", &[1], 0, 4), "b": tensor("F32", &[1], 2, 6)}), 6),
            &["overlap", "tensor b"],
        ),
        (
            // Lengths that add up to the file's own only after wrapping round 64 bits.
            file(
                &json!({"a": tensor("U8", &[wraps], 0, wraps),
                    "b": tensor("U8", &[wraps], wraps, 2 * wraps)}),
                4,
            ),
            &["size that can exist"],
        ),
    ];
    for (bytes, parts) in cases {
        let error = parse_header(&bytes, Path::new("w.safetensors"));
        let message = error.expect_err(&format!("{parts:?}")).to_string();
        for part in ["w.safetensors"].iter().chain(parts) {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }
}

#[test]
fn broken_directories_are_explained() {
    let empty = directory(&[]);
    assert!(open_error(&empty).contains("model.safetensors or model.safetensors.index.json"));
    let pickled = directory(&[("pytorch_model.bin", b"x")]);
    assert!(open_error(&pickled).contains("pytorch_model.bin"));
    let zero = directory(&[("model.safetensors", b"")]);
    assert!(open_error(&zero).contains("an empty file"));
    let gone = Checkpoint::open(Path::new("/nowhere/at/all")).err().unwrap();
    assert!(gone.to_string().contains("no such model directory"));
}

#[test]
fn broken_indices_are_explained() {
    let shard = file(&json!({"a": tensor("F32", &[1], 0, 4)}), 4);
    let index = |map: Value| json!({"weight_map": map}).to_string();
    let cases: &[(String, &[&str])] = &[
        ("{}".to_string(), &["weight_map"]),
        ("[".to_string(), &[INDEX_FILE, "weight_map"]),
        (index(json!({})), &["1 to"]),
        (index(json!({"a": "b.safetensors"})), &["b.safetensors", "does not exist"]),
        (index(json!({"a": "../shard"})), &["../shard", "plain file name"]),
        (index(json!({"a": "/etc/passwd"})), &["/etc/passwd", "plain file name"]),
        (index(json!({"a": "s.safetensors", "z": "s.safetensors"})), &["tensor z", "hold"]),
    ];
    for (text, parts) in cases {
        let dir = directory(&[(INDEX_FILE, text.as_bytes()), ("s.safetensors", &shard)]);
        let message = open_error(&dir);
        for part in *parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }
}

#[test]
fn wrong_tensors_are_named() {
    let header = json!({
        "half": tensor("F16", &[2], 0, 4), "int": tensor("I32", &[1], 4, 8),
    });
    let dir = directory(&[("model.safetensors", &file(&header, 8))]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let message =
        |name: &str, shape: &[usize]| checkpoint.tensor(name, shape).expect_err(name).to_string();
    assert!(message("none", &[2]).contains("tensor none: found no such tensor"));
    let misshapen = message("half", &[3]);
    assert!(misshapen.contains("shape [2]") && misshapen.contains("shape [3]"), "{misshapen}");
    let int = message("int", &[1]);
    assert!(int.contains("I32") && int.contains("BF16, F16, F32"), "{int}");
}
