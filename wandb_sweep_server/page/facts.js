// What sweep data says: counts, the best trial, which rows of the table are shown. Pure.
import { formatValue } from "./format.js";

const LIVE_STATES = ["pending", "running", "preempting"];
// Of a sweep's trials: a run that made room goes on when an agent has time for it.
const OPEN_STATES = [...LIVE_STATES, "preempted"];
const SWEEP_IS_OPEN = ["PENDING", "RUNNING", "PAUSED"];

/** @returns {number} how many runs there are */
function runCount(data) {
  return data.runs.id.length;
}

/** @returns {number} how many trials have ended for good */
function endedCount(data) {
  return data.runs.state.filter((state) => !OPEN_STATES.includes(state)).length;
}

/** @returns {boolean} whether something may still happen in the sweep by itself */
function isOpen(data) {
  return SWEEP_IS_OPEN.includes(data.sweep.state) || data.runs.state.some((state) => LIVE_STATES.includes(state));
}

/** @returns {Object<string, number>} how many runs are in each state */
function stateCounts(data) {
  const counts = {};
  for (const state of data.runs.state) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/** @returns {string[]} names of metrics, the sweep's own first, also if no run has it yet */
function metricNames(data) {
  const own = data.sweep.metric ? [data.sweep.metric.name] : [];
  const others = Object.keys(data.runs.metrics).filter((name) => !own.includes(name));
  return [...own, ...others.sort()];
}

/** @returns {"minimize"|"maximize"|null} what the sweep wants of a metric; null if it doesn't say */
function goalOf(data, metric) {
  return data.sweep.metric && data.sweep.metric.name === metric ? data.sweep.metric.goal : null;
}

/** @returns {(number|null)[]} a metric of all runs; of nulls if no run has it */
function metricValues(data, metric) {
  return data.runs.metrics[metric] ?? new Array(runCount(data)).fill(null);
}

/** @returns {number} negative if a is better than b */
function compareBy(goal, a, b) {
  return goal === "maximize" ? b - a : a - b;
}

/**
 * Finished runs with a metric, in the order in which they ended.
 * @returns {number[]} indices of runs
 */
function finishedInOrder(data, metric) {
  const values = metricValues(data, metric);
  const { state, ended_at: endedAt, began_at: beganAt } = data.runs;
  const time = (index) => endedAt[index] ?? beganAt[index] ?? 0;
  const finished = [];
  for (let index = 0; index < values.length; index += 1) {
    if (state[index] === "finished" && values[index] !== null) finished.push(index);
  }
  return finished.sort((a, b) => time(a) - time(b) || a - b);
}

/**
 * The best finished run; the first one of equals.
 * @returns {number|null} its index
 */
function bestRun(data, metric, goal) {
  const values = metricValues(data, metric);
  let best = null;
  for (const index of finishedInOrder(data, metric)) {
    if (best === null || compareBy(goal, values[index], values[best]) < 0) best = index;
  }
  return best;
}

/**
 * The place of a run among the finished ones.
 * @returns {{place: number, of: number}|null} null if it isn't one of them; place 1 is the best
 */
function placeOf(data, metric, goal, index) {
  const values = metricValues(data, metric);
  const finished = finishedInOrder(data, metric);
  if (!finished.includes(index)) return null;
  const better = finished.filter((other) => compareBy(goal, values[other], values[index]) < 0);
  return { place: better.length + 1, of: finished.length };
}

/**
 * When the first run began and the last one ended.
 * @returns {{began_s: number, ended_s: number, is_over: boolean}|null} seconds since the epoch; null without runs
 */
function timeSpan(data, now_s) {
  const began = data.runs.began_at.filter((time) => time !== null);
  if (began.length === 0) return null;
  const ended = data.runs.ended_at.filter((time) => time !== null);
  const isOver = !data.runs.state.some((state) => LIVE_STATES.includes(state));
  const last = ended.reduce((a, b) => Math.max(a, b), -Infinity);
  return {
    began_s: began.reduce((a, b) => Math.min(a, b)),
    ended_s: isOver && Number.isFinite(last) ? last : now_s,
    is_over: isOver,
  };
}

/**
 * How long it will take until all trials have ended, if they go on ending as they did.
 * @returns {number|null} seconds; null where nothing can be said
 */
function remainingTime(data, now_s) {
  const ended = endedCount(data);
  const span = timeSpan(data, now_s);
  if (!span || span.is_over || !data.sweep.expected || ended < 3 || data.sweep.state !== "RUNNING") return null;
  return (Math.max(0, data.sweep.expected - ended) * (span.ended_s - span.began_s)) / ended;
}

/** @returns {number|null} how long a run took or has taken so far, in seconds */
function durationOf(data, index, now_s) {
  if (LIVE_STATES.includes(data.runs.state[index])) {
    const began = data.runs.began_at[index];
    return began === null || data.runs.state[index] === "pending" ? null : Math.max(0, now_s - began);
  }
  return data.runs.duration_s[index];
}

/** @returns {number|null} the median; null of nothing */
function median(values) {
  const sorted = values.filter((value) => typeof value === "number").sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The column of a sort key, as a function of a run's index. Keys: "name", "metric:loss", "parameter:lr", … */
function sortColumn(data, key, now_s) {
  const [kind, ...rest] = key.split(":");
  const name = rest.join(":");
  const { runs } = data;
  if (kind === "metric") return (index) => runs.metrics[name]?.[index] ?? null;
  if (kind === "parameter") return (index) => runs.parameters[name]?.[index] ?? null;
  if (kind === "duration") return (index) => durationOf(data, index, now_s);
  if (kind === "began") return (index) => runs.began_at[index];
  const column = { name: runs.name, state: runs.state, host: runs.host, agent: runs.agent }[kind] ?? runs.began_at;
  return (index) => column[index];
}

const NATURAL_ORDER = new Intl.Collator("en", { numeric: true });

/** Order of values of mixed kinds: numbers, then texts. */
function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return NATURAL_ORDER.compare(formatValue(a), formatValue(b));
}

function matchesText(data, index, terms) {
  const { runs } = data;
  const parts = [runs.name[index], runs.id[index], runs.host[index], runs.agent[index], runs.reason[index]];
  for (const [name, values] of Object.entries(runs.parameters)) {
    if (values[index] !== null) parts.push(`${name}=${values[index]}`);
  }
  const text = parts.join("\n").toLowerCase();
  return terms.every((term) => text.includes(term));
}

/**
 * The runs that the table shows, in its order.
 * @param {object} data sweep data
 * @param {{states: string[], text: string, sort: string, within: Set<number>|null}} filter no states means all; sort
 *     is a key (see sortColumn), with a minus for descending; within: only these runs
 * @param {number} now_s seconds since the epoch
 * @returns {number[]} indices; runs without the value that is sorted by come last in either direction
 */
function rowsToShow(data, { states, text, sort, within }, now_s) {
  const terms = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = [];
  for (let index = 0; index < runCount(data); index += 1) {
    if (states.length > 0 && !states.includes(data.runs.state[index])) continue;
    if (within && !within.has(index)) continue;
    if (terms.length > 0 && !matchesText(data, index, terms)) continue;
    shown.push(index);
  }
  const direction = sort.startsWith("-") ? -1 : 1;
  const column = sortColumn(data, sort.replace(/^-/, ""), now_s);
  const values = new Map(shown.map((index) => [index, column(index)]));
  return shown.sort((a, b) => {
    const [x, y] = [values.get(a), values.get(b)];
    if (x === null || x === undefined) return y === null || y === undefined ? a - b : 1;
    if (y === null || y === undefined) return -1;
    return direction * compareValues(x, y) || a - b;
  });
}

/** @returns {string} an agent and the job that it is in, as far as that is known */
function agentText(name, job) {
  return job ? `${formatValue(name)} (job ${job})` : formatValue(name);
}

/** @returns {string|null} the job of the agents of a name; null if they have none, or several, one after the other */
function jobOfAgent(data, name) {
  const jobs = new Set(data.agents.filter((agent) => agent.name === name).map(({ job }) => job));
  return jobs.size === 1 ? [...jobs][0] ?? null : null;
}

/** @returns {boolean} whether somebody tells of agents; W&B doesn't */
function knowsAgents(data) {
  return data.agents.length > 0 || data.knows_agents !== false;
}

/** @returns {string} why there are no agents */
function noAgents(data) {
  return knowsAgents(data) ? "No agent has begun yet." : "The server doesn't tell which agents there were.";
}

export { LIVE_STATES, agentText, bestRun, compareBy, compareValues, durationOf, endedCount, finishedInOrder, goalOf, isOpen, jobOfAgent, knowsAgents, median, metricNames, metricValues, noAgents, placeOf, remainingTime, rowsToShow, runCount, stateCounts, timeSpan };
