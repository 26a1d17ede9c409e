//! The cures, each alone.

/// A cure: what the server and the clients do otherwise.
pub struct Cure {
    /// Name of its report, and of its run.
    pub file: &'static str,
    /// Name in tables and pictures.
    pub name: &'static str,
    /// Switches of the example `before`.
    pub server: &'static str,
    /// Options of herd.
    pub clients: &'static str,
    /// What is expected.
    pub begins: Begins,
}

/// Whether the collapse begins with a cure.
pub enum Begins {
    /// No request fails.
    Never,
    /// It ends within the run.
    AndEnds,
    /// It lasts to the end of the run.
    AndStays,
}

/// A client without a cure: it retries at once until it has an answer.
const AT_ONCE: &str = "--timeout-ms 200 --on-failure retry";

/// All of them, the collapse without a cure first.
pub const CURES: [Cure; 12] = [
    Cure {
        file: "none",
        name: "no cure",
        server: "",
        clients: AT_ONCE,
        begins: Begins::AndStays,
    },
    Cure {
        file: "single-flight",
        name: "single flight",
        server: "--single-flight",
        clients: AT_ONCE,
        begins: Begins::Never,
    },
    Cure {
        file: "stale",
        name: "stale answers",
        server: "--stale",
        clients: AT_ONCE,
        begins: Begins::Never,
    },
    Cure {
        file: "not-modified",
        name: "304 without a rebuild",
        server: "--not-modified",
        clients: AT_ONCE,
        begins: Begins::AndStays,
    },
    Cure {
        file: "deadline",
        name: "deadline in the queue",
        server: "--deadline-ms 150",
        clients: AT_ONCE,
        begins: Begins::AndEnds,
    },
    Cure {
        file: "admission",
        name: "admission, 503",
        server: "--admit 20",
        clients: AT_ONCE,
        begins: Begins::AndEnds,
    },
    Cure {
        file: "retry-after",
        name: "admission, Retry-After honoured",
        server: "--admit 20",
        clients: "--timeout-ms 200 --on-failure retry --honour-retry-after",
        begins: Begins::AndEnds,
    },
    Cure {
        file: "back-off",
        name: "back-off with jitter",
        server: "",
        clients: "--timeout-ms 200 --on-failure back-off",
        begins: Begins::AndEnds,
    },
    Cure {
        file: "one-retry",
        name: "one retry at most",
        server: "",
        clients: "--timeout-ms 200 --on-failure retry --max-retries 1",
        begins: Begins::AndEnds,
    },
    Cure {
        file: "no-retries",
        name: "no retries",
        server: "",
        clients: "--timeout-ms 200 --on-failure give-up",
        begins: Begins::AndEnds,
    },
    Cure {
        file: "patience",
        name: "timeout of 2 s",
        server: "",
        clients: "--timeout-ms 2000 --on-failure retry",
        begins: Begins::Never,
    },
    Cure {
        file: "all",
        name: "all of them",
        server: "--single-flight --stale --not-modified --deadline-ms 150 --admit 20",
        clients: "--timeout-ms 200 --on-failure back-off --honour-retry-after",
        begins: Begins::Never,
    },
];
