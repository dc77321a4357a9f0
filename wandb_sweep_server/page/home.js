// The list of sweeps: the home page, or a project's.
import { getJson } from "./api.js";
import { element, stateBadge } from "./dom.js";
import { counted, formatAge, formatNumber, formatTime } from "./format.js";
import { Refresher } from "./live.js";

const REFRESH_S = 10;
const ENDED_STATES = ["finished", "failed", "crashed", "killed"];

/** Shows sweeps, the last changed first. */
class HomePage {
  /**
   * @param {HTMLElement} root is filled, and no longer busy then
   * @param {{entity: string, project: string}|null} names of a project, percent-encoded; null: all
   * @param {{show: function(string, string): void, hide: function(string): void}} notices
   */
  constructor(root, names, notices) {
    this._names = names && { entity: decodeURIComponent(names.entity), project: decodeURIComponent(names.project) };
    this._root = root;
    this._notices = notices;
    this._sweeps = [];
    this._shown = "";
    this._text = element("input", { type: "search", placeholder: "Filter", "aria-label": "Filter sweeps by text", oninput: () => this._draw() });
    this._body = element("tbody");
    this._none = element("p.empty", {}, "Loading…");
    const titles = ["Sweep", "State", "Trials", "Best", "Method", "Changed"];
    this._table = element("table.sweeps", { hidden: true },
      element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))), this._body);
    const title = this._names ? `${this._names.entity}/${this._names.project}` : "Sweeps";
    document.title = title;
    root.replaceChildren(element("header.title", {}, element("h1", {}, title), this._text), this._table, this._none);
    this._refresher = new Refresher(() => this._load(), REFRESH_S);
  }

  /** Load, and again from time to time. */
  start() {
    this._refresher.ask();
    setInterval(() => this._refresher.ask(), REFRESH_S * 1000);
  }

  async _load() {
    try {
      const { sweeps } = await getJson("/page/data/sweeps");
      const isHere = ({ entity, project }) => !this._names || (entity === this._names.entity && project === this._names.project);
      this._sweeps = sweeps.filter(isHere).sort((a, b) => b.updated_at - a.updated_at);
      this._notices.hide("connection");
      this._draw();
    } catch (error) {
      this._notices.show("connection", error.message);
    }
    this._root.removeAttribute("aria-busy");
  }

  _draw() {
    const text = this._text.value.toLowerCase();
    const texts = (sweep) => [sweep.name, sweep.id, sweep.entity, sweep.project, sweep.state, sweep.method, formatTime(sweep.created_at)].join(" ").toLowerCase();
    const sweeps = this._sweeps.filter((sweep) => texts(sweep).includes(text));
    const minute = Math.floor(Date.now() / 60000);
    const shown = JSON.stringify([sweeps, minute]);
    if (shown === this._shown) return;
    this._shown = shown;
    const focused = document.activeElement?.getAttribute("href");
    this._body.replaceChildren(...sweeps.map((sweep) => sweepRow(sweep, Date.now() / 1000)));
    for (const link of this._body.querySelectorAll("a")) if (link.getAttribute("href") === focused) link.focus();
    this._table.hidden = sweeps.length === 0;
    this._none.hidden = sweeps.length > 0;
    this._none.textContent = this._sweeps.length > 0 ? "No sweep matches the filter."
      : "There is no sweep yet. Begin one: python train.py -m hydra/sweeper=wandb …";
  }
}

/** What a sweep's row holds; labels are shown where there is no room for a head. */
function sweepRow(sweep, now_s) {
  const path = [sweep.entity, sweep.project].map(encodeURIComponent).join("/");
  const ended = ENDED_STATES.reduce((sum, state) => sum + (sweep.counts[state] ?? 0), 0);
  const begun = Object.values(sweep.counts).reduce((sum, count) => sum + count, 0);
  const total = Math.max(sweep.expected ?? 0, begun);
  const failed = (sweep.counts.failed ?? 0) + (sweep.counts.crashed ?? 0);
  const bar = element("span.bar", { role: "img", "aria-label": `${ended} of ${counted(total, "trial")} ended` }, ...["finished", "failed", "rest"].map((kind) => {
    const part = element("span.part", { data: { state: kind } });
    part.style.flexGrow = { finished: ended - failed, failed, rest: Math.max(0, total - ended) }[kind];
    return part;
  }));
  const best = sweep.best ? [element("strong", {}, formatNumber(sweep.best.value)), " ", element("span.quiet", {}, sweep.metric?.name ?? "")] : ["–"];
  const cell = (label, ...children) => element("td", { data: { label } }, ...children);
  return element("tr", { data: { sweep: sweep.id } },
    element("th", { scope: "row" }, element("a", { href: `/${path}/sweeps/${encodeURIComponent(sweep.id)}` }, sweep.name || sweep.id),
      element("span.under", {}, element("a.quiet", { href: `/${path}` }, `${sweep.entity}/${sweep.project}`), ` · ${sweep.id}`),
      // All sweeps of a script have its name.
      element("span.under", {}, `begun ${formatTime(sweep.created_at)}`)),
    cell("State", stateBadge(sweep.state)),
    cell("Trials", element("span", {}, `${formatNumber(ended)}${sweep.expected ? ` / ${formatNumber(total)}` : ""}`), bar),
    cell("Best", ...best), cell("Method", sweep.method),
    cell("Changed", element("span", { title: formatTime(sweep.updated_at) }, formatAge(sweep.updated_at, now_s))));
}

export { HomePage };
