
// When the page asks: at notices of the server if there are any, else every few seconds; never while nobody looks.

const POLL_MILLIS = 5000;
const FIRST_RETRY_MILLIS = 1000;
const MOST_MILLIS = 60000;
// Between two readings for notices.
const LEAST_MILLIS = 1000;

const board = new Board(byId("challenges"));
const runs = new Runs(byId("runs"));
const boardReader = new BoardReader();
const feedReader = new FeedReader();

let events;
let connectAt = 0;
let isLive = false;
let lastAnswerAt;
let awaySince;
let timer;

// Something that is read again and again; after failures, less and less often.
class Job {
  constructor(read, interval, explain = () => {}) {
    Object.assign(this, { read, interval, explain, dueAt: 0, begunAt: -LEAST_MILLIS, failures: 0, isRunning: false });
  }

  async run() {
    this.isRunning = true;
    this.begunAt = performance.now();
    this.dueAt = Infinity;
    let wait;
    try {
      await this.read();
      this.failures = 0;
      wait = this.interval();
      answered();
    } catch (error) {
      this.failures += 1;
      wait = Math.min(MOST_MILLIS, FIRST_RETRY_MILLIS * 2 ** (this.failures - 1)) * (0.9 + Math.random() / 5);
      wait = Math.max(wait, 1000 * (error.retryAfter ?? 0));
      this.explain(`${error.message}; retrying`);
      if (error instanceof Unreachable) failed(wait);
      else answered();
    }
    this.isRunning = false;
    // A notice may have come meanwhile.
    this.dueAt = Math.min(this.dueAt, performance.now() + wait);
    schedule();
  }

  notice() {
    if (this.failures === 0) this.dueAt = Math.min(this.dueAt, this.begunAt + LEAST_MILLIS);
    schedule();
  }
}

// With notices, reading now and then is a precaution only.
const unlessNoticed = (noticed) => () => (isLive && noticed() ? MOST_MILLIS : POLL_MILLIS);
const jobs = {
  board: new Job(readBoard, unlessNoticed(() => true), (text) => board.explain(text)),
  feed: new Job(readFeed, unlessNoticed(() => feedReader.noticed), (text) => runs.explain(text)),
  health: new Job(readHealth, () => 2 * POLL_MILLIS),
  metrics: new Job(readMetrics, () => POLL_MILLIS),
};

function schedule() {
  clearTimeout(timer);
  if (document.hidden) return;
  const waiting = Object.values(jobs).filter((job) => !job.isRunning);
  const now = performance.now();
  waiting.filter((job) => job.dueAt <= now).forEach((job) => job.run());
  const next = Math.min(...waiting.filter((job) => job.dueAt > now).map((job) => job.dueAt));
  if (next < Infinity) timer = setTimeout(schedule, next - now + 1);
  if (!events && !awaySince && now >= connectAt) connect();
  tick();
}

function answered() {
  lastAnswerAt = performance.now();
  if (awaySince === undefined) return;
  awaySince = undefined;
  connectAt = 0;
  for (const job of Object.values(jobs)) {
    job.failures = 0;
    job.dueAt = 0;
  }
}

// There is no answer: nothing else is asked before the next attempt.
function failed(wait) {
  awaySince ??= performance.now();
  const next = performance.now() + wait;
  for (const job of Object.values(jobs)) job.dueAt = Math.max(job.dueAt, next);
}

async function readBoard() {
  const items = await boardReader.read();
  if (!items) return;
  board.show(items);
  byId("count").textContent = formatCount(items.length);
}

async function readFeed() {
  const isAnew = !feedReader.since;
  const items = await feedReader.read();
  if (isAnew) runs.keep(items);
  runs.add(items);
}

async function readHealth() {
  const response = await ask("health/ready", { expected: [503] });
  const { checks = {} } = await response.json();
  const wrong = Object.entries(checks).filter(([, said]) => said !== "ok");
  const shown = byId("health");
  shown.textContent = response.ok ? "ready" : "not ready";
  shown.classList.toggle("bad", !response.ok);
  if (wrong.length > 0) shown.append(" ", element("small", "", wrong.map((it) => formatText(it.join(": "))).join("; ")));
}

async function readMetrics() {
  const response = await ask("metrics", { expected: [404] });
  const isThere = response.ok;
  byId("no-metrics").hidden = isThere;
  document.querySelectorAll('[data-needs="metrics"]').forEach((part) => (part.hidden = !isThere));
  if (isThere) showMetrics(new Metrics(await response.text()));
  else jobs.metrics.interval = () => Infinity;
}

function showMetrics(metrics) {
  const age = metrics.sum("publisher_board_age_seconds");
  byId("snapshot-age").textContent = age >= 0 ? formatDuration(1000 * age) : NONE;
  const failures = metrics.sum("publisher_board_builds_total", ({ outcome }) => outcome === "failed");
  byId("builds").textContent = formatCount(metrics.sum("publisher_board_builds_total"));
  if (failures > 0) byId("builds").append(" ", element("small", "bad", `${formatCount(failures)} failed`));
  const waiters = metrics.sum("publisher_waiters") ?? metrics.sum("publisher_board_waiters");
  byId("waiters").textContent = formatCount(waiters);
  byId("connections").textContent = formatCount(metrics.sum("publisher_http_connections"));

  const isRead = ({ route }) => READS.includes(route);
  const requests = "publisher_http_requests_total";
  const answers = metrics.sum(requests, isRead);
  const unchanged = metrics.sum(requests, (labels) => isRead(labels) && labels.status === "304");
  byId("share").textContent = formatShare(unchanged, answers);
  byId("share-of").textContent = `of ${formatCount(answers)} answers were 304: the client had the current bytes.`;
  const saved = (way) => metrics.sum("publisher_http_saved_bytes_total", ({ by }) => by === way) ?? 0;
  const bytes = { unsent: saved("304"), coded: saved("coding"), sent: metrics.sum("publisher_http_response_body_bytes_total", isRead) ?? 0 };
  const all = bytes.unsent + bytes.coded + bytes.sent;
  let begin = 0;
  for (const [name, value] of Object.entries(bytes)) {
    byId(name).textContent = formatBytes(value);
    const width = all > 0 ? (100 * value) / all : 0;
    byId(`bar-${name}`).setAttribute("x", begin);
    byId(`bar-${name}`).setAttribute("width", width);
    begin += width;
  }
  const started = metrics.sum("process_start_time_seconds");
  const since = started ? `Since the server started, ${formatDuration(serverNow() - 1000 * started)} ago. ` : "";
  byId("counted-since").textContent = `${since}The requests of this page count too.`;
}

// Opens the stream of notices. A browser without EventSource, and a server or proxy without the stream, leave the
// page to polling; a stream that ended is opened again by the browser itself.
function connect() {
  connectAt = performance.now() + MOST_MILLIS;
  if (typeof EventSource === "undefined") return;
  events = new EventSource("v1/events");
  events.addEventListener("open", () => {
    isLive = true;
    jobs.board.notice();
    jobs.feed.notice();
  });
  events.addEventListener("board", () => jobs.board.notice());
  events.addEventListener("feed", (event) => {
    feedReader.noticed = JSON.parse(event.data).next_since_seq;
    jobs.feed.notice();
  });
  events.addEventListener("error", () => {
    isLive = false;
    if (events?.readyState === EventSource.CLOSED) events = undefined;
    jobs.board.notice();
  });
}

function disconnect() {
  events?.close();
  events = undefined;
  isLive = false;
  connectAt = 0;
}

// The name is announced by screen readers; what changes every second is not.
function say(state, name, detail) {
  const shown = byId("state");
  if (shown.dataset.state !== state) shown.dataset.state = state;
  if (byId("state-name").textContent !== name) byId("state-name").textContent = name;
  byId("state-detail").textContent = detail;
}

function tick() {
  const now = performance.now();
  const since = (time) => formatDuration(now - time);
  if (awaySince !== undefined) {
    say("away", "Cannot reach the server", `since ${since(awaySince)}; retrying`);
  } else if (lastAnswerAt === undefined) {
    say("waiting", "Connecting", "");
  } else if (isLive) {
    const changed = board.changedAt === undefined ? "no change of the board yet" : `board changed ${since(board.changedAt)} ago`;
    say("live", "Live", changed);
  } else {
    say("polling", "Polling", `every ${formatDuration(POLL_MILLIS)}, last answer ${since(lastAnswerAt)} ago`);
  }
  board.tick();
  runs.tick();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    disconnect();
  } else {
    for (const job of Object.values(jobs)) if (job.failures === 0) job.dueAt = 0;
  }
  schedule();
});
setInterval(() => document.hidden || tick(), 1000);
schedule();
