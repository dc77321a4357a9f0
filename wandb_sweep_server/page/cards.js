// What stands on top of a sweep's page: the best trial, progress, time, agents; and the run that was chosen.
import { element, stateBadge } from "./dom.js";
import { agentText, bestRun, durationOf, endedCount, goalOf, jobOfAgent, knowsAgents, median, metricValues, noAgents, placeOf, remainingTime, runCount, stateCounts, timeSpan } from "./facts.js";
import { MISSING, counted, formatDuration, formatNumber, formatTime, formatValue, shortened } from "./format.js";

const MOST_PARAMETERS = 8;
// A value may be a whole text, of which the run's config has all.
const CARD_CHARS = 80;
const FACT_CHARS = 400;
const STATE_ORDER = ["finished", "running", "preempting", "preempted", "killed", "crashed", "failed", "pending"];

function card(name, title, ...children) {
  return element("section.card", { data: { card: name } }, element("h2", {}, title), ...children);
}

/** A value, cut to a length; the whole of it, up to a size, where the pointer rests. */
function cutValue(value, length) {
  const text = formatValue(value);
  const shown = shortened(text, length);
  return shown === text ? text : element("span", { title: shortened(text, 1000) }, shown);
}

/** Links to what there is of a run. */
function linksTo(links) {
  const named = [["directory", links?.directory], [links?.directory ? "config" : "config and files", links?.page], ["log", links?.log]];
  return named.filter(([, href]) => href).map(([text, href]) => element("a", { href }, text));
}

/** Parameters of a run as name and value. */
function parameterList(data, index, most) {
  const parameters = data.parameters.slice(0, most);
  const items = parameters.map(({ name }) => element("span.parameter", {},
    element("span.quiet", {}, name), " ", cutValue(data.runs.parameters[name]?.[index], CARD_CHARS)));
  if (data.parameters.length > most) items.push(element("span.quiet", {}, `and ${data.parameters.length - most} more`));
  return element("p.parameters", {}, ...items);
}

function bestCard(data, view, choose) {
  const best = bestRun(data, view.metric, view.goal);
  if (best === null) {
    const sentence = !view.metric ? "The sweep names no metric."
      : metricValues(data, view.metric).some((value) => value !== null) ? "No trial with the metric has finished yet."
        : `No trial has a metric '${view.metric}' yet.`;
    return card("best", "Best", element("p.big", {}, "–"), element("p.quiet", {}, sentence));
  }
  const id = data.runs.id[best];
  const value = data.runs.metrics[view.metric][best];
  const goal = goalOf(data, view.metric) ? view.goal : `${view.goal === "maximize" ? "highest" : "lowest"}`;
  return card("best", "Best",
    element("p.big", { title: String(value) }, formatNumber(value)),
    element("p", {}, element("span.quiet", {}, `${view.metric}, ${goal}: `),
      element("button.link", { type: "button", data: { focus: "best", run: id }, onclick: () => choose(id) }, shortened(data.runs.name[best] || id, CARD_CHARS))),
    parameterList(data, best, MOST_PARAMETERS));
}

function progressCard(data, view) {
  const counts = stateCounts(data);
  const total = Math.max(data.sweep.expected ?? 0, runCount(data));
  const ended = endedCount(data);
  const states = [...STATE_ORDER.filter((state) => counts[state]), ...Object.keys(counts).filter((s) => !STATE_ORDER.includes(s))];
  const part = (state) => {
    const bar = element("span.part", { data: { state } });
    bar.style.flexGrow = counts[state];
    return bar;
  };
  const rest = element("span.part");
  rest.style.flexGrow = Math.max(0, total - runCount(data));
  const remaining_s = remainingTime(data, view.now_s);
  const label = data.sweep.expected ? `${formatNumber(ended)} of ${counted(total, "trial")} ended` : `${counted(ended, "trial")} ended`;
  return card("progress", "Progress",
    element("p.big", {}, formatNumber(ended), data.sweep.expected ? element("span.of", {}, ` / ${formatNumber(total)}`) : null),
    element("div.bar", { role: "img", "aria-label": label }, ...states.map(part), rest),
    element("p.counts", {}, ...states.map((state) => element("span", {}, stateBadge(state), ` ${formatNumber(counts[state])}`))),
    remaining_s === null ? null : element("p.quiet", {}, `about ${formatDuration(remaining_s)} left at this pace`));
}

function timeCard(data, view) {
  const span = timeSpan(data, view.now_s);
  if (!span) return card("time", "Time", element("p.big", {}, "–"), element("p.quiet", {}, "No trial has begun yet."));
  const finished = data.runs.duration_s.filter((_, index) => data.runs.state[index] === "finished");
  const typical_s = median(finished);
  return card("time", "Time",
    element("p.big", {}, formatDuration(span.ended_s - span.began_s)),
    element("p.quiet", {}, `since ${formatTime(span.began_s)}`),
    typical_s === null ? null : element("p.quiet", {}, `${formatDuration(typical_s)} per trial, median`));
}

function agentsCard(data) {
  const atWork = data.agents.filter((agent) => agent.ended === null).length;
  const died = data.agents.filter((agent) => agent.ended === "died").length;
  const hosts = new Set(data.agents.map((agent) => agent.host)).size;
  const all = data.agents.length;
  const [count, what] = atWork > 0 || all === 0 ? [atWork, "at work"] : [all, "in all"];
  const more = atWork > 0 ? `${formatNumber(all)} in all, on ${counted(hosts, "host")}` : `on ${counted(hosts, "host")}`;
  return card("agents", "Agents",
    element("p.big", {}, ...(knowsAgents(data) ? [formatNumber(count), element("span.of", {}, ` ${what}`)] : [MISSING])),
    element("p.quiet", {}, all === 0 ? noAgents(data) : more),
    died === 0 ? null : element("p.warning", {}, `${formatNumber(died)} died`));
}

/** The four cards on top of the page. choose: is told of a run's id. */
function summaryCards(data, view, choose) {
  return [bestCard(data, view, choose), progressCard(data, view), timeCard(data, view), agentsCard(data)];
}

/**
 * The run that was chosen.
 * @param {{page: string, log: string}|null} links addresses of its page and log
 * @param {HTMLElement[]} actions what can be done with it
 * @returns {HTMLElement[]} what its section holds
 */
function chosenRun(data, index, view, links, actions, close) {
  const { runs } = data;
  const value = view.metric ? metricValues(data, view.metric)[index] : null;
  const place = view.metric ? placeOf(data, view.metric, view.goal, index) : null;
  const facts = [
    ...(view.metric ? [[view.metric, formatNumber(value)]] : []),
    ...(place ? [["place", `${formatNumber(place.place)} of ${formatNumber(place.of)}`]] : []),
    ["duration", formatDuration(durationOf(data, index, view.now_s))], ["began", formatTime(runs.began_at[index])],
    ["host", formatValue(runs.host[index])], ["agent", agentText(runs.agent[index], jobOfAgent(data, runs.agent[index]))],
    ...data.parameters.map(({ name }) => [name, cutValue(runs.parameters[name]?.[index], FACT_CHARS)]),
  ];
  return [
    element("header", { data: { run: runs.id[index] } }, element("h2", {}, runs.name[index] || runs.id[index]), stateBadge(runs.state[index]),
      ...linksTo(links), ...actions,
      element("button", { type: "button", onclick: close, "aria-label": "Let go of this run" }, "Close")),
    runs.reason[index] ? element("p.warning", {}, cutValue(runs.reason[index], FACT_CHARS)) : null,
    element("dl.facts", {}, ...facts.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text)))),
  ].filter(Boolean);
}

/** What stands there instead if nobody knows the run: a link may be to another sweep, or to a run that was deleted. */
function unknownRun(id, close) {
  return [element("header", {}, element("p", {}, `There is no run '${shortened(id, CARD_CHARS)}' in this sweep.`),
    element("button", { type: "button", onclick: close }, "Close"))];
}

export { chosenRun, summaryCards, unknownRun };
