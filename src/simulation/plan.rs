//! What a seed configures: options, topic rules, streams, and who publishes what.

use super::history::Limits;
use super::reply::ApiError;
use super::rng::Rng;
use super::script::{Fault, MS, Scene, Script, Timing};
use super::store::StreamSpec;
use super::twist::Twist;
use super::weather::Weather;
use crate::config::Config;

/// Publishing ends about here; faults end before twice this time.
pub(super) const BUSY: u64 = 3_000 * MS;

/// How the publisher of one seed is set up.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) twists: Vec<Twist>,
    pub(super) streams: Vec<StreamSpec>,
    /// Those of the other JetStream.
    pub(super) abroad: Vec<StreamSpec>,
    /// What the program sets of its rules while it runs: when, pattern, key, value.
    pub(super) changes: Vec<(u64, String, &'static str, String)>,
    /// Topics that a stream takes, or would.
    pub(super) topics: Vec<String>,
    /// A topic that is sent and forgotten.
    pub(super) ephemeral: Option<String>,
    pub(super) script: Script,
    pub(super) weather: Weather,
    pub(super) polled: bool,
    /// Every outcome is reported; else failures alone.
    pub(super) report_all: bool,
    pub(super) msg_ids: &'static str,
    pub(super) threads: u32,
    pub(super) messages: u32,
    /// Some payloads are larger than what the outbox copies.
    pub(super) large: bool,
    pub(super) ack_wait: u64,
    pub(super) delivery_timeout: u64,
    pub(super) ping_interval: u64,
    /// How late every turn may come.
    pub(super) sluggish: u64,
    pub(super) suspends: Vec<(u64, u64)>,
    pub(super) close_at: u64,
    pub(super) close_timeout: u64,
    pub(super) limits: Limits,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        // Not the seed itself: the script is drawn from that.
        let mut rng = Rng::new(seed ^ 0xACB0_5EED_0F00_D000);
        let mut config = Config::new();
        let mut set = |key: &str, value: String| {
            config.set(key, &value).expect("an option of the plan");
        };
        let ack_wait = rng.pick(&[100, 300, 500]);
        let window = rng.pick(&[ack_wait * 3, 4_000, 60_000]);
        let twists = Twist::draw(seed);
        let long = twists.contains(&Twist::LongOutage);
        let delivery = if long { 900_000 } else { rng.pick(&[2_000, 8_000, 20_000]) };
        let ping = rng.pick(&[200, 500, 1_000]);
        let max_pending = rng.pick(&[1, 2, 5, 20, 100, 200]);
        let max_bytes = if rng.chance(250) { rng.between(2_000, 60_000) } else { 64 << 20 };
        let msg_ids = rng.pick(&["auto", "auto", "auto", "caller", "none"]);
        let max_attempts = rng.pick(&[0, 0, 0, 1, 3]);
        let resend_without_msg_id = rng.chance(150);
        let report_all = rng.chance(850);
        set("ack_wait_ms", ack_wait.to_string());
        set("delivery_timeout_ms", delivery.to_string());
        set("ping_interval_ms", ping.to_string());
        set("connect_timeout_ms", "700".into());
        let (backoff, backoff_max) = (rng.pick(&[5, 20, 100]), if long { 100 } else { rng.pick(&[100, 400]) });
        set("retry_backoff_ms", backoff.to_string());
        set("retry_backoff_max_ms", backoff_max.to_string());
        set("max_pending", max_pending.to_string());
        set("max_pending_bytes", max_bytes.to_string());
        set("msg_id", msg_ids.into());
        set("resend_without_msg_id", resend_without_msg_id.to_string());
        set("retry_stream_full", rng.chance(300).to_string());
        let on_no_stream = rng.pick(&["fail", "wait"]);
        set("on_no_stream", on_no_stream.into());
        set("assume_duplicate_window_ms", window.to_string());
        set("gate_share", rng.pick(&[1, 30, 75, 100]).to_string());
        set("max_attempts", max_attempts.to_string());
        set("report", if report_all { "all" } else { "failures" }.into());
        set("monitor_interval_ms", rng.pick(&[0, 500]).to_string());
        set("log_level", "off".into());

        let mut plan = Plan {
            twists,
            abroad: Vec::new(),
            changes: Vec::new(),
            streams: Vec::new(),
            topics: Vec::new(),
            ephemeral: None,
            script: Script::calm(),
            weather: Weather::fair(),
            polled: rng.chance(500),
            report_all,
            msg_ids,
            threads: rng.between(1, 4) as u32,
            messages: rng.pick(&[20, 60, 120]),
            large: rng.chance(300),
            ack_wait: ack_wait * MS,
            delivery_timeout: delivery * MS,
            ping_interval: ping * MS,
            sluggish: if rng.chance(250) { rng.pick(&[200_000, 3 * MS]) } else { 0 },
            suspends: Vec::new(),
            close_at: if rng.chance(300) { rng.below(2 * BUSY) } else { u64::MAX },
            close_timeout: rng.pick(&[0, 50 * MS, ack_wait * 2 * MS, 60_000 * MS]),
            limits: Limits {
                max_pending,
                max_pending_bytes: max_bytes,
                ack_wait: ack_wait * MS,
                delivery_timeout: delivery * MS,
                duplicate_window: window * MS,
                resend_without_msg_id,
                slack: 100 * MS,
                outbox: 15_000 * MS,
                client_pauses: Vec::new(),
                suspends: Vec::new(),
                max_attempts: if max_attempts == 0 { 1_000 } else { max_attempts },
                max_attempts_total: usize::MAX,
                waits_for_streams: on_no_stream == "wait",
                domain: None,
                probe_pauses: (backoff * MS / 4, backoff_max * MS),
                healed_at: 0,
            },
            config,
        };
        if rng.chance(100) {
            plan.suspends = vec![(rng.below(BUSY), rng.between(100, 100_000) * MS)];
            plan.limits.suspends = plan.suspends.clone();
        }
        let mut twisting = rng.clone().fork();
        let named = plan.draw_streams(&mut rng, window);
        plan.twist_streams(&mut twisting);
        let scene = Scene { streams: plan.stream_names(), topics: plan.topics.clone(), named_streams: named };
        plan.script = Script::draw(seed, Timing { ack_wait: plan.ack_wait, give_up: 3 * plan.ping_interval, busy: BUSY }, &scene);
        if rng.chance(100) {
            plan.script.refuse_create = Some(ApiError::new(500, 10074, "replicas > 1 not supported in non-clustered mode"));
        }
        plan.twist_script(&mut twisting);
        // A choppy network may stay behind for ever.
        let choppy = plan.script.odds.get(&Fault::Choppy).is_some_and(|odds| *odds > 0);
        plan.limits.healed_at = if choppy { u64::MAX / 2 } else { plan.script.ends() };
        plan.limits.client_pauses = plan.script.client_pauses.clone();
        plan.draw_ways(seed);
        plan
    }

    /// Servers, and the network between. From a generator of its own: what a seed means otherwise stays.
    fn draw_ways(&mut self, seed: u64) {
        let mut rng = Rng::new(seed ^ 0x5E4F_E450_3A11_0000);
        let servers = rng.pick(&["one.model", "one.model,two.model", "one.model,two.model", "one.model,two.model,three.model"]);
        for (key, value) in [("servers", servers), ("retry_on_connect", "true"), ("reconnect_wait_ms", rng.pick(&["1", "20", "50"]))] {
            self.config.set(key, value).expect("an option of the plan");
        }
        let times = (self.ack_wait, 3 * self.ping_interval);
        self.weather = Weather::draw(seed, self.script.profile, times, self.script.heal_at);
    }

    pub(super) fn stream_names(&self) -> Vec<String> {
        (0..self.streams.len().max(1)).map(|n| format!("S{n}")).collect()
    }

    /// Streams, and the rules for them. Tells whether every topic's rule names its stream.
    fn draw_streams(&mut self, rng: &mut Rng, window: u64) -> bool {
        let mut named_all = true;
        for n in 0..rng.between(1, 3) {
            let (name, subjects) = (format!("S{n}"), format!("s{n}.>"));
            let topics = [format!("s{n}.a"), format!("s{n}.b.c")];
            self.topics.extend(topics.iter().take(rng.between(1, 2) as usize).cloned());
            let mut spec = StreamSpec::new(&name, &[&subjects]);
            spec.duplicate_window = window * MS;
            spec.replicas = rng.pick(&[1, 3]);
            spec.max_msgs = rng.chance(70).then(|| rng.between(1, 60));
            spec.max_msg_size = rng.chance(50).then_some(400);
            let (named, limited, creates) = (rng.chance(500), rng.chance(400), rng.chance(400));
            named_all &= named;
            // One rule for all: the streams have none of their own.
            let alone = !self.has(Twist::WideRule);
            let mut set = |key: &str, value: &str| {
                if alone {
                    self.config.set_topic(&subjects, key, value).expect("a rule of the plan");
                }
            };
            if named {
                set("stream", &name);
            }
            if named && creates {
                set("create", "if_missing");
                set("duplicate_window_ms", &window.to_string());
            }
            if limited {
                let in_flight = rng.pick(&[1, 1, 4]);
                set("in_flight", &in_flight.to_string());
            }
            // A stream that the rule creates is missing most of the time; another one seldom.
            if rng.chance(if named && creates { 200 } else { 930 }) {
                self.streams.push(spec);
            }
        }
        if rng.chance(300) {
            self.config.set_topic("news.>", "mode", "ephemeral").expect("a rule of the plan");
            self.ephemeral = Some("news.today".into());
        }
        // With rules that name none, an ack of another stream counts.
        let adds_rules = [Twist::WideRule, Twist::SharedStream, Twist::RuleChanges].iter().any(|twist| self.has(*twist));
        named_all && !adds_rules
    }
}
