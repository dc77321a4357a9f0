// Sweep data that follows the server's events.
import { RequestError } from "./api.js";

const FIRST_DELAY_S = 1;
const LONGEST_DELAY_S = 15;

/**
 * Sweep data after a change.
 * @param {object} data sweep data; it isn't changed
 * @param {{sweep?: object, runs?: object, agents?: object[], deleted?: string[]}} change columns of the runs that
 *     changed or are new, agents that changed, ids of runs that are gone; all else replaces what data has
 * @returns {object} sweep data
 */
function applyChange(data, { sweep, runs, agents = [], deleted = [], ...others }) {
  // Agents may share a name: those of a node, one after the other.
  const keyOf = (agent) => `${agent.began_at} ${agent.name}`;
  const known = new Map([...data.agents, ...agents].map((agent) => [keyOf(agent), agent]));
  return {
    ...data,
    ...others,
    sweep: { ...data.sweep, ...sweep },
    runs: withRuns(withoutRuns(data.runs, new Set(deleted)), runs),
    agents: [...known.values()],
  };
}

/** Apply a function to every column of runs, which may stand one level deeper. */
function mapColumns(runs, map) {
  return Object.fromEntries(Object.entries(runs).map(([name, column]) => {
    return [name, Array.isArray(column) ? map(column) : mapColumns(column, map)];
  }));
}

function withoutRuns(runs, deleted) {
  if (deleted.size === 0) return runs;
  const stays = runs.id.map((id) => !deleted.has(id));
  return mapColumns(runs, (column) => column.filter((_, index) => stays[index]));
}

function withRuns(runs, changed) {
  if (!changed || changed.id.length === 0) return runs;
  const placeOf = new Map(runs.id.map((id, index) => [id, index]));
  for (const id of changed.id) {
    if (!placeOf.has(id)) placeOf.set(id, placeOf.size);
  }
  const places = changed.id.map((id) => placeOf.get(id));
  return mergedColumns(runs, changed, places, placeOf.size);
}

/** Columns with those of changed runs at their places. A column that either side lacks is null there. */
function mergedColumns(columns, changed, places, length) {
  const merged = {};
  for (const name of new Set([...Object.keys(columns), ...Object.keys(changed)])) {
    const [before, after] = [columns[name], changed[name]];
    if (Array.isArray(before ?? after)) {
      const column = before ? before.slice() : [];
      for (let index = column.length; index < length; index += 1) column.push(null);
      places.forEach((place, index) => {
        column[place] = after?.[index] ?? null;
      });
      merged[name] = column;
    } else {
      merged[name] = mergedColumns(before ?? {}, after ?? {}, places, length);
    }
  }
  return merged;
}

/** Loads data and follows events; when the connection is lost, does so again, with growing delays. */
class Stream {
  /**
   * @param {{load: function(): Promise<object>, eventsUrl: function(number): string, onData: function(object): void,
   *     onChange: function(object): void, onState: function(object): void}} options load: gives data with a revision;
   *     onState: takes {state: "live"}, {state: "lost", delay_s, message} or {state: "refused", message}
   */
  constructor({ load, eventsUrl, onData, onChange, onState }) {
    Object.assign(this, { _load: load, _eventsUrl: eventsUrl, _onData: onData, _onChange: onChange, _onState: onState });
    this._delay_s = FIRST_DELAY_S;
    this._source = null;
  }

  /** Begin, or begin anew. */
  async start() {
    this._source?.close();
    let data;
    try {
      data = await this._load();
    } catch (error) {
      const isFinal = error instanceof RequestError && error.status >= 400 && error.status < 500 && error.status !== 429;
      if (isFinal) this._onState({ state: "refused", message: error.message });
      else this._tryAgain(error.message);
      return;
    }
    this._onData(data);
    const source = new EventSource(this._eventsUrl(data.revision));
    this._source = source;
    source.addEventListener("open", () => {
      this._delay_s = FIRST_DELAY_S;
      this._onState({ state: "live" });
    });
    source.addEventListener("change", (event) => this._onChange(JSON.parse(event.data)));
    source.addEventListener("reload", () => this.start());
    // Loading all anew misses nothing, whatever happened meanwhile, a restart of the server included.
    source.addEventListener("error", () => {
      source.close();
      this._tryAgain("The connection to the server is lost.");
    });
  }

  _tryAgain(message) {
    this._onState({ state: "lost", delay_s: this._delay_s, message });
    setTimeout(() => this.start(), this._delay_s * 1000);
    this._delay_s = Math.min(LONGEST_DELAY_S, 2 * this._delay_s);
  }
}

/** Does work when asked to, but not again before a pause has passed since it ended, and not while the tab is hidden. */
class Refresher {
  /**
   * @param {function(): Promise<void>} work
   * @param {number} pause_s
   */
  constructor(work, pause_s) {
    this._work = work;
    this._pause_s = pause_s;
    this._isWanted = false;
    this._isBusy = false;
    document.addEventListener("visibilitychange", () => this._run());
  }

  /** Have the work done, now or as soon as it may be. */
  ask() {
    this._isWanted = true;
    this._run();
  }

  async _run() {
    if (this._isBusy || !this._isWanted || document.hidden) return;
    this._isBusy = true;
    this._isWanted = false;
    try {
      await this._work();
    } finally {
      setTimeout(() => {
        this._isBusy = false;
        this._run();
      }, this._pause_s * 1000);
    }
  }
}

export { Refresher, Stream, applyChange };
