//! bf16 beside int4, batch by batch: where the fewer bytes pay, and where arithmetic takes over.

use super::Plan;
use super::table::{self, digits, row, seconds};
use crate::cli::output::Output;
use crate::error::Result;
use crate::model::budget::{Formats, Load, WeightFormat};
use crate::model::predict::{Resource, Time};
use serde_json::json;

/// The largest batch that is looked at.
const BATCH_END: usize = 256;
/// A gain below this is within what the estimates are worth.
const GAIN_LEAST: f64 = 1.05;

/// Formats side by side, and one batch after the other.
struct Comparison<'a> {
    plan: &'a Plan<'a>,
    plain: Formats,
    packed: Formats,
}

/// A batch in both formats.
struct Row {
    batch: usize,
    floor: [Time; 2],
    expected: [Time; 2],
    fits: [bool; 2],
}

impl Row {
    fn gain(&self) -> f64 {
        self.expected[0].seconds() / self.expected[1].seconds()
    }
}

/// Prints it.
pub fn run(plan: &Plan<'_>, out: &mut Output) -> Result<()> {
    let packed = match plan.formats.weights {
        WeightFormat::Bf16 => "int4".parse()?,
        int4 => int4,
    };
    let in_all = |weights| Formats::of(weights, plan.formats.head);
    let (plain, packed) = (in_all(WeightFormat::Bf16), in_all(packed));
    packed.check(&plan.config)?;
    let comparison = Comparison { plan, plain, packed };
    let batches = std::iter::successors(Some(1), |b| Some(b * 2)).take_while(|b| *b <= BATCH_END);
    let rows = batches.map(|batch| comparison.row(batch)).collect::<Result<Vec<_>>>()?;
    if plan.args.json {
        return rows.iter().try_for_each(|row| comparison.json(row, out));
    }
    comparison.print(&rows, out)
}

impl Comparison<'_> {
    fn formats(&self) -> [&Formats; 2] {
        [&self.plain, &self.packed]
    }

    /// A decode step in the middle of the outputs.
    fn times(&self, formats: &Formats, batch: usize) -> (Time, Time) {
        let work = self.plan.work;
        let context = work.prompt + (work.output - 1) / 2;
        let phase = self.plan.predictor(formats).decode(batch, context);
        (phase.floor(), phase.expected())
    }

    fn row(&self, batch: usize) -> Result<Row> {
        let load = Load { batch, context: self.plan.context };
        let times = self.formats().map(|formats| self.times(formats, batch));
        let fits = |formats| self.plan.with_fit(formats, |fit| fit.fits(load));
        let [plain, packed] = self.formats();
        Ok(Row {
            batch,
            floor: times.map(|(floor, _)| floor),
            expected: times.map(|(_, expected)| expected),
            fits: [fits(plain)?, fits(packed)?],
        })
    }

    fn print(&self, rows: &[Row], out: &mut Output) -> Result<()> {
        let plan = self.plan;
        out.text(&format!(
            "{} on {}: decode steps of outputs of {} tokens after prompts of {}\n",
            plan.model.display(),
            plan.gpu.name,
            plan.work.output,
            plan.work.prompt
        ))?;
        let mut cells = vec![row([
            "batch",
            "bf16 floor",
            "expected",
            "by",
            "int4 floor",
            "expected",
            "by",
            "tokens/s bf16",
            "int4",
            "gain",
            "fits",
        ])];
        cells.extend(rows.iter().map(|row| {
            let rate = |i: usize| digits(row.batch as f64 / row.expected[i].seconds());
            let fits = match row.fits {
                [true, true] => "both",
                [false, true] => "int4",
                [true, false] => "bf16",
                [false, false] => "neither",
            };
            vec![
                row.batch.to_string(),
                seconds(row.floor[0].seconds()),
                seconds(row.expected[0].seconds()),
                row.expected[0].limiting().to_string(),
                seconds(row.floor[1].seconds()),
                seconds(row.expected[1].seconds()),
                row.expected[1].limiting().to_string(),
                rate(0),
                rate(1),
                format!("{:.2}x", row.gain()),
                fits.to_string(),
            ]
        }));
        table::print(&cells, 0, out)?;
        out.text(&self.verdict()?)?;
        out.text("The gain is that of the expected times, which are estimates until measured.\n")
    }

    /// Up to which batch int4 helps, and what it does for the largest batch.
    fn verdict(&self) -> Result<String> {
        let gains = |batch: &usize| {
            let [plain, packed] = self.formats().map(|formats| self.times(formats, *batch).1);
            plain.seconds() / packed.seconds() >= GAIN_LEAST
        };
        let name = self.packed.weights;
        let helps = match (1..=BATCH_END).find(|batch| !gains(batch)) {
            None => format!("{name} helps at every batch up to {BATCH_END}"),
            Some(1) => format!("{name} does not help, not even at batch 1"),
            Some(first) => {
                let (_, time) = self.times(&self.packed, first);
                let why = match time.limiting() {
                    Resource::Arithmetic => "from there on arithmetic takes the time",
                    _ => "from there on other bytes than the weights take the time",
                };
                format!("{name} helps up to batch {}: {why}", first - 1)
            }
        };
        let context = self.plan.context;
        let [plain, packed] = self
            .formats()
            .map(|formats| self.plan.with_fit(formats, |fit| fit.largest_batch(context)));
        Ok(format!(
            "{helps} (less than {GAIN_LEAST} is no help). Largest batch at a context of {context}: \
             bf16 {}, int4 {}.\n",
            plain?, packed?
        ))
    }

    fn json(&self, row: &Row, out: &mut Output) -> Result<()> {
        let side = |i: usize| {
            json!({
                "weights": self.formats()[i].weights.to_string(),
                "floor_tpot_ms": row.floor[i].seconds() * 1e3,
                "tpot_ms": row.expected[i].seconds() * 1e3,
                "decode_tokens_per_s": row.batch as f64 / row.expected[i].seconds(),
                "limited_by": row.expected[i].limiting().to_string(),
                "fits": row.fits[i],
            })
        };
        out.json(&json!({
            "batch": row.batch,
            "bf16": side(0),
            "int4": side(1),
            "gain": row.gain(),
            "helps": row.gain() >= GAIN_LEAST,
        }))
    }
}
