
// What the page asks the server: always the address that it came from, by relative paths.

const ANSWER_TIMEOUT_MILLIS = 10000;
const FEED_LIMIT = 200;
const MOST_PAGES = 10;
// How far back the newest eval runs are searched for, in minutes.
const WINDOWS = [1, 10, 120, 24 * 60, 30 * 24 * 60];
const NO_RUNS = "No eval run in the last 30 days.";
// The paths that miners and validators ask for.
const READS = ["active-challenges", "changes", "current-challenge", "leaderboard"];

// How far the server's clock is ahead of this one, in milliseconds.
let clockOffset;
const serverNow = () => Date.now() + (clockOffset ?? 0);

// No answer came.
class Unreachable extends Error {}

// An answer with a status that is no success.
class Refused extends Error {
  constructor(response) {
    super(`The server answers ${response.status}`);
    this.status = response.status;
    this.retryAfter = Number(response.headers.get("retry-after")) || 0;
  }
}

// Resolves to the response: 2xx, 304, or one of the expected statuses. Rejects with Refused or Unreachable.
async function ask(path, { etag, expected = [] } = {}) {
  const request = fetch(path, {
    cache: "no-store",
    headers: etag ? { "if-none-match": etag } : {},
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MILLIS),
  });
  const response = await request.catch(() => {
    throw new Unreachable("No answer of the server");
  });
  const date = Date.parse(response.headers.get("date"));
  // Rounded down to seconds, and older still if it comes from a cache: the latest one is the best.
  if (isNumber(date)) clockOffset = Math.max(clockOffset ?? -Infinity, date - Date.now());
  const isExpected = response.ok || response.status === 304 || expected.includes(response.status);
  if (!isExpected) throw new Refused(response);
  return response;
}

class BoardReader {
  // Resolves to the challenges, or to undefined if they are as before.
  async read() {
    const response = await ask("v1/synthetic-boolean/active-challenges", { etag: this.etag });
    if (response.status === 304) return undefined;
    const items = (await response.json()).items;
    this.etag = response.headers.get("etag");
    return items;
  }
}

// Follows the feed. It begins near the newest end by time, because no cursor leads there. Then it follows the cursor
// by commit, once a notice has told where the end is; until then, and on servers without it, the one by time.
class FeedReader {
  async read() {
    const end = this.noticed;
    const items = this.since ? [] : await this.begin();
    items.push(...(await this.follow()));
    this.commit ??= end;
    return items;
  }

  async begin() {
    let items;
    for (const minutes of WINDOWS) {
      this.since = [new Date(serverNow() - minutes * 60000).toISOString(), ""];
      items = await this.follow();
      if (items.length >= MOST_RUNS) break;
    }
    return items;
  }

  async follow() {
    const items = [];
    for (let page = 0; page < MOST_PAGES; page += 1) {
      const [ranAt, id] = this.since;
      const query = new URLSearchParams({ since_ran_at: ranAt, since_id: id, limit: FEED_LIMIT });
      if (this.commit) query.set("since_seq", this.commit);
      const read = await (await this.ask(query)).json();
      items.push(...read.items);
      if (this.commit) this.commit = read.next_since_seq ?? undefined;
      const last = read.items.at(-1);
      // By commit, an older row may come after a newer one.
      if (last && !(parseTime(last.ran_at) < parseTime(ranAt))) this.since = [last.ran_at, last.id];
      if (read.items.length < FEED_LIMIT) break;
    }
    return items;
  }

  async ask(query) {
    try {
      return await ask(`v1/leaderboard/recent?${query}`);
    } catch (error) {
      // The cursor is of another history, or of one that this server does not know yet: the next reading begins anew.
      if ([400, 410, 503].includes(error.status)) {
        this.since = this.commit = this.noticed = undefined;
      }
      throw error;
    }
  }
}

// Prometheus' text format.
class Metrics {
  constructor(text) {
    this.samples = [];
    for (const line of text.split("\n")) {
      const [, name, labels, value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
      if (!name) continue;
      const pairs = (labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g);
      this.samples.push({ name, labels: Object.fromEntries([...pairs].map((it) => it.slice(1))), value: Number(value) });
    }
  }

  // The sum of the samples with this name whose labels pass; undefined if there is no sample with this name.
  sum(name, passes = () => true) {
    const named = this.samples.filter((sample) => sample.name === name);
    if (named.length === 0) return undefined;
    return named.reduce((sum, sample) => sum + (passes(sample.labels) ? sample.value : 0), 0);
  }
}
