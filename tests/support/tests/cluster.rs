//! Three servers form one cluster.

use std::time::Duration;

use ackbus_test_support::{Cluster, Reader, StreamConfig, wait_for};

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
