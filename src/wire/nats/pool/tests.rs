#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use super::*;
use crate::config::servers::Servers;

const SECOND: u64 = 1_000 * MS;

fn urls(text: &str) -> Vec<ServerUrl> {
    match Servers::parse(text).unwrap() {
        Servers::Nats(servers) => servers,
        Servers::Memory => panic!("{text}"),
    }
}

fn settings() -> Settings {
    Settings { reconnect_wait: Duration::from_millis(50), discover_servers: true, retry_on_connect: true, ..Settings::default() }
}

fn pool(servers: &str, settings: &Settings) -> Pool {
    Pool::new(&urls(servers), settings, 0, 1)
}

fn target(pool: &mut Pool, now: u64) -> Target {
    match pool.next(now) {
        Next::Connect(target) => target,
        other => panic!("{other:?}"),
    }
}

fn host(pool: &mut Pool, now: u64) -> String {
    target(pool, now).server.host
}

fn pause(pool: &mut Pool, now: u64) -> u64 {
    match pool.next(now) {
        Next::Wait(until) => until - now,
        other => panic!("{other:?}"),
    }
}

fn given_up(pool: &mut Pool, now: u64) -> Error {
    match pool.next(now) {
        Next::Exhausted(error) => error,
        other => panic!("{other:?}"),
    }
}

fn refused() -> Error {
    Error::new(Status::ConnectFailed, "connection refused")
}

fn unauthorised() -> Error {
    Error::new(Status::AuthFailed, "Authorization Violation")
}

/// The next attempt, which fails with this error; the host that it went to.
fn fail(pool: &mut Pool, now: u64, error: Error) -> String {
    let server = target(pool, now).server;
    pool.failed(now, &server, error);
    server.host
}

fn connect(pool: &mut Pool, now: u64) -> ServerUrl {
    let server = target(pool, now).server;
    pool.connected(now, &server);
    server
}

#[test]
fn the_first_connect_follows_the_order_and_a_lost_one_begins_with_the_others() {
    let mut pool = pool("a,b,c", &settings());
    assert_eq!(fail(&mut pool, 0, refused()), "a");
    assert_eq!(connect(&mut pool, 0).host, "b");
    pool.lost(10 * SECOND);
    let order: Vec<String> = (0..3).map(|_| fail(&mut pool, 10 * SECOND, refused())).collect();
    assert_eq!(order, ["c", "a", "b"], "at once, and each before any twice");
    assert!((25 * MS..=50 * MS).contains(&pause(&mut pool, 10 * SECOND)));
}

#[test]
fn the_connections_of_a_publisher_go_different_ways_when_they_lose_one_server() {
    let mut order = Vec::new();
    for lane in 0..5 {
        let mut pool = Pool::new(&urls("a,b,c,d"), &settings(), lane, lane as u64);
        let a = connect(&mut pool, 0);
        assert_eq!(a.host, "a", "the first connect follows the order");
        let leaves_for = pool.other_than(&a).unwrap().server.host;
        pool.lost(10 * SECOND);
        let tried: String = (0..4).map(|_| fail(&mut pool, 10 * SECOND, refused())).collect();
        assert!(tried.starts_with(&leaves_for), "{tried}");
        order.push(tried);
    }
    assert_eq!(order, ["bcda", "cdba", "dbca", "bcda", "cdba"]);
    let mut alone = Pool::new(&urls("a"), &settings(), 3, 1);
    let a = connect(&mut alone, 0);
    assert!(alone.other_than(&a).is_none());
    alone.lost(10 * SECOND);
    assert_eq!(host(&mut alone, 10 * SECOND), "a");
}

#[test]
fn pauses_grow_with_the_time_lost_up_to_the_limit_with_jitter() {
    let mut pool = pool("a", &settings());
    let mut seen = Vec::new();
    let mut now = 0;
    // A hundredth of the time since the first failure, from 50 ms to 2 s.
    for (at, full) in [(0, 50), (4_900, 50), (10_000, 100), (25_000, 250), (100_000, 1_000), (200_000, 2_000), (4_000_000, 2_000)] {
        now = at * MS;
        fail(&mut pool, now, refused());
        let pause = pause(&mut pool, now);
        assert!((full * MS / 2..=full * MS).contains(&pause), "{full}: {pause}");
        seen.push(pause as f64 / (full * MS) as f64);
        now += pause;
    }
    assert!(seen.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 0.05), "no jitter: {seen:?}");
    // A connection makes the pauses short again.
    connect(&mut pool, now);
    pool.lost(now + 10 * SECOND);
    fail(&mut pool, now + 10 * SECOND, refused());
    assert!(pause(&mut pool, now + 10 * SECOND) <= 50 * MS);
}

#[test]
fn the_same_seed_gives_the_same_pauses() {
    let run = |seed| {
        let mut pool = Pool::new(&urls("a"), &settings(), 0, seed);
        let step = |now: &mut u64| {
            fail(&mut pool, *now, refused());
            *now += pause(&mut pool, *now);
            Some(*now)
        };
        std::iter::repeat_with({
            let mut now = 0;
            let mut step = step;
            move || step(&mut now)
        })
        .take(10)
        .flatten()
        .collect::<Vec<u64>>()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    // The published reference values of SplitMix64.
    let mut jitter = Jitter::new(1_234_567);
    assert_eq!([jitter.next(), jitter.next(), jitter.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    assert_eq!(jitter.below(0), 0);
}

#[test]
fn a_server_that_takes_us_and_hangs_up_is_not_called_in_a_tight_loop() {
    let mut pool = pool("a", &settings());
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..60 {
        connect(&mut pool, now);
        now += SECOND;
        pool.lost(now);
        let wait = match pool.next(now) {
            Next::Wait(until) => until - now,
            Next::Connect(_) => 0,
            other => panic!("{other:?}"),
        };
        pauses.push(wait / MS);
        now += wait;
    }
    assert_eq!(pauses[0], 0, "the first loss is repaired at once");
    // A hundredth of the time since then, and 50 ms at least.
    assert!(pauses[1..5].iter().all(|pause| (25..=50).contains(pause)) && (300..=700).contains(&pauses[59]), "{pauses:?}");
    // One long life later it is at once again.
    connect(&mut pool, now);
    pool.lost(now + SHORT_LIFE);
    assert_eq!(host(&mut pool, now + SHORT_LIFE), "a");
}

#[test]
fn without_retry_the_first_connect_has_one_round() {
    let mut pool = pool("a,user:hush@b", &Settings { retry_on_connect: false, ..settings() });
    fail(&mut pool, 0, refused());
    fail(&mut pool, 0, Error::new(Status::TlsFailed, "nats://b:4222: unknown CA"));
    let error = given_up(&mut pool, 0);
    assert_eq!(error.status(), Status::ConnectFailed);
    assert_eq!(error.message(), "no server could be reached: nats://a:4222: connection refused; nats://b:4222: unknown CA");
    assert!(!error.is_fatal());
    assert_eq!(given_up(&mut pool, 60 * SECOND).message(), error.message(), "it stays so");
}

#[test]
fn one_cause_keeps_its_status() {
    let mut pool = pool("a", &Settings { retry_on_connect: false, ..settings() });
    fail(&mut pool, 0, unauthorised());
    assert_eq!(given_up(&mut pool, 0).status(), Status::AuthFailed);
}

#[test]
fn max_reconnects_counts_failures_in_a_row() {
    let mut pool = pool("a,b", &Settings { max_reconnects: Some(3), ..settings() });
    connect(&mut pool, 0);
    for start in [10 * SECOND, 20 * SECOND] {
        pool.lost(start);
        fail(&mut pool, start, refused());
        fail(&mut pool, start, refused());
        connect(&mut pool, start + SECOND);
    }
    pool.lost(30 * SECOND);
    (0..3).for_each(|round| drop(fail(&mut pool, (31 + round) * SECOND, refused())));
    let error = given_up(&mut pool, 40 * SECOND);
    assert!(error.is_fatal() && error.message().starts_with("gave up after 3 failed attempts to reconnect: "), "{error}");
    assert!(error.message().contains("connection refused (3 times)"), "{error}");

    let mut pool = self::pool("a", &Settings { max_reconnects: Some(0), ..settings() });
    connect(&mut pool, 0);
    pool.lost(SECOND);
    assert!(given_up(&mut pool, SECOND).message().contains("max_reconnects is 0"));
}

#[test]
fn the_same_refusal_twice_is_the_end() {
    let mut pool = pool("a", &settings());
    connect(&mut pool, 0);
    pool.lost(10 * SECOND);
    fail(&mut pool, 10 * SECOND, unauthorised());
    // A server that restarts in between, or says something else, starts the count again.
    fail(&mut pool, 11 * SECOND, refused());
    fail(&mut pool, 12 * SECOND, unauthorised());
    fail(&mut pool, 13 * SECOND, Error::new(Status::AuthFailed, "User Authentication Expired"));
    assert!(matches!(pool.next(14 * SECOND), Next::Connect(_)));
    let server = urls("a").remove(0);
    pool.failed(14 * SECOND, &server, Error::new(Status::AuthFailed, "User Authentication Expired"));
    let error = given_up(&mut pool, 15 * SECOND);
    assert!(error.is_fatal() && error.status() == Status::AuthFailed, "{error}");
    assert!(error.message().contains("nats://a:4222: User Authentication Expired"), "{error}");
}

#[test]
fn one_server_that_refuses_us_does_not_end_a_pool_with_others() {
    let mut pool = pool("a,b", &settings());
    fail(&mut pool, 0, unauthorised());
    assert_eq!(connect(&mut pool, 0).host, "b");
    for second in [10, 20, 30] {
        pool.lost(second * SECOND);
        assert_eq!(fail(&mut pool, second * SECOND, unauthorised()), "a");
        assert_eq!(fail(&mut pool, second * SECOND, refused()), "b");
        assert_eq!(fail(&mut pool, second * SECOND + SECOND, unauthorised()), "a");
        assert_eq!(connect(&mut pool, second * SECOND + SECOND).host, "b");
    }
    // An address that nobody ever reached is no reason to go on.
    let b = urls("b").remove(0);
    pool.discovered(&["10.1.1.1:4222".to_owned()], &b);
    pool.lost(40 * SECOND);
    for second in 40..60 {
        match pool.next(second * SECOND) {
            Next::Connect(target) if target.server.host.starts_with("10.") => pool.failed(second * SECOND, &target.server, refused()),
            Next::Connect(target) => pool.failed(second * SECOND, &target.server, unauthorised()),
            Next::Wait(_) => {}
            Next::Exhausted(error) => return assert!(error.is_fatal() && second < 50, "{error}"),
        }
    }
    panic!("never gave up");
}

#[test]
fn discovered_servers_come_in_and_go() {
    let mut pool = pool("tls://u:p@name", &settings());
    let name = connect(&mut pool, 0);
    let told = |list: &[&str]| list.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>();
    let new = pool.discovered(&told(&["10.0.0.1:4222", "10.0.0.2:4222", "NAME:4222", "10.0.0.1:4222", "no address", "x@y"]), &name);
    assert_eq!(format!("{new:?}"), "[tls://10.0.0.1:4222, tls://10.0.0.2:4222]");
    assert_eq!(pool.entries.len(), 3);
    pool.lost(10 * SECOND);
    let first = target(&mut pool, 10 * SECOND);
    assert_eq!((first.server.to_string().as_str(), first.tls_name.as_str()), ("tls://10.0.0.1:4222", "name"));
    assert_eq!(first.server.password.as_ref().unwrap().expose(), "p");
    pool.connected(10 * SECOND, &first.server);
    // What a discovered server tells of has the first name too.
    pool.discovered(&told(&["10.0.0.3:4222"]), &first.server);
    assert_eq!(pool.entries.len(), 3, "10.0.0.2 is gone; the configured server and the one in use stay");
    assert_eq!(pool.other_than(&first.server).unwrap().tls_name, "name");
    pool.discovered(&[], &first.server);
    assert_eq!(pool.entries.len(), 3);
    pool.lost(20 * SECOND);
    let order: Vec<String> = (0..3).map(|_| fail(&mut pool, 20 * SECOND, refused())).collect();
    assert_eq!(order, ["name", "10.0.0.3", "10.0.0.1"]);
}

#[test]
fn discovery_is_bounded_and_can_be_off() {
    let many: Vec<String> = (0..1_000).map(|n| format!("10.0.{}.{}:4222", n / 250, n % 250)).collect();
    let mut on = pool("a", &settings());
    let a = connect(&mut on, 0);
    on.discovered(&many, &a);
    assert_eq!(on.entries.len(), MAX_SERVERS);
    let mut off = pool("a", &Settings { discover_servers: false, ..settings() });
    off.discovered(&many, &a);
    assert_eq!(off.entries.len(), 1);
    assert!(off.other_than(&a).is_none());
}

#[test]
fn attempts_beside_a_standing_connection_cost_nothing() {
    let mut pool = pool("a,b,c", &Settings { max_reconnects: Some(1), ..settings() });
    let a = connect(&mut pool, 0);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let other = pool.other_than(&a).unwrap().server;
        pool.failed(SECOND, &other, unauthorised());
        seen.push(other.host);
    }
    assert_eq!(seen, ["b", "c", "b", "c"]);
    pool.lost(10 * SECOND);
    assert!(matches!(pool.next(10 * SECOND), Next::Connect(_)));
}

#[test]
fn the_error_names_few_servers() {
    let many: Vec<String> = (0..20).map(|n| format!("h{n}")).collect();
    let mut pool = pool(&many.join(","), &Settings { retry_on_connect: false, ..settings() });
    (0..20).for_each(|_| drop(fail(&mut pool, 0, refused())));
    let text = given_up(&mut pool, 0).message().to_owned();
    assert!(text.contains("nats://h7:4222") && !text.contains("nats://h8:4222") && text.ends_with("; and 12 more"), "{text}");
}

#[test]
fn any_order_of_events_keeps_the_bounds() {
    for seed in 0..300 {
        let mut chance = Jitter::new(seed);
        let max_reconnects = (chance.below(2) == 0).then_some(5);
        let mut pool = Pool::new(&urls("a,b,c"), &Settings { max_reconnects, ..settings() }, 0, seed);
        let (mut now, mut current) = (0, urls("a").remove(0));
        for _ in 0..300 {
            match chance.below(6) {
                0 => pool.connected(now, &current),
                1 => pool.lost(now),
                2 => pool.failed(now, &current, if chance.below(2) == 0 { refused() } else { unauthorised() }),
                3 => drop(pool.discovered(&[format!("10.0.0.{}:4222", chance.below(400)), format!("10.0.0.{}", chance.below(200))], &current)),
                _ => match pool.next(now) {
                    Next::Connect(target) => current = target.server,
                    Next::Wait(until) => {
                        assert!(until > now && until - now <= MAX_WAIT, "{seed}");
                        now = until;
                    }
                    Next::Exhausted(error) => {
                        assert!(error.is_fatal(), "{seed}");
                        break;
                    }
                },
            }
            now += chance.below(SECOND);
            assert!((3..=MAX_SERVERS).contains(&pool.entries.len()), "{seed}");
        }
    }
}
