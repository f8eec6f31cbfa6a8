//! Three servers, one stream on all of them, and what happens to its leader.

use std::thread::sleep;
use std::time::{Duration, Instant};

use ackbus_test_support::{Cluster, Options, Reader, Server, StreamConfig, wait_for};

use super::{Row, row};
use crate::case::{Case, PATIENCE, stream};
use crate::checker::Figures;
use crate::load::STREAM;

pub(super) const ROWS: &[Row] = &[
    row("T12", "R3: leader kill -9", "the stream's leader is killed and starts again after 5 s; 5 times", leader_killed).short(),
    row("T13", "R3: step-downs", "the leader resigns every 2 s; 8 times", step_downs),
    row("T14", "R3: no quorum 15 s", "two of three servers stand still; what a former leader calls in process (10158) may stay in doubt", no_quorum),
    row("T15", "R3: rolling restart", "one server after the other ends and starts again", rolling_restart),
    row("T23", "R3: overload (429)", "the leader takes 100 messages at a time (`max_buffered_msgs`), the client sends as fast as it can", overload),
    row("T46", "R3: follower cut off 10 s", "the client's server leads nothing, and no other one reaches it", cut_off),
    row("T29", "R3: lame duck", "the client's server asks its clients to leave, and ends", lame_duck),
];

fn cluster(options: Options) -> (Cluster, Reader) {
    let cluster = Cluster::start_with(3, options);
    let reader = Reader::connect(&cluster.url());
    reader.create_stream_with(StreamConfig { num_replicas: 3, ..stream() });
    let _ = cluster.leader(&reader, STREAM);
    (cluster, reader)
}

fn leader_killed(case: &mut Case) -> Figures {
    let (cluster, reader) = cluster(Server::options());
    let mut run = case.start(&cluster.url(), case.load().endless());
    for _ in 0..case.rounds(5) {
        run.acked_more(case.between(1_000, 4_000));
        let leader = &cluster.servers()[cluster.leader(&reader, STREAM)];
        run.breaks();
        leader.kill();
        run.heals();
        sleep(Duration::from_secs(5));
        leader.restart();
    }
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn step_downs(case: &mut Case) -> Figures {
    let (cluster, reader) = cluster(Server::options());
    let mut run = case.start(&cluster.url(), case.load().endless());
    run.acked(1_000);
    run.breaks();
    for _ in 0..case.rounds(8) {
        let _ = cluster.leader(&reader, STREAM);
        cluster.step_down(&reader, STREAM);
        sleep(Duration::from_secs(2));
    }
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted_or_in_process();
    figures
}

fn no_quorum(case: &mut Case) -> Figures {
    let (cluster, reader) = cluster(Server::options());
    let mut run = case.start(&cluster.url(), case.load().endless());
    run.acked(case.between(4_000, 12_000));
    let spared = usize::try_from(case.between(0, 2)).unwrap_or(0);
    let stopped: Vec<&Server> = cluster.servers().iter().enumerate().filter(|(index, _)| *index != spared).map(|(_, server)| server).collect();
    run.breaks();
    stopped.iter().for_each(|server| server.pause());
    sleep(Duration::from_secs(15));
    stopped.iter().for_each(|server| server.resume());
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted_or_in_process();
    figures
}

fn rolling_restart(case: &mut Case) -> Figures {
    let (cluster, reader) = cluster(Server::options());
    let mut run = case.start(&cluster.url(), case.load().endless());
    run.acked(1_000);
    run.breaks();
    for server in cluster.servers() {
        server.restart();
        let current = || {
            let state = reader.stream_info(STREAM)?.cluster?;
            (state.leader.is_some() && state.replicas.iter().all(|replica| replica.current && !replica.offline)).then_some(())
        };
        wait_for("all replicas are current", PATIENCE, current);
    }
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn overload(case: &mut Case) -> Figures {
    let (cluster, reader) = cluster(Server::options().jetstream("max_buffered_msgs: 100"));
    let mut load = case.load();
    load.rate = 0;
    let run = case.start(&cluster.url(), load);
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    let refused = cluster.servers().iter().filter_map(|server| server.monitor("/varz").ok()?["in_msgs"].as_u64()).sum::<u64>();
    figures.note(format!("{:.1} messages into the servers for each, of all kinds", refused as f64 / figures.accepted.max(1) as f64));
    figures
}

fn cut_off(case: &mut Case) -> Figures {
    let cluster = Cluster::start_linked(3, Server::options());
    let reader = Reader::connect(&cluster.url());
    reader.create_stream_with(StreamConfig { num_replicas: 3, ..stream() });
    let follower = (cluster.leader(&reader, STREAM) + 1) % 3;
    // It knows of no other server.
    let load = case.load().endless().word("set:discover_servers=false");
    let mut run = case.start(&cluster.servers()[follower].url(), load);
    run.acked(case.between(1_000, 4_000));
    run.breaks();
    cluster.cut_off(follower);
    sleep(Duration::from_secs(10)); // This long is the fault.
    cluster.connect_again(follower);
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}

fn lame_duck(case: &mut Case) -> Figures {
    let (cluster, reader) = cluster(Server::options());
    let mut run = case.start(&cluster.url(), case.load().endless());
    run.acked(1_000);
    let hosts = |server: &&Server| {
        let page = server.monitor("/connz").unwrap_or_default();
        page["connections"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] != "ackbus-test-reader"))
    };
    let host = wait_for("the driver's connection", PATIENCE, || cluster.servers().iter().find(hosts));
    run.breaks();
    host.lame_duck();
    // It ends 30 s after that at the latest; until then the client may stay or go.
    let start = Instant::now();
    while host.monitor("/varz").is_ok() && start.elapsed() < PATIENCE {
        sleep(Duration::from_millis(100));
    }
    run.heals();
    run.recovers();
    let mut figures = case.finish(run, &reader);
    figures.all_persisted();
    figures
}
