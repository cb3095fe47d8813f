//! The options of `ridgepoint quantize`.

use crate::model::budget::Int4Group;
use crate::quantize::{Algorithm, Head, Keep};
use clap::Args;
use std::path::PathBuf;

/// `ridgepoint quantize`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        ridgepoint quantize --model ./Qwen3-0.6B --out ./Qwen3-0.6B-int4 --method search\n  \
        ridgepoint quantize --model ./Qwen3-0.6B --out ./Qwen3-0.6B-int4 --method gptq \
        --calibration text.txt --receipt receipt.json --eval-text other.txt\n  \
        ridgepoint quantize --compare rtn,search,awq,gptq --group 64 --calibration text.txt \
        --eval-text models/heldout.txt\n\n\
        The directory has compressed-tensors' pack-quantized layout. A calibration text is cut \
        into windows, of which the first 128 are used. Without --eval-text a receipt is made on \
        the last fifth of the calibration text, which then does not calibrate.")]
pub struct QuantizeArgs {
    /// A model directory with 16- or 32-bit weights [default: the small story model that ships
    /// with the project]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// The directory to write; must not exist
    #[arg(long, value_name = "DIR", required_unless_present = "compare")]
    pub out: Option<PathBuf>,
    /// How: rtn and search look at the weights alone, awq and gptq at the inputs that a text gives
    #[arg(long, value_name = "rtn|search|awq|gptq", default_value = "rtn")]
    pub method: Algorithm,
    /// Write nothing; print what each of these methods costs, side by side
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',',
          conflicts_with_all = ["out", "method"])]
    pub compare: Vec<Algorithm>,
    /// Columns of a row that share a scale: 64 or 128
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_group)]
    pub group: Int4Group,
    /// Give each group a zero point. Some loaders read these only dequantised
    #[arg(long)]
    pub zero_point: bool,
    /// Bits of the output head; a tied head is written apart from the embedding if not 16
    #[arg(long, value_name = "4|8|16", default_value = "16")]
    pub head: Head,
    /// Leave matrices as they are: a name such as model.layers.0.mlp.down_proj with * for any
    /// characters, and =16; may be given several times
    #[arg(long, value_name = "PATTERN=16")]
    pub keep: Vec<Keep>,
    /// A text like those the model will read, for awq and gptq
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// gptq: go through columns by the size of their inputs; groups lie as they did
    #[arg(long)]
    pub activation_order: bool,
    /// Write what it cost as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Compare the predictions before and after on this text
    #[arg(long, value_name = "FILE")]
    pub eval_text: Option<PathBuf>,
    /// Tokens of a window of text [default: the model's context, at most 2048]
    #[arg(long, value_name = "N")]
    pub window: Option<usize>,
    /// Processor threads [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print JSON on stdout instead of a table: the receipt, or an object for each method
    #[arg(long)]
    pub json: bool,
}

fn parse_group(text: &str) -> Result<Int4Group, String> {
    match text {
        "64" => Ok(Int4Group::G64),
        "128" => Ok(Int4Group::G128),
        _ => Err("expected 64 or 128".to_string()),
    }
}
