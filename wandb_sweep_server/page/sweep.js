// The page of a sweep: its data, its events and its controls.
import { getJson } from "./api.js";
import { Controls } from "./controls.js";
import { element, stateBadge } from "./dom.js";
import { isOpen, runCount, stateCounts } from "./facts.js";
import { formatTime } from "./format.js";
import { Refresher, Stream, applyChange } from "./live.js";
import { Place } from "./place.js";
import { SweepView } from "./view.js";

// Of a curve; of very many curves the server gives fewer.
const POINTS = 200;
const TICK_S = 10;
const HISTORY_PAUSE_S = 5;
const IMPORTANCE_PAUSE_S = 15;

/** Resolves once what is in the document now can be seen: Plotly keeps the browser busy while it is read. */
function afterNextFrame() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

/** Shows the sweep that a path names, and follows it. */
class SweepPage {
  /**
   * @param {HTMLElement} root is filled, and no longer busy then
   * @param {{entity: string, project: string, id: string}} names as in the path, percent-encoded
   * @param {function(): Promise<object>} loadPlotly
   * @param {{show: function(string, string): void, hide: function(string): void}} notices
   */
  constructor(root, { entity, project, id }, loadPlotly, notices) {
    const data = `/page/data/${entity}/${project}`;
    const page = (run) => `/${entity}/${project}/runs/${encodeURIComponent(run)}`;
    this._base = `${data}/sweeps/${id}`;
    this._root = root;
    this._notices = notices;
    this._data = null;
    this._skew_s = 0;
    this._place = new Place(window);
    this._controls = new Controls(this._base, (text, failed) => notices.show(failed ? "failed" : "done", text));
    this._title = element("h1", {}, decodeURIComponent(id));
    this._state = element("span", { "aria-live": "polite" });
    this._about = element("p.quiet");
    this._description = element("p.description", { hidden: true });
    const body = element("div", {}, element("p.empty", {}, "Loading…"));
    root.replaceChildren(
      element("header.title", {}, this._title, this._state, this._controls.node), this._about, this._description, body,
    );
    this._body = body;
    this._makeView = () => new SweepView(body, {
      place: this._place, plotly: afterNextFrame().then(loadPlotly), links: (run) => ({ page: page(run), log: `${page(run)}#log` }),
      actions: (run, state) => this._controls.ofRun(run, state),
    });
    this._histories = new Refresher(() => this._loadHistories(), HISTORY_PAUSE_S);
    this._importance = new Refresher(() => this._loadImportance(), IMPORTANCE_PAUSE_S);
    this._place.listen((_, changed) => changed.has("key") && this._loadHistories());
    this._stream = new Stream({
      load: () => getJson(this._base),
      eventsUrl: (revision) => `${this._base}/events?after=${encodeURIComponent(revision)}`,
      onData: (fresh) => this._show(fresh),
      onChange: (change) => this._show(applyChange(this._data, change)),
      onState: (state) => this._showConnection(state),
    });
  }

  /** Load, and follow from then on. */
  start() {
    this._stream.start();
    setInterval(() => this._tick(), TICK_S * 1000);
  }

  _show(data) {
    const before = this._data;
    this._data = data;
    this._skew_s = data.sweep.now - Date.now() / 1000;
    const { sweep } = data;
    const name = sweep.name || sweep.id;
    document.title = `${name} – ${sweep.state.toLowerCase()}`;
    this._title.textContent = name;
    // Only a change is to be spoken.
    if (before?.sweep.state !== sweep.state) this._state.replaceChildren(stateBadge(sweep.state));
    this._about.textContent = [sweep.id, sweep.method, `created ${formatTime(sweep.created_at)}`].join(" · ");
    this._description.textContent = sweep.description ?? "";
    this._description.hidden = !sweep.description;
    this._controls.update(data);
    this._view ??= this._makeView();
    this._view.update(data);
    this._root.removeAttribute("aria-busy");
    if (before === null || runCount(data) > 0) this._histories.ask();
    const finished = (of) => stateCounts(of).finished ?? 0;
    if (before !== null && finished(before) !== finished(data)) this._importance.ask();
  }

  _showConnection({ state, delay_s, message }) {
    document.body.dataset.connection = state;
    if (state === "live") this._notices.hide("connection");
    else if (state === "lost") this._notices.show("connection", `${message} Trying again in ${delay_s} s …`);
    else {
      this._notices.show("connection", message);
      if (this._data === null) this._body.replaceChildren();
      this._root.removeAttribute("aria-busy");
    }
  }

  _tick() {
    if (this._data === null || document.hidden || !isOpen(this._data)) return;
    this._view.tick(Date.now() / 1000 + this._skew_s);
  }

  async _loadHistories() {
    try {
      const own = this._data.sweep.metric?.name ?? "";
      const likely = this._place.now.key ?? own;
      // Nearly always it is this one: its curves are asked for before it is known which ones there are.
      const [{ keys }, histories] = await Promise.all([getJson(`${this._base}/keys`), likely ? this._historiesOf(likely) : null]);
      const wanted = [likely, own].find((key) => keys.includes(key)) ?? keys[0];
      const found = wanted === undefined ? { key: own, runs: [] } : wanted === likely ? histories : await this._historiesOf(wanted);
      this._view.showHistories(found, keys);
      this._notices.hide("curves");
    } catch (error) {
      this._notices.show("curves", `Curves can't be loaded: ${error.message}`);
    }
  }

  _historiesOf(key) {
    return getJson(`${this._base}/history?key=${encodeURIComponent(key)}&points=${POINTS}`);
  }

  async _loadImportance() {
    try {
      const found = await getJson(`${this._base}/importance`);
      this._data = { ...this._data, ...found };
      this._view.update(this._data);
      this._notices.hide("importance");
    } catch (error) {
      this._notices.show("importance", `The importance of parameters can't be loaded: ${error.message}`);
    }
  }
}

export { SweepPage };
