//! The options of waiting.

use std::time::Duration;

use clap::Args;

use crate::units;

/// How many requests may wait, and how long.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Waiting")]
#[group(skip)]
pub struct Settings {
    /// Requests that may wait for a change, and connections to /v1/events; further ones are answered at once, with
    /// Retry-After. They get at most three quarters of the connections of an address.
    #[arg(long, env = "PUBLISHER_MAX_WAITS", value_name = "REQUESTS")]
    #[arg(default_value = "10000", value_parser = units::number::<usize>(0..=1_000_000))]
    pub max_waits: usize,
    /// How many of those may come from one client address (IPv6: from one /64).
    #[arg(long, env = "PUBLISHER_MAX_WAITS_PER_ADDRESS", value_name = "REQUESTS")]
    #[arg(default_value = "64", value_parser = units::number::<usize>(0..=1_000_000))]
    pub max_waits_per_address: usize,
    /// Length of a slot in seconds: a request waits for the end of one, and at most a sixth longer than a slot. Proxies
    /// must allow that. Servers behind one address must have the same value.
    #[arg(
        long = "wait-slot-secs",
        env = "PUBLISHER_WAIT_SLOT_SECS",
        value_name = "SECONDS"
    )]
    #[arg(default_value = "25", value_parser = units::secs(1..=600))]
    pub wait_slot: Duration,
    /// Spread the answers to waiting clients over this time after a change, in milliseconds. For more than 10,000
    /// clients, whose next requests would come at once.
    #[arg(
        long = "wait-jitter-ms",
        env = "PUBLISHER_WAIT_JITTER_MS",
        value_name = "MS"
    )]
    #[arg(default_value = "0", value_parser = units::millis(..=60_000))]
    pub wait_jitter: Duration,
}
