// The figure of agents over time; a chart like those of charts.js.
import { baseLayout, emptyFigure, marginOf } from "./charts.js";
import { agentText, metricValues, noAgents } from "./facts.js";
import { formatDuration, formatNumber, plotText, plotTime } from "./format.js";
import { stateColour } from "./scales.js";

// From so many trials on those of a colour are one area: an element for each bar takes longer than all other charts.
const MANY_TRIALS = 500;
const HALF_ROW = 0.36;
// Shares of the time that is shown: what keeps trials that follow at once apart, and how far apart the places within an
// area are at which the pointer finds its trial.
const SEAM = 1 / 2500;
const REACH = 1 / 150;

/** Which agent had which trial when: a row per agent, with idle gaps, deaths and hand-overs. */
function timeline(data, view) {
  if (data.agents.length === 0) return emptyFigure(noAgents(data));
  const until = (end) => end ?? view.now_s;
  const byEnd = assignmentsByEnd(data, view);
  const count = data.agents.reduce((sum, agent) => sum + agent.trials.length, 0);
  const draw = count < MANY_TRIALS ? bars : areas;
  const layout = baseLayout(view.theme, "timeline");
  const rows = data.agents.length;
  const names = data.agents.map(({ name }) => plotText(name, 18));
  Object.assign(layout, {
    barmode: "overlay", margin: { ...layout.margin, l: marginOf(names), t: 8, b: 58 },
    height: Math.round(Math.max(120, 76 + rows * Math.min(26, 560 / rows))),
  });
  layout.xaxis.type = "date";
  const every = Math.ceil(rows / 40);
  const ticks = data.agents.map((_, row) => row).filter((row) => row % every === 0);
  Object.assign(layout.yaxis, {
    range: [rows - 0.4, -0.6], fixedrange: rows < 12, gridcolor: "rgba(0,0,0,0)", tickvals: ticks,
    ticktext: ticks.map((row) => names[row]),
  });
  // Below the trials: what is seen of it is idle.
  const life = {
    type: "bar", orientation: "h", y: data.agents.map((_, row) => row), base: data.agents.map((agent) => plotTime(agent.began_at)),
    x: data.agents.map((agent) => Math.max(0, until(agent.ended_at) - agent.began_at) * 1000), width: 0.1, hoverinfo: "skip",
    marker: { color: view.theme.faint },
  };
  return { data: [life, ...draw(data, byEnd, view), ...deaths(data, view)], layout };
}

/** @returns {Map<string, object[]>} by how they ended: {agent, row, trial, how, index: of the run, began_s, ended_s} */
function assignmentsByEnd(data, view) {
  const indexOf = new Map(data.runs.id.map((id, index) => [id, index]));
  const byEnd = new Map();
  data.agents.forEach((agent, row) => {
    for (const trial of agent.trials) {
      const how = trial.ended_at === null ? "running" : trial.how;
      if (!byEnd.has(how)) byEnd.set(how, []);
      const ended_s = Math.max(trial.began_at, trial.ended_at ?? view.now_s);
      byEnd.get(how).push({ agent, row, trial, how, index: indexOf.get(trial.run), began_s: trial.began_at, ended_s });
    }
  });
  return byEnd;
}

/** A bar for each trial. */
function bars(data, byEnd, view) {
  return [...byEnd].map(([how, entries]) => ({
    type: "bar",
    orientation: "h",
    name: plotText(how),
    y: entries.map(({ row }) => row),
    base: entries.map(({ began_s }) => plotTime(began_s)),
    x: entries.map(({ began_s, ended_s }) => (ended_s - began_s) * 1000),
    customdata: entries.map(({ trial }) => trial.run),
    text: entries.map((entry) => describeAssignment(data, entry, view)),
    hovertemplate: "%{text}<extra></extra>",
    textposition: "none",
    width: 2 * HALF_ROW,
    marker: {
      color: stateColour(how),
      line: {
        color: entries.map(({ trial }) => (trial.run === view.chosen ? view.theme.text : view.theme.surface)),
        width: entries.map(({ trial }) => (trial.run === view.chosen ? 2.5 : 0.5)),
      },
    },
  }));
}

/** The same with few elements: an area for each way to end, and places in it that nothing is drawn at. */
function areas(data, byEnd, view) {
  const all = [...byEnd.values()].flat();
  const first_s = all.reduce((least, { began_s }) => Math.min(least, began_s), Infinity);
  const span_s = all.reduce((most, { ended_s }) => Math.max(most, ended_s), -Infinity) - first_s;
  const traces = [];
  for (const [how, entries] of byEnd) {
    traces.push({
      type: "scatter", mode: "none", name: plotText(how), fill: "toself", fillcolor: stateColour(how), hoverinfo: "skip",
      ...outlines(entries, span_s * SEAM),
    });
  }
  traces.push({ type: "scatter", mode: "none", ...places(data, all, span_s * REACH, view), hovertemplate: "%{text}<extra></extra>" });
  const chosen = all.filter(({ trial }) => trial.run === view.chosen);
  if (chosen.length > 0) {
    traces.push({ type: "scatter", mode: "lines", ...outlines(chosen, 0), line: { color: view.theme.text, width: 2.5 }, hoverinfo: "skip" });
  }
  return traces;
}

/** Rectangles, one after the other, closed. seam_s: by which they end early, where they are long enough. */
function outlines(entries, seam_s) {
  const [x, y] = [[], []];
  for (const { row, began_s, ended_s } of entries) {
    const [from, to] = [plotTime(began_s), plotTime(ended_s - Math.min(seam_s, (ended_s - began_s) / 4))];
    x.push(from, to, to, from, from, null);
    y.push(row - HALF_ROW, row - HALF_ROW, row + HALF_ROW, row + HALF_ROW, row - HALF_ROW, null);
  }
  return { x, y };
}

/** Points in the middle of trials; of long ones several, no further apart than that. */
function places(data, entries, apart_s, view) {
  const found = { x: [], y: [], customdata: [], text: [] };
  for (const entry of entries) {
    const { row, trial, began_s, ended_s } = entry;
    const text = describeAssignment(data, entry, view);
    const count = Math.max(1, Math.ceil((ended_s - began_s) / apart_s) || 1);
    for (let at = 0; at < count; at += 1) {
      found.x.push(plotTime(began_s + ((at + 0.5) / count) * (ended_s - began_s)));
      found.y.push(row);
      found.customdata.push(trial.run);
      found.text.push(text);
    }
  }
  return found;
}

function deaths(data, view) {
  const rows = data.agents.map((_, row) => row).filter((row) => data.agents[row].ended === "died");
  if (rows.length === 0) return [];
  return [{
    type: "scatter", mode: "markers", name: "agent died", hovertemplate: "%{text}<extra></extra>", y: rows,
    x: rows.map((row) => plotTime(data.agents[row].ended_at ?? view.now_s)),
    text: rows.map((row) => `<b>${plotText(agentText(data.agents[row].name, data.agents[row].job))}</b> died on ${plotText(data.agents[row].host)}`),
    marker: { symbol: "x", size: 10, color: stateColour("failed"), line: { width: 1, color: view.theme.surface } },
  }];
}

/** What the colours of a timeline stand for, as far as they occur in it. */
function timelineStates(data) {
  const states = new Set();
  for (const { ended, trials } of data.agents) {
    for (const trial of trials) states.add(trial.ended_at === null ? "running" : trial.how);
    if (ended === "died") states.add("agent died");
  }
  return [...states].sort();
}

function describeAssignment(data, { agent, trial, how, index, began_s, ended_s }, view) {
  const name = index === undefined ? trial.run : data.runs.name[index];
  const value = index === undefined ? null : metricValues(data, view.metric)[index];
  const result = value === null ? "" : `<br>${plotText(view.metric)}: ${formatNumber(value)}`;
  return `<b>${plotText(name)}</b> ${plotText(how)}<br>${plotText(agentText(agent.name, agent.job))}, ${formatDuration(ended_s - began_s)}${result}`;
}

export { timeline, timelineStates };
