
// The two tables: rows come, change and go; the page says so for some seconds, in words too.

const byId = (id) => document.getElementById(id);
const MARKED_MILLIS = 8000;
// Eval runs come more often, the newest on top.
const RUN_MARKED_MILLIS = 2500;
const MOST_CHALLENGES = 500;
const MOST_RUNS = 12;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function cell(className, label, text) {
  const made = element("td", text === NONE ? `${className} faint` : className, text);
  made.setAttribute("role", "cell");
  if (label) made.dataset.label = label;
  return made;
}

// Says one thing in a table that has no rows, or not all of them.
function noteRow(text, columns) {
  const row = element("tr", "note");
  row.setAttribute("role", "row");
  const said = cell("", "", text);
  said.colSpan = columns;
  row.append(said);
  return row;
}

class Row {
  constructor(id) {
    this.tr = element("tr");
    this.tr.setAttribute("role", "row");
    this.head = element("th", "id", formatText(id));
    this.head.scope = "row";
    this.head.setAttribute("role", "rowheader");
    this.head.title = typeof id === "string" ? id : "";
    this.word = element("span", "mark");
    // A space, so that the word goes to the next line if there is no room.
    this.sign = element("span", "", " ");
    this.sign.append(this.word);
    this.isGone = false;
  }

  mark(word, now, millis = MARKED_MILLIS) {
    this.word.textContent = word;
    if (word) this.head.append(this.sign);
    this.markedUntil = now + millis;
    this.tr.classList.add("marked");
    this.tr.classList.toggle("gone", this.isGone);
  }

  // Returns whether the mark has just been removed.
  unmark(now) {
    if (!(now >= this.markedUntil)) return false;
    this.markedUntil = undefined;
    this.sign.remove();
    this.tr.classList.remove("marked");
    return true;
  }
}

class Board {
  constructor(body) {
    this.body = body;
    this.rows = new Map();
    this.isFirst = true;
    this.changedAt = undefined;
  }

  show(items) {
    const now = performance.now();
    const shown = items.slice(0, MOST_CHALLENGES);
    const stays = new Set(shown.map((item) => item.challenge_id));
    this.body.querySelectorAll(".note").forEach((note) => note.remove());
    for (const [id, row] of this.rows) {
      if (!stays.has(id) && !row.isGone) {
        row.isGone = true;
        row.mark("closed", now);
      }
    }
    let at = this.body.firstElementChild;
    let tier;
    for (const item of shown) {
      const row = this.row(item, now);
      while (at && at !== row.tr && at.classList.contains("gone")) at = at.nextElementSibling;
      if (at === row.tr) at = at.nextElementSibling;
      else this.body.insertBefore(row.tr, at);
      row.tr.classList.toggle("tier-begins", tier !== undefined && tier !== item.tier);
      tier = item.tier;
    }
    if (items.length === 0) this.body.append(noteRow("No challenge is active.", 9));
    const more = items.length - shown.length;
    if (more > 0) this.body.append(noteRow(`${formatCount(more)} more are not shown.`, 9));
    if (!this.isFirst) this.changedAt = now;
    this.isFirst = false;
    this.tick();
  }

  // Says why there is nothing to show.
  explain(text) {
    if (this.isFirst) this.body.replaceChildren(noteRow(text, 9));
  }

  // The row of a challenge: made, changed, or as it is.
  row(item, now) {
    const json = JSON.stringify(item);
    let row = this.rows.get(item.challenge_id);
    if (row && row.json === json && !row.isGone) return row;
    const isNew = !row || row.isGone;
    if (!row) {
      row = new Row(item.challenge_id);
      this.rows.set(item.challenge_id, row);
    }
    row.json = json;
    row.isGone = false;
    row.tr.classList.remove("gone");
    row.since = now;
    row.isSinceExact = !this.isFirst;
    row.seen = cell("number seen", "Seen for", "");
    row.tr.replaceChildren(
      cell("number", "Tier", formatCount(item.tier)),
      row.head,
      cell("text label", "Label", formatText(item.difficulty_label)),
      cell("text kind", "Kind", formatText(item.kind)),
      cell("number size", "Size", formatBytes(item.cnf_bytes)),
      cell("number variables", "Variables", formatCount(item.num_vars)),
      cell("number clauses", "Clauses", formatCount(item.num_clauses)),
      cell("number multiplier", "Multiplier", `×\u202f${formatNumber(item.score_multiplier)}`),
      row.seen,
    );
    if (!this.isFirst) row.mark(isNew ? "new" : "changed", now);
    return row;
  }

  tick() {
    const now = performance.now();
    for (const [id, row] of this.rows) {
      if (row.unmark(now) && row.isGone) {
        row.tr.remove();
        this.rows.delete(id);
      } else if (!row.isGone) {
        const seen = formatDuration(now - row.since);
        row.seen.textContent = row.isSinceExact ? seen : `≥\u202f${seen}`;
      }
    }
  }
}

class Runs {
  constructor(body) {
    this.body = body;
    this.rows = [];
    this.isFirst = true;
  }

  // Says why there is nothing to show.
  explain(text) {
    if (this.isFirst) this.body.replaceChildren(noteRow(text, 5));
  }

  // Drops all other eval runs: the database may have been replaced.
  keep(items) {
    const ids = new Set(items.map((item) => item?.id));
    this.rows = this.rows.filter((row) => ids.has(row.id));
  }

  // Adds eval runs, in any order; those that are there already stay as they are.
  add(items) {
    const now = performance.now();
    const known = new Set(this.rows.map((row) => row.id));
    for (const item of items) {
      if (item === null || typeof item !== "object" || known.has(item.id)) continue;
      known.add(item.id);
      this.rows.push({ id: item.id, ranAt: parseTime(item.ran_at), item });
    }
    this.rows.sort((a, b) => b.ranAt - a.ranAt || (a.id < b.id ? 1 : -1));
    this.rows.splice(MOST_RUNS);
    for (const row of this.rows) {
      if (row.shown) continue;
      row.shown = this.row(row);
      // Its place and its time say in words that it is new.
      if (!this.isFirst) row.shown.mark("", now, RUN_MARKED_MILLIS);
    }
    this.body.replaceChildren(...this.rows.map((row) => row.shown.tr));
    if (this.rows.length === 0) this.body.append(noteRow(NO_RUNS, 5));
    this.isFirst = false;
    this.tick();
  }

  row({ item, ranAt }) {
    const row = new Row(item.id);
    row.head.className = "text";
    row.head.textContent = formatText(item.agent_display_name ?? item.miner_hotkey ?? item.id);
    row.head.title = formatText(item.miner_hotkey ?? item.id);
    row.time = element("time");
    if (isNumber(ranAt)) row.time.dateTime = new Date(ranAt).toISOString();
    const ran = cell("number", "Ran", "");
    ran.append(row.time);
    row.tr.append(
      row.head,
      cell("id", "Task", formatText(item.task_id_public)),
      cell("number", "Tier", formatCount(item.difficulty_tier)),
      cell("number", "Score", formatNumber(item.weighted_score)),
      ran,
    );
    return row;
  }

  tick() {
    const now = performance.now();
    for (const { shown, ranAt } of this.rows) {
      shown.unmark(now);
      const ago = serverNow() - ranAt;
      // A producer's clock may be ahead.
      const said = ago < -5000 ? `in ${formatDuration(-ago)}` : `${formatDuration(ago)} ago`;
      shown.time.textContent = isNumber(ranAt) ? said : NONE;
    }
  }
}
