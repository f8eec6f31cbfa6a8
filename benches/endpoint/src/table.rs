//! From the lines of many runs to the Markdown tables that people read.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::Error;
use crate::figures::{Figures, field};

/// The client that gives the limit: ratios are to its run in the same round, with Msg-Ids or without as the client compared.
const LIMIT: &str = "raw";

/// A run: which load it was put to, in which round, and what came out.
#[derive(Clone, Debug)]
struct Run {
    load: String,
    round: u32,
    figures: Figures,
}

/// Renders lines of the form `load=… round=… client=… …`: one table for each load, its clients in the order of their first lines.
///
/// # Errors
/// A line that is not such a line, or a client without the raw loop in its round.
pub fn render(input: &str) -> Result<String, Error> {
    let runs = input.lines().filter(|line| !line.trim().is_empty()).map(parse).collect::<Result<Vec<Run>, Error>>()?;
    let mut output = String::new();
    for load in in_order(runs.iter().map(|run| run.load.as_str())) {
        let runs: Vec<&Run> = runs.iter().filter(|run| run.load == load).collect();
        section(&mut output, load, &runs)?;
    }
    Ok(output)
}

fn parse(line: &str) -> Result<Run, Error> {
    Ok(Run { load: field(line, "load")?, round: field(line, "round")?, figures: Figures::parse(line)? })
}

fn section(output: &mut String, load: &str, runs: &[&Run]) -> Result<(), Error> {
    let limits: BTreeMap<(u32, bool), f64> =
        runs.iter().filter(|run| run.figures.client == LIMIT).map(|run| ((run.round, run.figures.msg_id), run.figures.rate)).collect();
    if let Some(Run { figures: Figures { count, size, window, .. }, .. }) = runs.first() {
        writeln!(output, "### {load}: {} messages of {size} bytes, window {window}\n", thousands(*count as f64))?;
    }
    output.push_str("| client | Msg-Id | msg/s | min–max | CPU µs/msg | min–max | ÷ raw loop | min–max |\n|---|---|--:|--:|--:|--:|--:|--:|\n");
    for (client, msg_id) in in_order(runs.iter().map(|run| (run.figures.client.as_str(), run.figures.msg_id))) {
        let own: Vec<&Run> = runs.iter().filter(|run| run.figures.client == client && run.figures.msg_id == msg_id).copied().collect();
        let ratio = |run: &&Run| limits.get(&(run.round, msg_id)).map(|limit| run.figures.rate / limit);
        let ratios: Vec<f64> = own.iter().filter_map(ratio).collect();
        if ratios.len() < own.len() {
            return Err(format!("{load}: no run of {LIMIT} beside each run of {client}").into());
        }
        let rate = Spread::of(own.iter().map(|run| run.figures.rate));
        let cpu = Spread::of(own.iter().map(|run| run.figures.cpu_us));
        let ratio = Spread::of(ratios.into_iter());
        let msg_id = if msg_id { "yes" } else { "no" };
        write!(output, "| {client} | {msg_id} | {} | {}–{} ", thousands(rate.median), thousands(rate.min), thousands(rate.max))?;
        writeln!(output, "| {:.2} | {:.2}–{:.2} | {:.2} | {:.2}–{:.2} |", cpu.median, cpu.min, cpu.max, ratio.median, ratio.min, ratio.max)?;
    }
    output.push('\n');
    Ok(())
}

/// Median, least and greatest of a few numbers.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// All NaN when there are no numbers.
    fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Spread { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), min: at(0), max: at(last) }
    }
}

/// The different values, in the order of their first appearance.
fn in_order<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}

/// A whole number with commas: 1,234,567.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut output = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            output.push(',');
        }
        output.push(digit);
    }
    output
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{render, thousands};

    fn line(load: &str, round: u32, client: &str, rate: u32, cpu: f64) -> String {
        format!("load={load} round={round} client={client} msg_id=yes n=1000 size=128 window=64 acked=1000 failed=0 msgs_per_s={rate} cpu_us_per_msg={cpu}\n")
    }

    #[test]
    fn ratios_are_within_a_round() {
        let input: String = [
            line("endpoint", 1, "raw", 1_000_000, 0.4),
            line("endpoint", 1, "ackbus-c", 500_000, 0.8),
            line("endpoint", 2, "raw", 2_000_000, 0.5),
            line("endpoint", 2, "ackbus-c", 1_800_000, 0.9),
            line("memory", 1, "raw", 100, 9.0),
        ]
        .concat();
        let output = render(&input).unwrap();
        assert!(output.contains("### endpoint: 1,000 messages of 128 bytes, window 64"), "{output}");
        assert!(output.contains("| raw | yes | 1,500,000 | 1,000,000–2,000,000 | 0.45 | 0.40–0.50 | 1.00 | 1.00–1.00 |"), "{output}");
        assert!(output.contains("| ackbus-c | yes | 1,150,000 | 500,000–1,800,000 | 0.85 | 0.80–0.90 | 0.70 | 0.50–0.90 |"), "{output}");
        assert!(output.contains("### memory"), "{output}");
    }

    #[test]
    fn a_run_without_its_limit_is_refused() {
        assert!(render(&line("endpoint", 1, "ackbus-c", 1, 1.0)).unwrap_err().to_string().contains("no run of raw"));
        assert!(render("nonsense").unwrap_err().to_string().contains("load"));
    }

    #[test]
    fn thousands_have_commas() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
