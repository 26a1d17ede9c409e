//! Clients that write to all publishers and pull from all of them, and the comparison at the end: what was acknowledged
//! is stored and served, and clients of `since_seq` got every eval run exactly once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::fleet::Fleet;
use crate::chaos::{
    check,
    model::{Faults, Model, Stored},
    pullers::{CATCH_UP, Puller},
    writers::Writer,
};

/// Ends the clients, also after a panic.
pub struct Ended<'a>(pub &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the model of a round in which a server learns of what others wrote by a notice.
pub fn model(round: u32, stored: &Stored) -> Model {
    let mut model = Model::new(round, stored);
    model.elsewhere = 0;
    model
}

pub fn pullers(count: usize) -> Vec<Puller> {
    (0..count).map(|_| Puller::new()).collect()
}

/// Lets clients write and pull during `work`. A client of `since_seq` changes its server at every request.
pub fn during<T>(
    fleet: &Fleet,
    model: &Model,
    writers: u32,
    pullers: &mut [Puller],
    work: impl FnOnce() -> T,
) -> T {
    let stop = &AtomicBool::new(false);
    thread::scope(|scope| {
        let _ended = Ended(stop);
        for number in 0..writers {
            let writer = Writer {
                model,
                addresses: &fleet.addresses,
                number,
                repeats: true,
                stop,
            };
            scope.spawn(move || writer.run());
        }
        for puller in pullers {
            scope.spawn(move || puller.run(model, &fleet.readable, stop));
        }
        work()
    })
}

/// Compares, when nobody writes, and returns what was found.
pub fn compare(fleet: &Fleet, model: &Model, stored: &Stored, pullers: &mut [Puller]) -> Faults {
    check::compare(model, stored, None);
    for number in 0..fleet.len() {
        check::serves(model, &fleet.server(number), stored);
    }
    let addresses = fleet.readable.lock().unwrap().clone();
    for (puller, address) in pullers.iter_mut().zip(addresses.iter().cycle()) {
        puller.catch_up(model, address, stored, CATCH_UP);
    }
    for fault in fleet.faults() {
        model.other(fault);
    }
    model.faults.lock().unwrap().clone()
}

/// Returns the faults in a few words, and whether there are none.
pub fn verdict(faults: &Faults) -> (String, bool) {
    let kinds = [
        ("lost or missed", &faults.lost),
        ("served but not stored", &faults.unstored),
        ("other faults", &faults.others),
    ];
    let counts = kinds.map(|(name, all)| format!("{} {name}", all.len()));
    let first = kinds.iter().find_map(|(_, all)| all.first());
    let first = first.map_or_else(String::new, |fault| format!(": {fault}"));
    let is_clean = kinds.iter().all(|(_, all)| all.is_empty());
    (format!("{}{first}", counts.join(", ")), is_clean)
}
