//! What a run will do, in one line.

use crate::{
    plan::Plan,
    report::units::{rate, time_of_run},
    table::count,
};

/// Returns what the run will do: clients, rate, polls and duration. If `-n` alone says how many polls there are, it says that the
/// interval is the default.
pub fn outline(plan: &Plan) -> String {
    let schedule = &plan.pollers.schedule;
    let clients = match schedule.clients {
        1 => "1 client".to_owned(),
        clients => format!("{} clients", count(clients.into())),
    };
    let most = time_of_run(plan.duration.as_secs_f64());
    if plan.wait {
        return format!("{clients} wait for news, for {most}");
    }
    let polls = match schedule.polls {
        Some(1) => "1 poll".to_owned(),
        Some(polls) => format!("{} polls", count(polls)),
        None => "polls".to_owned(),
    };
    let pace = match schedule.rate() {
        None if schedule.is_closed() => "as fast as the server answers".to_owned(),
        None => "in stages".to_owned(),
        Some(per_second) => format!("{} per second", rate(per_second)),
    };
    let is_default = schedule.polls.is_some()
        && plan
            .written
            .get("interval-ms")
            .and_then(serde_json::Value::as_u64)
            == Some(1000);
    let hint = match is_default {
        true => {
            "; each client polls once per second: --rate or --interval-ms makes that faster, \
             --interval-ms 0 as fast as the server answers"
        }
        false => "",
    };
    format!("{polls} of {clients}, {pace}, for at most {most}{hint}")
}
