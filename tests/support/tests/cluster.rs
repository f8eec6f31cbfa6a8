//! Three servers form one cluster.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use ackbus_test_support::{Cluster, Reader, Server, StreamConfig, wait_for};

#[test]
fn three_servers_elect_leaders() {
    let cluster = Cluster::start(3);
    let reader = Reader::connect(&cluster.url());
    reader.create_stream_with(StreamConfig { name: "R3".into(), subjects: vec!["r3".into()], num_replicas: 3, ..Default::default() });
    reader.publish("r3", b"one");
    let leader = cluster.leader(&reader, "R3");

    cluster.step_down(&reader, "R3");
    wait_for("another leader", Duration::from_secs(30), || (cluster.leader(&reader, "R3") != leader).then_some(()));

    let leader = cluster.leader(&reader, "R3");
    cluster.servers()[leader].kill();
    wait_for("a leader that lives", Duration::from_secs(60), || (cluster.leader(&reader, "R3") != leader).then_some(()));
    cluster.servers()[leader].restart();
    assert_eq!(reader.read_all("R3").len(), 1);
}

#[test]
fn one_member_is_killed_restarted_and_reloaded_on_its_own() {
    let options = || Server::options().jetstream("max_file_store: 64MB");
    let cluster = Cluster::start_with(3, options());
    let reader = Reader::connect(&cluster.url());
    reader.create_stream_with(StreamConfig { name: "R3".into(), subjects: vec!["r3".into()], num_replicas: 3, ..Default::default() });
    let leader = cluster.leader(&reader, "R3");
    let follower = (leader + 1) % 3;
    let processes = || cluster.servers().iter().map(Server::process_id).collect::<Vec<_>>();
    let mut before = processes();
    cluster.servers()[follower].kill();
    // Not through the other reader, which may have lost its connection just now.
    Reader::connect(&cluster.servers()[leader].url()).publish("r3", b"to a majority");
    let killed = before[follower].take();
    assert_eq!(processes(), before, "the others live on");
    cluster.servers()[follower].restart();
    before[follower] = processes()[follower];
    assert_ne!(before[follower], killed);
    assert_eq!(processes(), before);

    let limits = || cluster.servers().iter().map(|server| server.monitor("/varz").unwrap()["max_payload"].as_u64().unwrap()).collect::<Vec<_>>();
    let mut expected = vec![1 << 20; 3];
    cluster.servers()[follower].reload(options().config("max_payload: 4096"));
    expected[follower] = 4096;
    assert_eq!((limits(), processes()), (expected.clone(), before));

    cluster.kill();
    assert_eq!(processes(), [None; 3]);
    cluster.restart();
    assert_eq!(limits(), expected, "a restart keeps a reload");
    assert_eq!(reader.read_all("R3").len(), 1);
}

#[test]
fn a_member_that_is_cut_off_hears_of_nothing_until_it_is_connected_again() {
    let cluster = Cluster::start_linked(3, Server::options());
    let reader = Reader::connect(&cluster.url());
    reader.create_stream_with(StreamConfig { name: "R3".into(), subjects: vec!["r3".into()], num_replicas: 3, ..Default::default() });
    let leader = cluster.leader(&reader, "R3");
    let follower = (leader + 1) % 3;
    let (alone, others) = (Reader::connect(&cluster.servers()[follower].url()), Reader::connect(&cluster.servers()[leader].url()));
    let mut heard = alone.subscribe("news");
    // Until the other member knows that somebody listens here, it sends nothing.
    wait_for("the follower to hear", Duration::from_secs(30), || {
        others.send("news", b"before");
        heard.next(Duration::from_millis(100)).map(|heard| assert_eq!(heard.1, b"before"))
    });
    while heard.next(Duration::from_millis(300)).is_some() {}
    cluster.cut_off(follower);
    others.send("news", b"during");
    others.publish("r3", b"to a majority");
    assert_eq!(heard.next(Duration::from_millis(300)), None);
    cluster.connect_again(follower);
    assert_eq!(heard.next(Duration::from_secs(10)).unwrap().1, b"during");
    alone.publish("r3", b"by all");
    assert_eq!(reader.message_count("R3"), 2);
}
