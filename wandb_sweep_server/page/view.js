// Sweep data as a page: cards, charts and table, and what the reader chooses among them. Requests nothing.
import { bestSoFar, curves, importance, parallelCoordinates, runsWithin, scatter } from "./charts.js";
import { chosenRun, summaryCards, unknownRun } from "./cards.js";
import { element, labelledSelect, segmented, showChildren, stateBadge, webglKind } from "./dom.js";
import { goalOf, metricNames, metricValues } from "./facts.js";
import { counted, formatNumber } from "./format.js";
import { Drawing, Panel } from "./panel.js";
import { THEMES, canBeLog, colourScale } from "./scales.js";
import { RunTable } from "./table.js";
import { timeline, timelineStates } from "./timeline.js";

const NO_WEBGL = "Parallel coordinates need WebGL, which is missing here. Everything else on this page works without it.";
const MARK_HINT = "Drag along an axis to mark a range: the table then shows only those runs. A click on an axis takes the mark away.";

// Charts that what the reader chooses is seen in; of all else, every one.
const CHARTS_OF = {
  run: ["best", "curves", "scatter", "timeline"], against: ["best"], parameter: ["scatter"], key: [], sort: [], states: [], text: [],
  page: [],
};

/** Shows a sweep in an element. */
class SweepView {
  /**
   * @param {HTMLElement} root is filled
   * @param {{place: Place, plotly: Promise<object>, links: (function(string): ({page, log, directory: string?}|null)|null),
   *     actions: (function(string, string): HTMLElement[])}} options place: see place.js; links: addresses of a run's
   *     page and its log, null if there are none; actions: what can be done with a run of an id and a state
   */
  constructor(root, { place, plotly, links, actions = () => [] }) {
    this._place = place;
    this._links = links;
    this._actions = actions;
    this._data = null;
    this._histories = null;
    this._marked = {};
    this._within = null;
    this._order = [];
    this._lines = { runs: [] };
    this._isWebglUsable = true;
    this._dark = matchMedia("(prefers-color-scheme: dark)");
    this._dark.addEventListener("change", () => this._redraw());
    place.listen((_, changed) => this._redraw(changed));
    this._cards = element("div.cards");
    this._chosen = element("section.chosen", { "aria-label": "Chosen run", hidden: true });
    this._makeToolbar();
    this._makePanels(plotly);
    const runs = element("section.panel.wide.runs", { "aria-labelledby": "runs-title" },
      element("header", {}, element("h2", { id: "runs-title" }, "Runs")));
    this._table = new RunTable(runs, { change: (changes) => place.change(changes), links });
    root.replaceChildren(this._cards, this._chosen, this._toolbar,
      element("div.panels", {}, ...Object.values(this._panels).map(({ node }) => node), runs));
  }

  /** Show sweep data, or what has become of it. */
  update(data) {
    const isFirst = this._data === null;
    this._data = data;
    this._redraw(new Set());
    if (isFirst) this._drawing.invalidate();
    else this._drawing.invalidateLater();
  }

  /** Time has passed and nothing else happened. now_s: the server's, seconds since the epoch */
  tick(now_s) {
    this._data.sweep.now = now_s;
    this._redraw(new Set());
    this._drawing.invalidate(this._panels.timeline);
  }

  /**
   * @param {{key: string, runs: object[]}} histories to draw curves of
   * @param {string[]} keys all that there could be
   */
  showHistories(histories, keys) {
    this._histories = histories;
    this._keys.show(keys, histories.key);
    if (!this._data) return;
    this._showCaptions();
    this._drawing.invalidate(this._panels.curves);
  }

  _makeToolbar() {
    const change = (changes) => this._place.change(changes);
    this._metrics = labelledSelect("Metric", (metric) => change({ metric, better: null }));
    this._better = segmented("Which values are better", [["lower", "Lower is better"], ["higher", "Higher is better"]], (better) => change({ better }));
    this._scale = segmented("Scale of the metric", [["linear", "Linear"], ["log", "Log"]], (scale) => change({ scale }));
    this._legend = element("div.legend", { role: "img" });
    this._toolbar = element("div.toolbar", { role: "group", "aria-label": "What charts show" },
      this._metrics.node, this._better.node, this._scale.node, this._legend);
  }

  _makePanels(plotly) {
    const change = (changes) => this._place.change(changes);
    const choosePoint = (plot) => plot.on("plotly_click", ({ points: [point] }) => {
      if (typeof point.customdata === "string") this._choose(point.customdata);
    });
    this._keys = labelledSelect("Of", (key) => change({ key }));
    this._parameters = labelledSelect("Parameter", (parameter) => change({ parameter }));
    this._against = segmented("Against", [["trials", "Trials"], ["time", "Time"]], (against) => change({ against }));
    const figure = (draw) => () => draw(this._data, this._view());
    const onNoWebgl = () => {
      this._isWebglUsable = false;
      this._redraw();
    };
    const usual = { connect: choosePoint, onNoWebgl };
    const panel = (name, title, draw, controls = []) => new Panel(name, title, figure(draw), { ...usual, controls });
    this._panels = {
      parallel: new Panel("parallel", "Parallel coordinates", () => this._parallel(), { ...usual, isWide: true, connect: (plot) => this._followLines(plot) }),
      best: panel("best", "Best so far", bestSoFar, [this._against.node]),
      curves: new Panel("curves", "Curves", () => this._curves(), { ...usual, controls: [this._keys.node] }),
      importance: new Panel("importance", "Importance of parameters", figure(importance)),
      scatter: panel("scatter", "Metric by parameter", scatter, [this._parameters.node]),
      timeline: new Panel("timeline", "Agents", figure(timeline), { ...usual, isWide: true }),
    };
    this._drawing = new Drawing(plotly);
    for (const made of Object.values(this._panels)) this._drawing.add(made);
  }

  _choose(id) {
    this._place.change({ run: id });
  }

  /** What the reader has chosen, as charts want it. */
  _view() {
    const data = this._data;
    const place = this._place.now;
    const names = metricNames(data);
    const metric = names.includes(place.metric) ? place.metric : names[0] ?? null;
    const theme = THEMES[this._dark.matches ? "dark" : "light"];
    const goal = goalOf(data, metric) ?? (place.better === "higher" ? "maximize" : "minimize");
    return {
      metric, goal, theme, scale: place.scale, chosen: place.run, parameter: place.parameter, against: place.against,
      marked: this._marked, order: this._order, now_s: data.sweep.now, has_webgl: this._isWebglUsable,
    };
  }

  /** changed: keys of the place; null: anything may have. */
  _redraw(changed = null) {
    if (!this._data) return;
    const data = this._data;
    const view = this._view();
    // Marks on the metric's axis are places on its scale.
    const axis = `${view.metric} ${view.scale}`;
    if (this._metricAxis !== axis) delete this._marked[this._metricName];
    [this._metricAxis, this._metricName] = [axis, view.metric];
    this._showToolbar(data, view);
    const focused = document.activeElement?.dataset?.focus;
    showChildren(this._cards, ...summaryCards(data, view, (id) => this._choose(id)));
    if (focused === "best") this._cards.querySelector("[data-focus=best]")?.focus({ preventScroll: true });
    this._showChosen(data, view);
    this._showRuns(this._place.now);
    const names = Object.keys(this._panels).filter((name) => changed === null || [...changed].some((key) => (CHARTS_OF[key] ?? [name]).includes(name)));
    if (names.length > 0) this._drawing.invalidate(...names.map((name) => this._panels[name]));
  }

  _showChosen(data, view) {
    const id = view.chosen;
    this._chosen.hidden = id === null;
    if (id === null) return;
    const at = data.runs.id.indexOf(id);
    const close = () => this._choose(null);
    showChildren(this._chosen, ...(at < 0 ? unknownRun(id, close)
      : chosenRun(data, at, view, this._links?.(id) ?? null, this._actions(id, data.runs.state[at]), close)));
  }

  _showToolbar(data, view) {
    const values = metricValues(data, view.metric);
    this._metrics.show(metricNames(data), view.metric);
    this._better.node.hidden = view.metric === null || goalOf(data, view.metric) !== null;
    this._better.show(view.goal === "maximize" ? "higher" : "lower");
    this._scale.show(view.scale);
    this._scale.node.hidden = !canBeLog(values);
    this._against.show(view.against);
    const names = data.parameters.map(({ name }) => name);
    this._parameters.show(names, names.includes(view.parameter) ? view.parameter : names[0] ?? null);
    const scale = colourScale(values, view.goal, view.scale, view.theme);
    this._legend.hidden = scale === null;
    if (!scale) return;
    const worst = `${formatNumber(scale.worst)}${scale.is_clipped ? " or worse" : ""}`;
    const bar = element("span.gradient");
    bar.style.backgroundImage = `linear-gradient(to right, ${view.theme.stops.join(", ")})`;
    this._legend.setAttribute("aria-label", `Colours: from ${worst} to ${formatNumber(scale.best)}, the best`);
    this._legend.replaceChildren(element("span", {}, worst), bar, element("span", {}, `${formatNumber(scale.best)} best`));
  }

  _curves() {
    return this._histories ? curves(this._data, this._histories, this._view()) : { empty: "Loading …" };
  }

  _parallel() {
    if (webglKind() === "none") this._isWebglUsable = false;
    if (!this._isWebglUsable) return { empty: NO_WEBGL };
    const figure = parallelCoordinates(this._data, this._view());
    this._lines = figure.empty ? { runs: [] } : figure;
    this._showCaptions();
    // Labels of narrower axes would cover one another.
    this._panels.parallel.plot.style.minWidth = `${(this._data.parameters.length + 2) * 84}px`;
    return figure;
  }

  /** Lines of the parallel coordinates: marks select runs, the pointer names one, and a click chooses it. */
  _followLines(plot) {
    let pointed = null;
    plot.on("plotly_restyle", () => {
      this._marked = {};
      this._order = plot.data[0].dimensions.map(({ name }) => name);
      for (const { name, constraintrange } of plot.data[0].dimensions) {
        if (constraintrange?.length) this._marked[name] = constraintrange;
      }
      this._showRuns({ ...this._place.now, page: 1 });
    });
    plot.on("plotly_hover", ({ curveNumber }) => {
      pointed = this._lines.runs[curveNumber] ?? null;
      if (pointed !== null) this._panels.parallel.caption.textContent = this._describe(pointed);
    });
    plot.on("plotly_unhover", () => {
      pointed = null;
      this._showCaptions();
    });
    plot.addEventListener("click", () => pointed !== null && this._choose(this._data.runs.id[pointed]));
  }

  _describe(index) {
    const { runs } = this._data;
    const { metric } = this._view();
    return `${runs.name[index]}: ${metric} ${formatNumber(runs.metrics[metric]?.[index])}. Click to choose it.`;
  }

  /** The table, of the runs within the marks if there are any. */
  _showRuns(place) {
    const isMarked = Object.keys(this._marked).length > 0;
    this._within = isMarked ? runsWithin(parallelCoordinates(this._data, this._view()), this._marked) : null;
    this._table.update(this._data, place, this._view(), this._within);
    this._showCaptions();
  }

  _showCaptions() {
    const data = this._data;
    const { parallel, importance: importances, curves: lines, timeline: agents } = this._panels;
    parallel.caption.hidden = !this._isWebglUsable || this._lines.runs.length === 0;
    if (this._within === null) parallel.caption.replaceChildren(MARK_HINT);
    else {
      const showAll = () => {
        this._marked = {};
        this._redraw();
      };
      parallel.caption.replaceChildren(`${counted(this._within.size, "run")} of ${formatNumber(this._lines.runs.length)} in the marked ranges. `,
        element("button.link", { type: "button", onclick: showAll }, "Show all"));
    }
    importances.caption.hidden = data.importance.length === 0;
    importances.caption.textContent = `By ${data.importance_by}, with the sign of the correlation.`;
    const states = timelineStates(data);
    agents.caption.hidden = states.length === 0;
    agents.caption.replaceChildren(element("span.states", {}, ...states.map((state) => stateBadge(state))));
    const drawn = this._histories?.runs.length ?? 0;
    lines.caption.hidden = drawn === 0 || drawn >= data.runs.id.length;
    lines.caption.textContent = `Curves of ${formatNumber(drawn)} of ${counted(data.runs.id.length, "run")}.`;
  }
}

export { SweepView };
