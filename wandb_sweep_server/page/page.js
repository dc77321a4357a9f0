// Begins the page that the path names.
import { element } from "./dom.js";
import { HomePage } from "./home.js";
import { RunPage } from "./run.js";
import { SweepPage } from "./sweep.js";

/** Sentences on top of the page, by what they are about. */
class Notices {
  constructor(node) {
    this._node = node;
    this._notices = new Map();
  }

  /** Show a sentence instead of the last one about the same. */
  show(about, text) {
    if (this._notices.get(about)?.dataset.text === text) return;
    this.hide(about);
    const close = element("button", { type: "button", onclick: () => this.hide(about), "aria-label": "Close this notice" }, "×");
    const notice = element("p.notice", { data: { about, text } }, element("span", {}, text), close);
    this._notices.set(about, notice);
    this._node.append(notice);
  }

  /** Take it away. */
  hide(about) {
    this._notices.get(about)?.remove();
    this._notices.delete(about);
  }
}

/** Plotly, from the script that the page names. It is large: what needs it is drawn once it is there. */
function loadPlotly() {
  return new Promise((resolve, reject) => {
    const script = element("script", { src: document.querySelector("link[data-plotly]").href });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => reject(new Error("the plotting library can't be loaded.")));
    document.head.append(script);
  });
}

/** Links to what is above this page. */
function showTrail(entity, project) {
  const path = `/${entity}/${project}`;
  document.getElementById("trail").append(element("a", { href: path }, `${decodeURIComponent(entity)}/${decodeURIComponent(project)}`));
}

function begin() {
  const main = document.getElementById("main");
  // Until the page's data is there, or was refused.
  main.setAttribute("aria-busy", "true");
  const notices = new Notices(document.getElementById("notices"));
  const [entity, project, kind, name] = location.pathname.split("/").filter(Boolean);
  if (kind !== undefined) showTrail(entity, project);
  if (kind === "sweeps") new SweepPage(main, { entity, project, id: name }, loadPlotly, notices).start();
  else if (kind === "runs") new RunPage(main, { entity, project, run: name }, notices).start();
  else new HomePage(main, entity === undefined ? null : { entity, project }, notices).start();
}

begin();
