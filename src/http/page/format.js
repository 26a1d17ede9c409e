
// Numbers, sizes and times as text. Units are decimal, as everywhere in this project.

const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const threeDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const withUnit = (number, unit) => `${number}\u00a0${unit}`;

const formatCount = (value) => (isNumber(value) ? whole.format(value) : NONE);
const formatNumber = (value) => (isNumber(value) ? exact.format(value) : NONE);

function formatBytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  // 999.5 kB would round to 1,000 kB.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return withUnit(threeDigits.format(value), units[unit]);
}

function formatShare(part, all) {
  if (!(all > 0)) return NONE;
  const percent = (100 * part) / all;
  // Rounded down: 100 % means all of them.
  return withUnit((Math.floor(percent * 10) / 10).toFixed(percent >= 100 ? 0 : 1), "%");
}

// Milliseconds as the largest unit that fits: 59 s, 3 min, 5 h, 12 d.
function formatDuration(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  if (seconds < 60) return withUnit(seconds, "s");
  if (seconds < 3600) return withUnit(Math.floor(seconds / 60), "min");
  if (seconds < 48 * 3600) return withUnit(Math.floor(seconds / 3600), "h");
  return withUnit(whole.format(Math.floor(seconds / 86400)), "d");
}

// Ids, labels and names come from other programs: they are shown as text, and no longer than this.
const MAX_TEXT = 96;

function formatText(value) {
  const text = isNumber(value) ? exact.format(value) : typeof value === "string" ? value : "";
  if (text === "") return NONE;
  const characters = Array.from(text.slice(0, 2 * MAX_TEXT));
  return characters.length > MAX_TEXT ? `${characters.slice(0, MAX_TEXT).join("")}…` : text;
}

// A time of an eval run; one without a zone is UTC (WIRE.md).
function parseTime(text) {
  if (typeof text !== "string") return NaN;
  return Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
}
