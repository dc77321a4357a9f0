// The figure of agents over time; a chart like those of charts.js.
import { baseLayout, emptyFigure } from "./charts.js";
import { metricValues } from "./facts.js";
import { formatDuration, formatNumber, plotText, plotTime } from "./format.js";
import { stateColour } from "./scales.js";

/** Which agent had which trial when: a row per agent, with idle gaps, deaths and hand-overs. */
function timeline(data, view) {
  if (data.agents.length === 0) return emptyFigure("No agent has begun yet.");
  const indexOf = new Map(data.runs.id.map((id, index) => [id, index]));
  const until = (end) => end ?? view.now_s;
  const deaths = { x: [], y: [], text: [] };
  const byEnd = new Map();
  data.agents.forEach((agent, row) => {
    if (agent.ended === "died") {
      deaths.x.push(plotTime(until(agent.ended_at)));
      deaths.y.push(row);
      deaths.text.push(`<b>${plotText(agent.name)}</b> died on ${plotText(agent.host)}`);
    }
    for (const trial of agent.trials) {
      const how = trial.ended_at === null ? "running" : trial.how;
      if (!byEnd.has(how)) byEnd.set(how, []);
      byEnd.get(how).push({ agent, row, trial, how, index: indexOf.get(trial.run) });
    }
  });
  const bars = [...byEnd].map(([how, entries]) => ({
    type: "bar",
    orientation: "h",
    name: plotText(how),
    y: entries.map(({ row }) => row),
    base: entries.map(({ trial }) => plotTime(trial.began_at)),
    x: entries.map(({ trial }) => Math.max(0, until(trial.ended_at) - trial.began_at) * 1000),
    customdata: entries.map(({ trial }) => trial.run),
    text: entries.map((entry) => describeAssignment(data, entry, view)),
    hovertemplate: "%{text}<extra></extra>",
    textposition: "none",
    width: 0.72,
    marker: {
      color: stateColour(how),
      line: {
        color: entries.map(({ trial }) => (trial.run === view.chosen ? view.theme.text : view.theme.surface)),
        width: entries.map(({ trial }) => (trial.run === view.chosen ? 2.5 : 0.5)),
      },
    },
  }));
  const layout = baseLayout(view.theme, "timeline");
  const rows = data.agents.length;
  Object.assign(layout, {
    barmode: "overlay", margin: { ...layout.margin, t: 4, b: 32 },
    height: Math.round(Math.max(120, 60 + rows * Math.min(26, 560 / rows))),
  });
  layout.xaxis.type = "date";
  const every = Math.ceil(rows / 40);
  const ticks = data.agents.map((_, row) => row).filter((row) => row % every === 0);
  Object.assign(layout.yaxis, {
    range: [rows - 0.4, -0.6], fixedrange: rows < 12, gridcolor: "rgba(0,0,0,0)", tickvals: ticks,
    ticktext: ticks.map((row) => plotText(data.agents[row].name, 18)),
  });
  // Below the trials: what is seen of it is idle.
  const life = {
    type: "bar", orientation: "h", y: data.agents.map((_, row) => row), base: data.agents.map((agent) => plotTime(agent.began_at)),
    x: data.agents.map((agent) => Math.max(0, until(agent.ended_at) - agent.began_at) * 1000), width: 0.1, hoverinfo: "skip",
    marker: { color: view.theme.faint },
  };
  const death = {
    type: "scatter", mode: "markers", ...deaths, name: "agent died", hovertemplate: "%{text}<extra></extra>",
    marker: { symbol: "x", size: 10, color: stateColour("failed"), line: { width: 1, color: view.theme.surface } },
  };
  return { data: [life, ...bars, ...(deaths.x.length > 0 ? [death] : [])], layout };
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

function describeAssignment(data, { agent, trial, how, index }, view) {
  const name = index === undefined ? trial.run : data.runs.name[index];
  const duration_s = (trial.ended_at ?? view.now_s) - trial.began_at;
  const value = index === undefined ? null : metricValues(data, view.metric)[index];
  const result = value === null ? "" : `<br>${plotText(view.metric)}: ${formatNumber(value)}`;
  return `<b>${plotText(name)}</b> ${plotText(how)}<br>${plotText(agent.name)}, ${formatDuration(duration_s)}${result}`;
}

export { timeline, timelineStates };
