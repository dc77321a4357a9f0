// The page of a run: state, config, summary, log and files.
import { getJson, getText } from "./api.js";
import { element, stateBadge } from "./dom.js";
import { LIVE_STATES, agentText } from "./facts.js";
import { counted, formatDuration, formatSize, formatTime, formatValue, withoutTerminalSequences } from "./format.js";

const LOG_LINES = 1000;
const REFRESH_S = 5;

/** A nested value as rows of dotted names and values. */
function flatRows(value, name = "") {
  const isNested = value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;
  if (!isNested) return [[name, value]];
  return Object.entries(value).flatMap(([key, inner]) => flatRows(inner, name ? `${name}.${key}` : key));
}

/** Shows the run that a path names, and what becomes of it while it runs. */
class RunPage {
  /**
   * @param {HTMLElement} root is filled, and no longer busy then
   * @param {{entity: string, project: string, run: string}} names as in the path, percent-encoded
   * @param {{show: function(string, string): void, hide: function(string): void}} notices
   */
  constructor(root, { entity, project, run }, notices) {
    this._base = `/page/data/${entity}/${project}/runs/${run}`;
    this._files = `/files/${entity}/${project}/${run}`;
    this._sweeps = `/${entity}/${project}/sweeps`;
    this._run = decodeURIComponent(run);
    this._root = root;
    this._notices = notices;
    this._title = element("h1", {}, this._run);
    this._state = element("span", { "aria-live": "polite" });
    this._stateName = "";
    this._facts = element("dl.facts");
    this._reason = element("p.warning", { hidden: true });
    this._config = element("div");
    this._summary = element("div");
    this._list = element("div");
    this._log = element("pre.log", { tabIndex: 0, "aria-label": "The last lines of the log" });
    this._logHead = element("p.quiet");
    const panel = (id, title, ...children) => element("section.panel", { id, "aria-labelledby": `${id}-title` },
      element("header", {}, element("h2", { id: `${id}-title` }, title)), ...children);
    root.replaceChildren(
      element("header.title", {}, this._title, this._state), this._reason, this._facts,
      element("div.panels", {}, panel("config", "Config", this._config), panel("summary", "Summary", this._summary)),
      panel("log", "Log", this._logHead, this._log), panel("files", "Files", this._list),
    );
  }

  /** Load, and again while it runs. */
  async start() {
    await this._load();
    this._root.removeAttribute("aria-busy");
    // What the fragment names is there only now.
    document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }

  async _load() {
    let state = "running";
    try {
      const [data, log] = await Promise.all([getJson(this._base), getText(`${this._base}/log?tail=${LOG_LINES}`)]);
      state = data.run.state;
      this._show(data);
      this._showLog(log);
      this._notices.hide("connection");
    } catch (error) {
      this._notices.show("connection", error.message);
      if (error.status >= 400 && error.status < 500) return;
    }
    if (LIVE_STATES.includes(state)) setTimeout(() => this._again(), REFRESH_S * 1000);
  }

  _again() {
    if (!document.hidden) this._load();
    else document.addEventListener("visibilitychange", () => this._again(), { once: true });
  }

  _show({ run, config, summary, files }) {
    const name = run.name || this._run;
    document.title = name;
    this._title.textContent = name;
    if (run.state !== this._stateName) this._state.replaceChildren(stateBadge(run.state));
    this._stateName = run.state;
    this._reason.textContent = run.reason ?? "";
    this._reason.hidden = !run.reason;
    const fact = (title, ...children) => element("div", {}, element("dt", {}, title), element("dd", {}, ...children));
    const back = run.sweep ? [fact("sweep", element("a", { href: `${this._sweeps}/${encodeURIComponent(run.sweep)}#run=${encodeURIComponent(this._run)}` }, run.sweep))] : [];
    const tags = run.tags?.length > 0 ? run.tags.join(", ") : null;
    const others = [["exit code", run.exit_code], ["tags", tags], ["commit", run.commit], ["notes", run.notes]]
      .filter(([, value]) => value !== null && value !== undefined);
    this._facts.replaceChildren(...back, fact("run", this._run), fact("duration", formatDuration(run.duration_s)),
      fact("began", formatTime(run.began_at)), fact("ended", formatTime(run.ended_at)), fact("host", formatValue(run.host)),
      fact("agent", agentText(run.agent, run.job)), ...others.map(([name, value]) => fact(name, formatValue(value))));
    this._config.replaceChildren(valueTable(config, "The run has no config."));
    this._summary.replaceChildren(valueTable(summary, "The run has no summary yet."));
    this._list.replaceChildren(this._fileList(files));
  }

  _showLog(raw) {
    const text = withoutTerminalSequences(raw);
    const isAtEnd = this._log.scrollTop + this._log.clientHeight >= this._log.scrollHeight - 4;
    if (this._log.textContent !== text) this._log.textContent = text;
    if (isAtEnd) this._log.scrollTop = this._log.scrollHeight;
    const lines = text === "" ? 0 : text.replace(/\n$/, "").split("\n").length;
    const all = element("a", { href: `${this._base}/log` }, "all of it");
    if (lines === 0) this._logHead.replaceChildren("Nothing was printed yet.");
    else this._logHead.replaceChildren(`${lines < LOG_LINES ? counted(lines, "line") : `The last ${counted(lines, "line")}`}, `, all);
    this._log.hidden = lines === 0;
  }

  _fileList(files) {
    if (files.length === 0) return element("p.empty", {}, "The run has no files.");
    const address = (name) => `${this._files}/${name.split("/").map(encodeURIComponent).join("/")}`;
    return element("ul.files", {}, ...files.map((file) => element("li", {},
      element("a", { href: address(file.name), download: "" }, file.name), " ", element("span.quiet", {}, formatSize(file.size_bytes)))));
  }
}

function valueTable(values, sentence) {
  const rows = Object.keys(values).length === 0 ? [] : flatRows(values);
  if (rows.length === 0) return element("p.empty", {}, sentence);
  const row = ([name, value]) => element("tr", {}, element("th", { scope: "row" }, name),
    element("td", { title: typeof value === "number" ? String(value) : "" }, formatValue(value)));
  return element("div.scroller", { tabIndex: 0 }, element("table.values", {}, element("tbody", {}, ...rows.map(row))));
}

export { RunPage, flatRows };
