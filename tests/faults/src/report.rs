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
         Each client runs with its best documented options and no retry of the tests' own; ackbus runs with its defaults. Figures of several seeds are sums, times are the worst.\n\
         A fault of a client is reproduced by its row: `make faults ROWS=\"--rows T5 --clients nats.go\"`; the seeds are in `results.json`.\n\n\
         ![Shares of the outcomes, per client and fault](faults.svg)\n\n",
    );
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    for figures in all.iter().filter(|figures| !figures.version.is_empty()) {
        versions.insert(&figures.client, &figures.version);
    }
    let _ = writeln!(text, "* the server: nats-server {}", ackbus_test_support::Server::version());
    for (client, version) in versions {
        let _ = writeln!(text, "* {client}: {version}");
    }
    in_short(&mut text, all);
    recovery(&mut text, all);
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

/// Sums over all rows, per client.
fn in_short(text: &mut String, all: &[Figures]) {
    text.push_str(
        "\n## In short\n\nSums over all rows that the client played. `told wrong` is `false_fail` + `mislabelled`; `dups` leaves out the row that P4 excludes (T17).\n\n\
         | client | runs | accepted | told wrong | lost | hung | multi | dups | unexpected | over | late_cb | crashes |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for client in crate::clients::CLIENTS.iter().map(|client| client.name) {
        let runs: Vec<&Figures> = all.iter().filter(|figures| figures.client == client).collect();
        if runs.is_empty() {
            continue;
        }
        let sum = |of: fn(&Figures) -> u64| runs.iter().map(|figures| of(figures)).sum::<u64>();
        let _ = writeln!(
            text,
            "| {client} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            runs.len(),
            sum(|f| f.accepted),
            sum(|f| f.false_fail + f.mislabelled),
            sum(|f| f.lost),
            sum(|f| f.hung),
            sum(|f| f.multi),
            sum(|f| if f.row == "T17" { 0 } else { f.dups }),
            sum(|f| f.unexpected),
            sum(|f| f.over),
            sum(|f| f.late_cb),
            sum(|f| u64::from(f.crash.is_some())),
        );
    }
}

/// From the end of the fault to the first ack: the median of the seeds.
fn recovery(text: &mut String, all: &[Figures]) {
    let played: Vec<&crate::clients::Client> =
        crate::clients::CLIENTS.iter().filter(|client| all.iter().any(|figures| figures.client == client.name)).collect();
    let names: Vec<&str> = played.iter().map(|client| client.name).collect();
    let _ = write!(
        text,
        "\n## Recovery\n\nMilliseconds from the end of the fault (of the last one, where there are several) to the first ack; the median where there are several seeds.\n\n| row | {} |\n|---|{}\n",
        names.join(" | "),
        "--:|".repeat(names.len())
    );
    for row in rows::all() {
        let of = |client: &str| {
            let mut times: Vec<f64> = all.iter().filter(|f| f.row == row.id && f.client == client).filter_map(|f| f.recover_ms).collect();
            times.sort_by(f64::total_cmp);
            times.get(times.len() / 2).copied()
        };
        let line: Vec<Option<f64>> = names.iter().map(|name| of(name)).collect();
        // Where the client is never without acks there is nothing to recover from.
        if line.iter().flatten().any(|&time| time >= 20.0) {
            let cells: Vec<String> = line.into_iter().map(optional).collect();
            let _ = writeln!(text, "| {} {} | {} |", row.id, row.name, cells.join(" | "));
        }
    }
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
