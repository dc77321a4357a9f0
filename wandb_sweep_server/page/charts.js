// Figures for Plotly from sweep data: no document, no requests. Every function takes sweep data and a view and returns
// {data, layout}, and `empty`, a sentence, where there is nothing to draw.
//
// A view is what the reader has chosen: {metric, goal: "minimize"|"maximize", scale: "linear"|"log", chosen: run id or
// null, parameter, against: "trials"|"time", marked: Plotly's constraint range by axis of the parallel coordinates, order: names of
// those axes as the reader put them, now_s, theme: one of THEMES, has_webgl}.
import { compareBy, finishedInOrder, metricValues } from "./facts.js";
import { formatNumber, plotText, plotTime } from "./format.js";
import { COLOUR_BINS, colourScale, metricAxis, parameterAxis } from "./scales.js";

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
// Up to so many points Plotly's SVG is as quick as its WebGL, whose programs are translated anew for each chart. Lines
// are always quicker in SVG: where there is no graphics card, twenty times.
const MANY_POINTS = 6000;
const MOST_DESCRIBED_PARAMETERS = 10;

/** The layout that figures share. revision: what the reader zoomed stays while this is the same. */
function baseLayout(theme, revision) {
  const axis = () => ({
    gridcolor: theme.grid, linecolor: theme.grid, zeroline: false, automargin: true, tickfont: { color: theme.muted, size: 11 },
    title: { text: "", font: { color: theme.muted, size: 12 }, standoff: 8 },
  });
  return {
    font: { family: FONT, size: 12, color: theme.text },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 52, r: 14, t: 10, b: 44 },
    hovermode: "closest",
    hoverlabel: { bgcolor: theme.surface, bordercolor: theme.faint, font: { family: FONT, size: 12, color: theme.text }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.faint, activecolor: theme.muted },
    showlegend: false,
    uirevision: revision,
    xaxis: axis(),
    yaxis: axis(),
  };
}

/** A margin in which names of rows have room. Where they have none, Plotly finds out by drawing all twice. */
function marginOf(names) {
  return 28 + Math.ceil(7.2 * names.reduce((most, name) => Math.max(most, name.length), 0));
}

function emptyFigure(sentence) {
  return { data: [], layout: {}, empty: sentence };
}

function noMetric(view) {
  return emptyFigure(view.metric ? `No trial has a metric '${view.metric}' yet.` : "The sweep names no metric, and no trial has one yet.");
}

/** What is shown where the pointer is over a run. */
function describeRun(data, index, view) {
  const lines = [`<b>${plotText(data.runs.name[index])}</b> ${plotText(data.runs.state[index])}`];
  const value = metricValues(data, view.metric)[index];
  if (value !== null) lines.push(`${plotText(view.metric)}: <b>${formatNumber(value)}</b>`);
  for (const { name } of data.parameters.slice(0, MOST_DESCRIBED_PARAMETERS)) {
    lines.push(`${plotText(name)}: ${plotText(data.runs.parameters[name]?.[index])}`);
  }
  if (data.parameters.length > MOST_DESCRIBED_PARAMETERS) lines.push("…");
  return lines.join("<br>");
}

/** Points of runs, coloured by how good they are; runs: indices. */
function runPoints(data, view, runs, x, scale) {
  const values = metricValues(data, view.metric);
  return {
    type: view.has_webgl && runs.length > MANY_POINTS ? "scattergl" : "scatter",
    mode: "markers",
    x,
    y: runs.map((index) => values[index]),
    customdata: runs.map((index) => data.runs.id[index]),
    text: runs.map((index) => describeRun(data, index, view)),
    hovertemplate: "%{text}<extra></extra>",
    marker: {
      color: runs.map((index) => scale.position(values[index])), colorscale: scale.colours, cmin: 0, cmax: 1,
      size: runs.length > 500 ? 5 : 8, line: { width: runs.length > 500 ? 0 : 1, color: view.theme.surface },
    },
  };
}

/** A ring around the chosen run; nothing if it isn't among the points. */
function chosenPoint(data, view, runs, points) {
  const at = runs.findIndex((index) => data.runs.id[index] === view.chosen);
  if (at < 0) return [];
  return [{
    type: points.type, mode: "markers", x: [points.x[at]], y: [points.y[at]], hoverinfo: "skip",
    marker: { size: 15, symbol: "circle-open", color: view.theme.text, line: { width: 2.5, color: view.theme.text } },
  }];
}

/**
 * Parallel coordinates over the swept parameters and the metric, of the runs that have it.
 * @returns {{data, layout, runs: number[]}} runs: the index of the run behind each line
 */
function parallelCoordinates(data, view) {
  const values = metricValues(data, view.metric);
  const scale = colourScale(values, view.goal, view.scale, view.theme);
  if (!scale) return noMetric(view);
  if (data.parameters.length === 0) return emptyFigure("The sweep has no parameter that it varies.");
  // Drawn last, and so on top: the best.
  const runs = values.map((_, index) => index).filter((index) => values[index] !== null);
  runs.sort((a, b) => -compareBy(view.goal, values[a], values[b]));
  const axes = [
    ...data.parameters.map((parameter) => ({ parameter, column: data.runs.parameters[parameter.name] ?? [] })),
    { parameter: { name: view.metric, kind: "number", scale: view.scale }, column: values },
  ];
  const placeOfAxis = ({ parameter: { name } }) => (view.order.includes(name) ? view.order.indexOf(name) : view.order.length);
  axes.sort((a, b) => placeOfAxis(a) - placeOfAxis(b));
  const dimension = ({ parameter, column }) => {
    const { name } = parameter;
    const axis = parameterAxis(parameter, runs.map((index) => column[index] ?? null));
    const ticks = axis.ticks ? { tickvals: axis.ticks, ticktext: axis.texts } : {};
    const marked = view.marked?.[name] ? { constraintrange: view.marked[name] } : {};
    return { name, label: plotText(name, 18), values: axis.places, range: axis.range, ...ticks, ...marked };
  };
  const { theme } = view;
  return {
    data: [{
      type: "parcoords",
      line: { color: runs.map((index) => scale.position(values[index])), colorscale: scale.colours, cmin: 0, cmax: 1 },
      dimensions: axes.map(dimension),
      labelfont: { family: FONT, size: 12, color: theme.text },
      tickfont: { family: FONT, size: 11, color: theme.muted },
      rangefont: { family: FONT, size: 10, color: "rgba(0,0,0,0)" },
      unselected: { line: { color: theme.faint, opacity: 0.25 } },
    }],
    // Marks and order of axes are part of the view: Plotly isn't to keep others.
    // Plotly's halo of the ticks is of the paper's colour.
    layout: { ...baseLayout(theme), margin: { l: 56, r: 56, t: 40, b: 18 }, paper_bgcolor: theme.surface },
    runs,
  };
}

/**
 * Runs that marks on the axes of the parallel coordinates leave.
 * @param {object} figure of parallelCoordinates
 * @param {Object<string, (number[]|number[][])>} marked ranges by the name of the axis, as Plotly has them
 * @returns {Set<number>} indices of runs
 */
function runsWithin(figure, marked) {
  if (figure.empty) return new Set();
  const { dimensions } = figure.data[0];
  const within = figure.runs.filter((_, line) => dimensions.every(({ name, values }) => {
    if (!(name in marked)) return true;
    const ranges = Array.isArray(marked[name][0]) ? marked[name] : [marked[name]];
    return ranges.some(([low, high]) => low <= values[line] && values[line] <= high);
  }));
  return new Set(within);
}

/** The best metric of finished trials so far, against their number or against time. */
function bestSoFar(data, view) {
  const runs = finishedInOrder(data, view.metric);
  const values = metricValues(data, view.metric);
  const scale = colourScale(values, view.goal, view.scale, view.theme);
  if (runs.length === 0) return scale ? emptyFigure("No trial has finished yet.") : noMetric(view);
  const byTime = view.against === "time";
  const x = runs.map((index, at) => (byTime ? plotTime(data.runs.ended_at[index] ?? data.runs.began_at[index]) : at + 1));
  let best = values[runs[0]];
  const steps = runs.map((index) => {
    best = compareBy(view.goal, values[index], best) < 0 ? values[index] : best;
    return best;
  });
  const layout = baseLayout(view.theme, `best ${view.metric} ${view.scale} ${view.against}`);
  layout.xaxis.title.text = byTime ? "when the trial ended" : "trials that have finished";
  layout.xaxis.type = byTime ? "date" : "linear";
  if (byTime) layout.margin.b = 60;
  metricAxis(layout.yaxis, view, values);
  const points = runPoints(data, view, runs, x, scale);
  const line = {
    type: points.type, mode: "lines", x, y: steps, line: { color: view.theme.accent, width: 2.5, shape: "hv" }, hoverinfo: "skip",
  };
  return { data: [points, line, ...chosenPoint(data, view, runs, points)], layout };
}

/**
 * Metric curves of runs. Few traces, however many runs: those of a colour are one line with gaps.
 * @param {{key: string, runs: {id: string, steps: number[], values: (number|null)[]}[]}} histories
 */
function curves(data, histories, view) {
  const drawn = histories.runs.filter((run) => run.values.some((value) => value !== null));
  if (drawn.length === 0) return emptyFigure(histories.key ? `No trial has logged '${histories.key}' yet.` : "No trial has logged a metric yet.");
  const indexOf = new Map(data.runs.id.map((id, index) => [id, index]));
  const values = metricValues(data, view.metric);
  const scale = colourScale(values, view.goal, view.scale, view.theme);
  const lines = Array.from({ length: COLOUR_BINS + 1 }, () => ({ x: [], y: [], customdata: [], text: [] }));
  let chosen = null;
  for (const run of drawn) {
    const index = indexOf.get(run.id);
    const at = scale && index !== undefined ? scale.position(values[index]) : null;
    const line = lines[at === null ? 0 : scale.bin(at) + 1];
    const label = plotText(index === undefined ? run.id : data.runs.name[index]);
    run.steps.forEach((step, place) => {
      line.x.push(step);
      line.y.push(run.values[place]);
      line.customdata.push(run.id);
      line.text.push(label);
    });
    line.x.push(null);
    line.y.push(null);
    line.customdata.push(run.id);
    line.text.push("");
    if (run.id === view.chosen) chosen = run;
  }
  const traces = lines.map((line, bin) => ({
    ...line,
    type: "scatter",
    mode: drawn.every((run) => run.steps.length === 1) ? "markers" : "lines",
    connectgaps: false,
    hovertemplate: "<b>%{text}</b><br>step %{x}: %{y:.5g}<extra></extra>",
    opacity: view.chosen && chosen ? 0.45 : 1,
    line: { width: drawn.length > 100 ? 1 : 1.5, color: bin === 0 ? view.theme.faint : scale.binColour(bin - 1) },
  }));
  if (chosen) {
    traces.push({
      type: "scatter", mode: "lines", x: chosen.steps, y: chosen.values, hoverinfo: "skip", line: { width: 3.5, color: view.theme.text },
    });
  }
  const layout = baseLayout(view.theme, `curves ${histories.key} ${view.scale}`);
  layout.xaxis.title.text = "step";
  metricAxis(layout.yaxis, { ...view, metric: histories.key }, traces.flatMap((trace) => trace.y));
  return { data: traces.filter((trace) => trace.x.length > 0), layout };
}

/** How much each parameter matters for the metric; largest on top. */
function importance(data, view) {
  const shown = data.importance.slice(0, 24);
  if (shown.length === 0) return emptyFigure(data.importance_note);
  const layout = baseLayout(view.theme, "importance");
  const names = shown.map((entry) => plotText(entry.name, 24));
  layout.margin.l = marginOf(names);
  Object.assign(layout.yaxis, {
    range: [Math.max(shown.length, 4) - 0.4, -0.6], fixedrange: true, gridcolor: "rgba(0,0,0,0)",
    tickfont: { color: view.theme.text, size: 12 }, tickvals: shown.map((_, row) => row),
    ticktext: names,
  });
  // Room for the numbers beside the longest bar.
  const longest = Math.max(...shown.map((entry) => entry.importance), 0.01);
  Object.assign(layout.xaxis, { range: [0, longest * 1.45], fixedrange: true, tickformat: ".0%" });
  const label = (entry) => {
    const direction = entry.correlation === null ? "" : `  ${entry.correlation < 0 ? "−" : "+"}${Math.abs(entry.correlation).toFixed(2)}`;
    return `${Math.round(entry.importance * 100)} %${direction}`;
  };
  return {
    data: [{
      type: "bar",
      orientation: "h",
      x: shown.map((entry) => entry.importance),
      y: shown.map((_, index) => index),
      text: shown.map(label),
      textposition: "outside",
      cliponaxis: false,
      textfont: { color: view.theme.muted },
      marker: { color: view.theme.accent },
      width: 0.62,
      hovertemplate: shown.map((entry) => `<b>${plotText(entry.name)}</b><br>importance ${entry.importance.toFixed(3)}<br>`
        + `${entry.correlation === null ? "no direction" : `correlation ${entry.correlation.toFixed(3)}`}<extra></extra>`),
    }],
    layout,
  };
}

/** The metric against one parameter. Categories are spread a little sideways, always in the same way. */
function scatter(data, view) {
  const values = metricValues(data, view.metric);
  const scale = colourScale(values, view.goal, view.scale, view.theme);
  const parameter = data.parameters.find(({ name }) => name === view.parameter) ?? data.parameters[0];
  if (!parameter) return emptyFigure("The sweep has no parameter that it varies.");
  if (!scale) return noMetric(view);
  const runs = values.map((_, index) => index).filter((index) => values[index] !== null);
  const column = data.runs.parameters[parameter.name] ?? [];
  const axis = parameterAxis(parameter, runs.map((index) => column[index] ?? null), 12);
  const x = axis.levels > 0 ? axis.places.map((place, at) => place + spread(at)) : axis.places;
  const layout = baseLayout(view.theme, `scatter ${parameter.name} ${view.metric} ${view.scale}`);
  const margin = 0.06 * (axis.range[1] - axis.range[0]) || 0.5;
  layout.xaxis.range = axis.levels > 0 ? [axis.range[0] - 0.5, axis.range[1] + 0.5] : [axis.range[0] - margin, axis.range[1] + margin];
  layout.xaxis.title.text = plotText(parameter.name, 40);
  if (axis.ticks) Object.assign(layout.xaxis, { tickvals: axis.ticks, ticktext: axis.texts });
  metricAxis(layout.yaxis, view, values);
  const points = runPoints(data, view, runs, x, scale);
  return { data: [points, ...chosenPoint(data, view, runs, points)], layout };
}

/** Between -0.25 and 0.25, spread evenly: the golden ratio's multiples. */
function spread(index) {
  return ((index * 0.618034) % 1) * 0.5 - 0.25;
}

export { baseLayout, bestSoFar, curves, emptyFigure, importance, marginOf, parallelCoordinates, runsWithin, scatter };
