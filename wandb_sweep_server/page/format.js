// Numbers, times and values as people read them. Pure.

const MISSING = "–";
// Made once: that takes longer than to format with it.
const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 8 });

/**
 * A number with five significant digits at most.
 * @param {number|null|undefined} value
 * @returns {string} a dash if there is no finite number
 */
function formatNumber(value) {
  if (typeof value !== "number" || !Number.isFinite(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return GROUPED.format(value);
  if (size >= 1e-4 && size < 1e6) return GROUPED.format(Number(value.toPrecision(5)));
  return String(Number(value.toPrecision(4)).toExponential()).replace("e+", "e");
}

/**
 * A value of a parameter, a config or a summary as text.
 * @param {*} value
 * @returns {string}
 */
function formatValue(value) {
  if (value === null || value === undefined) return MISSING;
  if (typeof value === "number") return formatNumber(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/**
 * @param {number|null|undefined} duration_s in seconds
 * @returns {string} with the two largest units
 */
function formatDuration(duration_s) {
  if (typeof duration_s !== "number" || !Number.isFinite(duration_s)) return MISSING;
  if (duration_s < 10) return `${Math.max(0, duration_s).toFixed(1)} s`;
  const whole = Math.round(duration_s);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return inTwoUnits(whole, 60, "min", "s");
  const minutes = Math.round(whole / 60);
  return minutes < 24 * 60 ? inTwoUnits(minutes, 60, "h", "min") : inTwoUnits(Math.round(minutes / 60), 24, "d", "h");
}

function inTwoUnits(count, size, large, small) {
  const rest = count % size;
  return `${Math.floor(count / size)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

const TIME_FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/**
 * @param {number|null|undefined} time_s seconds since the epoch
 * @returns {string} local time
 */
function formatTime(time_s) {
  return typeof time_s === "number" ? TIME_FORMAT.format(new Date(time_s * 1000)) : MISSING;
}

/**
 * @param {number} time_s seconds since the epoch
 * @param {number} now_s likewise
 * @returns {string} how long ago, such as "5 min ago"
 */
function formatAge(time_s, now_s) {
  const age_s = now_s - time_s;
  if (age_s < 60) return "just now";
  if (age_s < 3600) return `${Math.floor(age_s / 60)} min ago`;
  if (age_s < 86400) return `${Math.floor(age_s / 3600)} h ago`;
  if (age_s < 30 * 86400) return `${Math.floor(age_s / 86400)} d ago`;
  return formatTime(time_s);
}

/**
 * @param {number} size_bytes
 * @returns {string}
 */
function formatSize(size_bytes) {
  if (typeof size_bytes !== "number") return MISSING;
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = size_bytes;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${size} bytes` : `${Number(size.toPrecision(3))} ${units[unit]}`;
}

/**
 * Count things: "1 trial", "1,204 trials".
 * @param {number} count
 * @param {string} noun singular
 * @returns {string}
 */
function counted(count, noun) {
  return `${formatNumber(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * A text cut to a length, with an ellipsis if something is missing.
 * @param {string} text
 * @param {number} length at most so many characters
 * @returns {string}
 */
function shortened(text, length) {
  if (text.length <= length) return text;
  // By code points: half of a surrogate pair is no text.
  const characters = Array.from(text.slice(0, 2 * length + 2));
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}…` : text;
}

/**
 * A text for a Plotly figure, which reads a kind of HTML in every text it shows.
 * @param {*} value
 * @param {number} [length] cut to so many characters
 * @returns {string}
 */
function plotText(value, length = 60) {
  const text = shortened(formatValue(value), length);
  return /[&<>]/.test(text) ? text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;") : text;
}

/**
 * Plotly takes times for UTC: give it the local time, without a zone.
 * @param {number} time_s seconds since the epoch
 * @returns {string} such as "2025-03-01 14:05:00.250"
 */
function plotTime(time_s) {
  const time = new Date(time_s * 1000);
  const local = new Date(time.getTime() - time.getTimezoneOffset() * 60000);
  return local.toISOString().replace("T", " ").replace("Z", "");
}

// What programs write for terminals: sequences of colours and cursors, titles of windows, links; of one that is cut, its beginning.
const TERMINAL_SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])?/g;

/**
 * A log as it reads without a terminal.
 * @param {string} text
 * @returns {string}
 */
function withoutTerminalSequences(text) {
  return text.includes("\x1b") ? text.replace(TERMINAL_SEQUENCE, "") : text;
}

export { MISSING, counted, formatAge, formatDuration, formatNumber, formatSize, formatTime, formatValue, plotText, plotTime, shortened, withoutTerminalSequences };
