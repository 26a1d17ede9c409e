//! When polls are due, and which target they go to:
//!
//! - polls are due at their times, and the rate stays, with and without jitter
//! - polls of stages follow the curve of their rate: as many as its area, in order, each of one client
//! - a burst is at its moment, and its polls are dealt to the clients in turn
//! - a pause has no polls, and the next one is at its end
//! - targets get the shares of their weights, for each client and for all
//! - the same seed gives the same times, another one others

use std::{collections::HashSet, sync::Arc, time::Duration};

use fastrand::Rng;
use herd::{
    curve::Curve,
    mix::Mix,
    schedule::{Pace, Times, rng},
    stage::Stage,
};
use proptest::prelude::*;

use crate::plan;

const URL: &str = "http://127.0.0.1:9/x";

fn curve(stages: &[&str]) -> Curve {
    let stages: Vec<Stage> = stages.iter().map(|text| text.parse().unwrap()).collect();
    Curve::new(&stages)
}

fn stage() -> impl Strategy<Value = Stage> {
    let length = (1_u64..20_000).prop_map(Duration::from_millis);
    let rate = prop_oneof![Just(0.0), 0.5..2000.0_f64];
    prop_oneof![
        (length.clone(), prop::option::of(rate.clone()), rate.clone())
            .prop_map(|(length, from, to)| Stage::Ramp { length, from, to }),
        (length, rate).prop_map(|(length, at)| Stage::Hold { length, at }),
        (1_u32..500).prop_map(|polls| Stage::Burst { polls }),
    ]
}

/// Returns the rate at each millisecond, added up: the polls that should be due until then.
fn area(stages: &[Stage]) -> Vec<f64> {
    let (mut sums, mut sum, mut rate) = (vec![0.0], 0.0, 0.0);
    for stage in stages {
        let (length, from, to) = match *stage {
            Stage::Ramp { length, from, to } => (length, from.unwrap_or(rate), to),
            Stage::Hold { length, at } => (length, at, at),
            Stage::Burst { .. } => continue,
        };
        let steps = length.as_millis();
        for step in 0..steps {
            let middle = (step as f64 + 0.5) / steps as f64;
            sum += (from + (to - from) * middle) / 1000.0;
            sums.push(sum);
        }
        rate = to;
    }
    sums
}

proptest! {
    #[test]
    fn polls_are_due_at_their_times_and_the_rate_stays(
        first_ms in 0_u64..2000,
        interval_ms in 1_u64..500,
        jitter in 0.0..0.5_f64,
        bursts_ms in prop::collection::vec(0_u64..12_000, 0..4),
        seed: u64,
    ) {
        let end = Duration::from_secs(10);
        let (first, interval) = (Duration::from_millis(first_ms), Duration::from_millis(interval_ms));
        let mut bursts: Vec<_> = bursts_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        bursts.sort();
        let times = Times { pace: Pace::Every { first, interval }, jitter, bursts, polls: None, end };
        let due: Vec<Duration> = times.clone().due(Rng::with_seed(seed)).collect();
        prop_assert!(due.is_sorted());
        let mut regular = due.clone();
        for burst in times.bursts.iter().filter(|at| **at < end) {
            let at = regular.iter().position(|at| at == burst);
            prop_assert!(at.is_some(), "a burst is not at its moment");
            regular.remove(at.unwrap());
        }
        let expected = (10_000 - first_ms).div_ceil(interval_ms);
        prop_assert_eq!(regular.len() as u64, expected);
        prop_assert!(regular.contains(&first));
        // Nobody is further from its time than the jitter allows, however late in the run.
        let reach = interval.mul_f64(jitter) + Duration::from_micros(1);
        for (at, due) in regular.iter().enumerate() {
            let time = first + interval * at as u32;
            prop_assert!(*due + reach >= time && *due <= time + reach);
        }
        let again: Vec<Duration> = times.clone().due(Rng::with_seed(seed)).collect();
        prop_assert_eq!(&again, &due);
        let few: Vec<Duration> = Times { polls: Some(7), ..times }.due(Rng::with_seed(seed)).collect();
        prop_assert_eq!(&few[..], &due[..due.len().min(7)]);
    }

    #[test]
    fn polls_of_stages_are_due_where_the_area_under_the_rate_says(
        stages in prop::collection::vec(stage(), 1..8),
    ) {
        let curve = Curve::new(&stages);
        let area = area(&stages);
        let polls = area.last().unwrap();
        let mut last = Duration::ZERO;
        let mut number = 0.0;
        while let Some(due) = curve.due(number) {
            prop_assert!(due >= last && due <= curve.length());
            // The area up to there, between those of the milliseconds around it.
            let ms = due.as_secs_f64() * 1000.0;
            let (below, above) = (ms.floor() as usize, (ms.ceil() as usize).min(area.len() - 1));
            let slack = 1e-6 * (1.0 + number);
            prop_assert!(area[below] <= number + slack && number <= area[above] + slack, "{number} at {due:?}");
            last = due;
            number += 1.0;
        }
        prop_assert!((number - polls.ceil()).abs() <= 1.0, "{number} of {polls}");
    }

    #[test]
    fn each_poll_of_a_stage_is_of_one_client_and_jitter_changes_no_number(
        stages in prop::collection::vec(stage(), 1..5),
        clients in 1_u32..50,
        jitter in prop_oneof![Just(0.0), 0.0..0.5_f64],
        seed: u64,
    ) {
        let curve = Arc::new(Curve::new(&stages));
        let mut all = Vec::new();
        for number in 0..clients {
            let pace = Pace::Stages { curve: Arc::clone(&curve), number, clients };
            let times = Times { pace, jitter, bursts: Vec::new(), polls: None, end: curve.length() };
            let due: Vec<Duration> = times.due(rng(seed, number)).collect();
            prop_assert!(due.is_sorted());
            prop_assert!(due.iter().all(|at| *at < curve.length()));
            all.extend(due);
        }
        all.sort();
        let whole: Vec<Duration> = (0..).map_while(|number| curve.due(f64::from(number))).collect();
        // Rounding may put the very last poll at the end of the run, where nothing is due.
        prop_assert!(whole.len().abs_diff(all.len()) <= 1, "{} of {}", all.len(), whole.len());
        if jitter == 0.0 {
            prop_assert_eq!(&all[..], &whole[..all.len()]);
        }
    }

    #[test]
    fn targets_get_the_shares_of_their_weights(
        weights in prop::collection::vec(1_u32..100, 1..6),
        phase in 0.0..1.0_f64,
        polls in 1_u64..3000,
    ) {
        let total: u32 = weights.iter().sum();
        let mix = Mix::new(weights.iter().map(|weight| (*weight, ())).collect()).unwrap();
        let mut counts = vec![0_u64; weights.len()];
        for number in 0..polls {
            counts[mix.index(phase, number)] += 1;
        }
        for (weight, count) in weights.iter().zip(counts) {
            let share = polls as f64 * f64::from(*weight) / f64::from(total);
            let most = 2.0 + (polls as f64).log2();
            prop_assert!((count as f64 - share).abs() <= most, "{count} instead of {share}");
        }
    }

    #[test]
    fn a_stage_is_written_as_it_is_read(stage in stage()) {
        prop_assert_eq!(stage.to_string().parse::<Stage>().unwrap(), stage);
    }
}

#[test]
fn all_clients_together_have_the_shares_of_the_weights_even_with_one_poll_each() {
    let mix = Mix::new(vec![(9, "often"), (1, "seldom")]).unwrap();
    let indexes = (0..1000).map(|client| mix.index(rng(1, client).f64(), 0));
    let often = indexes.filter(|index| *index == 0).count();
    assert!((850..950).contains(&often), "{often}");
}

#[test]
fn a_ramp_begins_at_the_rate_before_it_and_a_pause_has_no_polls() {
    let curve = curve(&[
        "hold 10s at 0/s",
        "hold 2s at 5/s",
        "burst 3",
        "ramp 10s to 15/s",
    ]);
    let at = |number| curve.due(number).map(|at| at.as_secs_f64());
    // Not at the beginning, where the rate is zero.
    assert_eq!(
        (at(0.0), at(5.0), at(9.0)),
        (Some(10.0), Some(11.0), Some(11.8))
    );
    assert_eq!(at(10.0), Some(12.0));
    // 5t + t²/2 = 12 after two seconds; 100 polls after ten.
    assert_eq!(at(22.0), Some(14.0));
    assert!(at(109.0).is_some() && at(110.0).is_none());
    assert_eq!(curve.bursts(), [(Duration::from_secs(12), 3)]);
    assert_eq!(
        (curve.highest_rate(), curve.length()),
        (15.0, Duration::from_secs(22))
    );
}

#[test]
fn times_depend_on_the_seed_and_the_client_and_the_number_of_requests_is_kept() {
    let plan = |options: &str| {
        let options = options.split('_').filter(|option| !option.is_empty());
        plan(&std::iter::once(URL).chain(options).collect::<Vec<_>>()).unwrap()
    };
    let due = |options: &str, client: u32| {
        let plan = plan(options);
        let times = plan.pollers.schedule.times(client);
        times.due(rng(plan.seed, client)).collect::<Vec<_>>()
    };
    let stages = "--clients_7_--stage_ramp 5s to 40/s_--stage_burst 10_--stage_hold 5s at 40/s";
    assert_eq!(due(stages, 3), due(stages, 3));
    assert_ne!(due(stages, 3), due(&format!("{stages}_--seed_2"), 3));
    let seen: HashSet<_> = (0..7).map(|client| due("--clients_7", client)).collect();
    assert_eq!(seen.len(), 7);
    // Ten polls of the burst for seven clients.
    let burst = |client| {
        let due = due(stages, client);
        due.iter()
            .filter(|at| **at == Duration::from_secs(5))
            .count()
    };
    assert!((0..3).all(|client| (2..=3).contains(&burst(client))));
    let polls = |options: &str| {
        let clients = plan(options).pollers.schedule.clients;
        (0..clients)
            .map(|client| due(options, client).len())
            .sum::<usize>()
    };
    assert_eq!(polls(stages), 100 + 10 + 200);
    for number in ["1", "6", "7", "8", "1000"] {
        let limited = format!("--clients_7_--rate_50_-n_{number}");
        assert_eq!(polls(&limited).to_string(), number);
        let limited =
            format!("--clients_7_--interval-ms_100_--ramp-ms_0_--jitter-percent_50_-n_{number}");
        assert_eq!(polls(&limited).to_string(), number);
    }
    // A day of polls takes no memory.
    let day = plan("--clients_1000_--rate_5000_--duration-secs_86400");
    let times = day.pollers.schedule.times(999);
    let first = times.due(rng(1, 999)).next().unwrap();
    assert!(first < Duration::from_secs(1));
}

#[test]
fn slow_rates_and_rates_that_no_client_divides_are_kept() {
    let polls = |options: &str| {
        let options: Vec<&str> = std::iter::once(URL).chain(options.split('_')).collect();
        let schedule = plan(&options).unwrap().pollers.schedule;
        let clients = 0..schedule.clients;
        let due = clients.flat_map(|client| schedule.times(client).due(rng(1, client)));
        let mut due: Vec<f64> = due.map(|at| at.as_secs_f64()).collect();
        due.sort_by(f64::total_cmp);
        due
    };
    // Less than one poll per second, and a limit: all of them, two seconds apart.
    let slow = polls("--clients_1_--rate_0.5_-n_50_--jitter-percent_0");
    assert_eq!((slow.len(), slow[0], slow[49]), (50, 0.0, 98.0));
    // As many as rate and duration say, whatever the number of clients.
    for (options, expected) in [
        ("--clients_50_--rate_3900_--duration-secs_20", 78_000),
        ("--clients_64_--rate_5_--duration-secs_60", 300),
        ("--clients_7_--stage_ramp 120s to 2/s", 120),
        ("--clients_7_--stage_ramp 30s from 0/s to 30/s", 450),
        ("--clients_100_--stage_ramp 240s from 1/s to 50/s", 6120),
        ("--clients_3_--stage_ramp 10s from 100/s to 0/s", 500),
    ] {
        let due = polls(options);
        assert!(
            due.len().abs_diff(expected) <= 1,
            "{options}: {}",
            due.len()
        );
    }
    // A ramp from one per second has no more than its share at the beginning, however many clients there are.
    let ramp = polls("--clients_1000_--stage_ramp 900s from 1/s to 25/s_--jitter-percent_0");
    assert_eq!(ramp.iter().filter(|at| **at < 10.0).count(), 12);
}
