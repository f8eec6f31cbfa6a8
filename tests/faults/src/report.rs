//! The table and the data of the picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::checker::Figures;
use crate::rows;

/// One row as it happens, for people who wait.
pub fn line(figures: &Figures) -> String {
    let verdict = if !figures.problems.is_empty() {
        "FAILS"
    } else if figures.peer {
        "-"
    } else {
        "holds"
    };
    format!(
        "{:5} {:14} seed {} {verdict}: accepted {} acked {} true_fail {} in_doubt {} hung {} lost {} false_fail {} mislabelled {} dups {} recover {} ms, {:.1} s",
        figures.row,
        figures.client,
        figures.seed,
        figures.accepted,
        figures.acked,
        figures.true_fail,
        figures.in_doubt,
        figures.hung,
        figures.lost,
        figures.false_fail,
        figures.mislabelled,
        figures.dups,
        optional(figures.recover_ms),
        figures.wall_s
    )
}

/// Writes `results.json` and `README.md` into the folder. Results of rows and clients that were not played now are kept.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, results: &[Figures]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let data = folder.join("results.json");
    let mut all: Vec<Figures> = fs::read(&data).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    all.retain(|old| !results.iter().any(|new| (&new.row, &new.client) == (&old.row, &old.client)));
    all.extend_from_slice(results);
    let order: Vec<&str> = rows::all().iter().map(|row| row.id).collect();
    let clients: Vec<&str> = crate::clients::CLIENTS.iter().map(|client| client.name).collect();
    let place = |list: &[&str], one: &str| list.iter().position(|&known| known == one);
    all.retain(|figures| place(&order, &figures.row).is_some());
    all.sort_by_key(|figures| (place(&order, &figures.row), place(&clients, &figures.client), figures.seed));
    fs::write(&data, serde_json::to_vec_pretty(&all)?)?;
    fs::write(folder.join("README.md"), page(&all))
}

/// The page for people.
fn page(all: &[Figures]) -> String {
    let mut text = String::from(
        "# What clients tell their users when things break\n\n\
         Written by `make faults`; the words and the way it is measured are explained in [tests/faults](../../tests/faults/README.md).\n\
         Each client runs with its best documented options and no retry of the tests' own; ackbus runs with its defaults. Figures of several seeds are sums, times are the worst.\n\n\
         ![Shares of the outcomes, per client and fault](faults.svg)\n\n",
    );
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    for figures in all.iter().filter(|figures| !figures.version.is_empty()) {
        versions.insert(&figures.client, &figures.version);
    }
    for (client, version) in versions {
        let _ = writeln!(text, "* {client}: {version}");
    }
    text.push_str("\n## Every row\n");
    for row in rows::all() {
        let of_row: Vec<&Figures> = all.iter().filter(|figures| figures.row == row.id).collect();
        if of_row.is_empty() {
            continue;
        }
        let _ = write!(text, "\n### {}: {}\n\n{}.\n\n", row.id, row.name, capital(row.what));
        text.push_str(
            "| client | runs | accepted | rejected | acked | true_fail | in_doubt | hung | multi | lost | false_fail | mislabelled | dups | over | crash | close ms | recover ms | gap ms | p99 ms | RSS MB |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|\n",
        );
        for client in crate::clients::CLIENTS.iter().map(|client| client.name) {
            let runs: Vec<&Figures> = of_row.iter().copied().filter(|figures| figures.client == client).collect();
            if !runs.is_empty() {
                table_line(&mut text, client, &runs);
            }
        }
        notes(&mut text, &of_row);
    }
    text.push_str(LEFT_OUT);
    text
}

fn table_line(text: &mut String, client: &str, runs: &[&Figures]) {
    let sum = |of: fn(&Figures) -> u64| runs.iter().map(|figures| of(figures)).sum::<u64>();
    let worst = |of: fn(&Figures) -> Option<f64>| optional(runs.iter().filter_map(|figures| of(figures)).reduce(f64::max));
    let crashes = runs.iter().filter(|figures| figures.crash.is_some()).count();
    let _ = writeln!(
        text,
        "| {client} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        runs.len(),
        sum(|f| f.accepted),
        sum(|f| f.rejected),
        sum(|f| f.acked),
        sum(|f| f.true_fail),
        sum(|f| f.in_doubt),
        sum(|f| f.hung),
        sum(|f| f.multi),
        sum(|f| f.lost),
        sum(|f| f.false_fail),
        sum(|f| f.mislabelled),
        sum(|f| f.dups),
        sum(|f| f.over),
        if crashes == 0 { "no".to_owned() } else { crashes.to_string() },
        worst(|f| f.close_ms),
        worst(|f| f.recover_ms),
        worst(|f| Some(f.gap_ms)),
        worst(|f| Some(f.p99_ms)),
        worst(|f| Some(f.rss_mb)),
    );
}

/// What the runs have to say beside their figures; the same of several seeds once.
fn notes(text: &mut String, runs: &[&Figures]) {
    let mut said: Vec<String> = Vec::new();
    for figures in runs {
        let errors = figures.texts.iter().map(|(error, count)| format!("{count} × “{}”", shortened(error)));
        let noticed = figures.noticed_ms.map(|took| format!("disconnect told after {took:.0} ms"));
        let crash = figures.crash.as_ref().map(|crash| format!("crash: {}", shortened(crash)));
        for note in figures.notes.iter().map(|note| shortened(note)).chain(noticed).chain(crash).chain(errors.take(3)) {
            said.push(format!("* {}: {note}", figures.client));
        }
    }
    let mut seen = std::collections::HashSet::new();
    said.retain(|note| seen.insert(note.clone()));
    if !said.is_empty() {
        let _ = write!(text, "\n<details><summary>What was said</summary>\n\n{}\n\n</details>\n", said.join("\n"));
    }
}

fn shortened(text: &str) -> String {
    let line = text.replace(['\n', '|'], " ");
    if line.chars().count() > 160 { line.chars().take(160).chain("…".chars()).collect() } else { line }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn optional(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".into(), |figure| format!("{figure:.0}"))
}

const LEFT_OUT: &str = "\n## Left out\n\n\
* Power loss: it needs a machine that can lose its page cache.\n\
* A network interface that goes down (veth): the proxy's hold is the same silence for the client, without root.\n\
* Jumps of the wall clock: they would hit every process of a shared machine; the simulation in the core's tests makes them.\n\
* A day of random faults: `make soak` runs 20 minutes.\n";
