// Draws a sweep whose data stands in the document itself: the script of report.html.
//
// There it is one script with the modules it is made of, in the order of their imports below, each without its import
// and export lines.
import { formatTime } from "./format.js";
import "./facts.js";
import "./scales.js";
import "./charts.js";
import "./timeline.js";
import { element, stateBadge } from "./dom.js";
import { Place } from "./place.js";
import "./table.js";
import "./panel.js";
import "./cards.js";
import { SweepView } from "./view.js";

/** What a script element of a document holds as JSON; null if there is none. */
function jsonOf(page, id) {
  const holder = page.getElementById(id);
  return holder ? JSON.parse(holder.textContent) : null;
}

/** Addresses of a run's files for a report that lies beside them; null: it doesn't. */
function placesOf({ places, runs }) {
  if (!places) return null;
  const indexOf = new Map(runs.id.map((id, index) => [id, index]));
  return (id) => {
    const directory = places.directory[indexOf.get(id)];
    const file = (name) => (name ? `${directory}${name}` : null);
    return directory ? { directory, page: file(places.config), log: file(places.log) } : null;
  };
}

/**
 * Draw the sweep data in #sweep-data and the histories in #histories: one {key, runs} or several, or none.
 * @param {Document} page Plotly is a global of its window; the report goes into #report, or else into the body
 */
function drawReport(page) {
  const data = jsonOf(page, "sweep-data");
  const found = jsonOf(page, "histories") ?? [];
  const histories = Array.isArray(found) ? found : [found];
  const { sweep } = data;
  const name = sweep.name || sweep.id;
  page.title = name;
  const place = new Place(page.defaultView);
  const body = element("div");
  const link = sweep.url && /^https?:\/\//.test(sweep.url) ? element("a", { href: sweep.url, rel: "noreferrer" }, sweep.url) : null;
  const about = [`${sweep.entity}/${sweep.project}/${sweep.id}`, sweep.method, ...(sweep.created_at ? [`begun ${formatTime(sweep.created_at)}`] : []), `as of ${formatTime(sweep.now)}`].join(" · ");
  (page.getElementById("report") ?? page.body).replaceChildren(element("main", { id: "main" },
    element("header.title", {}, element("h1", {}, name), stateBadge(sweep.state)),
    element("p.quiet", {}, about), link ? element("p", {}, link) : null,
    sweep.description ? element("p.description", {}, sweep.description) : null, body));
  const view = new SweepView(body, { place, plotly: Promise.resolve(page.defaultView.Plotly), links: placesOf(data) });
  const keys = histories.map(({ key }) => key);
  const show = () => {
    const wanted = [place.now.key, sweep.metric?.name].find((key) => keys.includes(key)) ?? keys[0];
    const chosen = histories.find(({ key }) => key === wanted);
    view.showHistories(chosen ?? { key: sweep.metric?.name ?? "", runs: [] }, keys);
  };
  place.listen(show);
  view.update(data);
  show();
}

export { drawReport };
