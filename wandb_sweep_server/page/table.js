// The table of runs: filters, sort headers, and pages of rows. Only what is on the page is in the document.
import { element, stateBadge } from "./dom.js";
import { agentText, durationOf, jobOfAgent, rowsToShow, stateCounts } from "./facts.js";
import { counted, formatDuration, formatNumber, formatTime, formatValue } from "./format.js";

const ROWS_PER_PAGE = 50;
const INTERACTIVE = "a, button, input, select";

/** The sort that a table begins with: best first if there is a metric, else newest first. */
function defaultSort(view) {
  return view.metric ? bestFirst(view) : "-began";
}

function bestFirst(view) {
  return `${view.goal === "maximize" ? "-" : ""}metric:${view.metric}`;
}

/** Columns as {key, title, isNumber, first: the sort of a first click}. */
function columnsOf(data, view) {
  const metric = view.metric ? [{ key: `metric:${view.metric}`, title: view.metric, isNumber: true, first: bestFirst(view) }] : [];
  const parameters = data.parameters.map(({ name, kind }) => ({ key: `parameter:${name}`, title: name, isNumber: kind === "number" }));
  return [
    { key: "name", title: "Run" }, { key: "state", title: "State" }, ...metric, ...parameters,
    { key: "duration", title: "Duration", isNumber: true, first: "-duration" }, { key: "host", title: "Host" },
    { key: "agent", title: "Agent" }, { key: "began", title: "Began", first: "-began" },
  ];
}

/** Shows runs in a container. */
class RunTable {
  /**
   * @param {HTMLElement} container
   * @param {{change: function(object): void, links: (function(string): {page: string, log: string}|null)}} options
   *     change: takes changes of the place (see place.js); links: addresses of a run's page and log, or null
   */
  constructor(container, { change, links }) {
    this._change = change;
    this._links = links;
    this._shown = "";
    this._states = element("div.chips", { role: "group", "aria-label": "Filter by state" });
    this._text = element("input", {
      type: "search", placeholder: "Filter: name, host, lr=0.1, …", "aria-label": "Filter runs by text",
      oninput: () => change({ text: this._text.value, page: 1 }),
    });
    this._count = element("span.quiet", { role: "status" });
    this._head = element("tr");
    this._body = element("tbody", { onkeydown: (event) => this._move(event) });
    this._none = element("p.empty", { hidden: true });
    this._pages = element("nav.pages", { "aria-label": "Pages of runs" });
    const table = element("table", {}, element("caption.unseen", {}, "Runs of the sweep"), element("thead", {}, this._head), this._body);
    container.append(
      element("div.filters", {}, this._text, this._states, this._count),
      // Wide tables scroll by themselves; by keyboard too.
      element("div.scroller", { tabIndex: 0, role: "region", "aria-label": "Table of runs" }, table), this._none, this._pages,
    );
  }

  /**
   * @param {object} data sweep data
   * @param {object} place see place.js
   * @param {object} view see charts.js
   * @param {Set<number>|null} within only these runs; null: all
   */
  update(data, place, view, within) {
    const sort = place.sort ?? defaultSort(view);
    const rows = rowsToShow(data, { ...place, sort, within }, view.now_s);
    const pageCount = Math.max(1, Math.ceil(rows.length / ROWS_PER_PAGE));
    const page = Math.min(place.page, pageCount);
    const columns = columnsOf(data, view);
    const cells = rows.slice((page - 1) * ROWS_PER_PAGE, page * ROWS_PER_PAGE).map((index) => rowTexts(data, index, columns, view));
    const counts = stateCounts(data);
    // What looks the same isn't made anew: it would lose a selected text.
    const shown = JSON.stringify([sort, page, rows.length, counts, place.states, columns, cells, view.chosen]);
    if (document.activeElement !== this._text) this._text.value = place.text;
    if (shown === this._shown) return;
    this._shown = shown;
    const focused = document.activeElement?.dataset?.focus;
    this._showStates(counts, place.states);
    this._showHead(columns, sort);
    this._body.replaceChildren(...cells.map((row) => this._row(row, columns, view.chosen)));
    this._count.textContent = rows.length === data.runs.id.length
      ? counted(rows.length, "run") : `${formatNumber(rows.length)} of ${counted(data.runs.id.length, "run")}`;
    this._none.hidden = rows.length > 0;
    this._none.textContent = data.runs.id.length === 0 ? "No trial has begun yet." : "No run matches the filter.";
    this._showPages(page, pageCount, rows.length);
    if (focused) this._focus(focused);
  }

  _showStates(counts, chosen) {
    const states = [...new Set([...Object.keys(counts), ...chosen])].sort();
    const toggled = (state) => (chosen.includes(state) ? chosen.filter((other) => other !== state) : [...chosen, state]);
    this._states.replaceChildren(...states.map((state) => element("button.chip", {
      type: "button", "aria-pressed": chosen.includes(state), data: { focus: `state ${state}`, state },
      onclick: () => this._change({ states: toggled(state), page: 1 }),
    }, stateBadge(state), ` ${formatNumber(counts[state] ?? 0)}`)));
  }

  _showHead(columns, sort) {
    const by = sort.replace(/^-/, "");
    const isDown = sort.startsWith("-");
    const head = ({ key, title, isNumber, first = key }) => {
      const next = by !== key ? first : isDown ? key : `-${key}`;
      const arrow = by !== key ? "" : isDown ? " ↓" : " ↑";
      const button = element("button", {
        type: "button", data: { focus: `sort ${key}` }, onclick: () => this._change({ sort: next, page: 1 }),
      }, title, element("span", { "aria-hidden": true }, arrow));
      const order = by !== key ? "none" : isDown ? "descending" : "ascending";
      return element(isNumber ? "th.number" : "th", { scope: "col", "aria-sort": order, data: { key } }, button);
    };
    const links = this._links ? [element("th", { scope: "col" }, element("span.unseen", {}, "Links"))] : [];
    this._head.replaceChildren(...columns.map(head), ...links);
  }

  _row({ id, name, cells }, columns, chosen) {
    const isChosen = id === chosen;
    const choose = () => this._change({ run: isChosen ? null : id });
    const button = element("button.link", { type: "button", "aria-pressed": isChosen, data: { focus: `run ${id}` }, onclick: choose }, name);
    const made = cells.map(({ text, title, state, reason }, at) => {
      const tag = columns[at].isNumber ? "td.number" : "td";
      if (at === 0) return element("th.name", { scope: "row" }, button);
      if (state) return element(tag, {}, stateBadge(state), reason ? element("span.reason", { title: reason }, reason) : null);
      return element(tag, { title }, text);
    });
    if (this._links) made.push(this._linkCell(id, name));
    return element(isChosen ? "tr.chosen" : "tr", {
      data: { run: id }, onclick: (event) => !event.target.closest(INTERACTIVE) && !String(getSelection()) && choose(),
    }, ...made);
  }

  _linkCell(id, name) {
    const { page = null, log = null } = this._links(id) ?? {};
    const link = (href, text) => href && element("a", { href, "aria-label": `${text} of ${name}`, data: { focus: `${text} ${id}` } }, text);
    return element("td.links", {}, link(page, "config"), link(log, "log"));
  }

  _showPages(page, pageCount, rowCount) {
    const go = (text, to, isPossible) => element("button", {
      type: "button", disabled: !isPossible, data: { focus: text }, onclick: () => this._change({ page: to }),
    }, text);
    const first = (page - 1) * ROWS_PER_PAGE + 1;
    const range = `${formatNumber(first)}–${formatNumber(Math.min(rowCount, page * ROWS_PER_PAGE))} of ${formatNumber(rowCount)}`;
    this._pages.hidden = pageCount === 1;
    this._pages.replaceChildren(go("Previous", page - 1, page > 1), element("span.quiet", {}, range), go("Next", page + 1, page < pageCount));
  }

  _focus(name) {
    for (const candidate of this._body.closest(".runs")?.querySelectorAll("[data-focus]") ?? []) {
      if (candidate.dataset.focus === name) candidate.focus({ preventScroll: true });
    }
  }

  /** Arrow keys go from run to run. */
  _move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("tr");
    if (!step || !row) return;
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    next?.querySelector("th.name button").focus();
    event.preventDefault();
  }
}

/** What a row shows, as texts. */
function rowTexts(data, index, columns, view) {
  const { runs } = data;
  const cells = columns.map(({ key }) => {
    const [kind, ...rest] = key.split(":");
    const name = rest.join(":");
    if (kind === "state") return { state: runs.state[index], reason: runs.reason[index] };
    if (kind === "duration") return { text: formatDuration(durationOf(data, index, view.now_s)) };
    if (kind === "began") return { text: formatTime(runs.began_at[index]) };
    if (kind === "agent") {
      const agent = runs.agent[index];
      return { text: agentText(agent, jobOfAgent(data, agent)), title: "" };
    }
    const value = { metric: runs.metrics[name], parameter: runs.parameters[name], host: runs.host, name: runs.name }[kind]?.[index];
    return { text: formatValue(value), title: value === null || value === undefined ? "" : String(value) };
  });
  return { id: runs.id[index], name: runs.name[index] || runs.id[index], cells };
}

export { RunTable, defaultSort };
