// Colours and scales that all charts share. Pure.
import { compareValues } from "./facts.js";
import { formatNumber, plotText } from "./format.js";

// Viridis, dark to bright. The best trials get the end that stands out most from the background.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const COLOUR_BINS = 12;
// Trials beyond this quantile, on the worse side, share a colour: one that diverged would leave the others alike.
const WORST_QUANTILE = 0.95;

const THEMES = {
  light: {
    text: "#1d2433", muted: "#5b6577", grid: "#e4e8ee", surface: "#ffffff", accent: "#2f5fa8", faint: "#c3cad5",
    stops: VIRIDIS.slice(0, 9).reverse(),
  },
  dark: {
    text: "#e6e9ef", muted: "#9aa4b5", grid: "#2c3442", surface: "#171c25", accent: "#82b1f5", faint: "#465064",
    stops: VIRIDIS.slice(1),
  },
};

// Okabe and Ito's colours, which the colour-blind tell apart. What isn't listed is grey.
const STATE_COLOURS = {
  finished: "#009e73", running: "#0072b2", failed: "#d55e00", crashed: "#cc79a7", lost: "#cc79a7", preempting: "#e69f00",
  preempted: "#e69f00", "handed over": "#e69f00",
};
const OTHER_STATE_COLOUR = "#8b94a3";

/** @returns {string} the colour of a run's state, or of how an assignment ended */
function stateColour(state) {
  return STATE_COLOURS[state] ?? OTHER_STATE_COLOUR;
}

/** @returns {boolean} whether all finite values are positive, and there is one */
function canBeLog(values) {
  let found = false;
  for (const value of values) {
    if (typeof value !== "number") continue;
    if (value <= 0) return false;
    found = true;
  }
  return found;
}

/**
 * How good values are, from 0, the worst, to 1, the best; and the colours for it.
 * @param {(number|null)[]} values
 * @param {"minimize"|"maximize"} goal
 * @param {"linear"|"log"} scale
 * @param {object} theme one of THEMES
 * @returns {{worst: number, best: number, is_clipped: boolean, position: function(number|null): (number|null),
 *     colours: [number, string][], bin: function(number): number, binColour: function(number): string}|null} null
 *     without values. colours: for Plotly; bin: of a position, 0 to COLOUR_BINS - 1
 */
function colourScale(values, goal, scale, theme) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => (goal === "maximize" ? a - b : b - a));
  if (sorted.length === 0) return null;
  const project = scale === "log" && canBeLog(values) ? Math.log10 : (value) => value;
  const best = sorted[sorted.length - 1];
  const worst = sorted[Math.floor((1 - WORST_QUANTILE) * sorted.length)];
  const [from, to] = [project(worst), project(best)];
  const position = (value) => {
    if (value === null) return null;
    return from === to ? 1 : Math.min(1, Math.max(0, (project(value) - from) / (to - from)));
  };
  const colours = theme.stops.map((stop, index) => [index / (theme.stops.length - 1), stop]);
  return {
    worst,
    best,
    is_clipped: worst !== sorted[0],
    position,
    colours,
    bin: (at) => Math.min(COLOUR_BINS - 1, Math.floor(at * COLOUR_BINS)),
    binColour: (bin) => mixed(theme.stops, (bin + 0.5) / COLOUR_BINS),
  };
}

/** The colour at a position from 0 to 1 between stops, as "rgb(…)". */
function mixed(stops, at) {
  const place = at * (stops.length - 1);
  const below = Math.min(stops.length - 2, Math.floor(place));
  const [from, to] = [stops[below], stops[below + 1]].map((stop) => {
    return [1, 3, 5].map((start) => parseInt(stop.slice(start, start + 2), 16));
  });
  const parts = from.map((part, channel) => Math.round(part + (to[channel] - part) * (place - below)));
  return `rgb(${parts.join(",")})`;
}

/** @returns {Array} the distinct values of a column, in order, without nulls */
function levelsOf(values) {
  const levels = new Map();
  for (const value of values) {
    if (value !== null && value !== undefined) levels.set(levelKey(value), value);
  }
  return [...levels.values()].sort(compareValues);
}

/** The part of an axis around the one value that all trials have: a tenth of its size to either side; of logarithms if isLog. */
function rangeAround(value, isLog) {
  const middle = isLog ? Math.log10(value) : value;
  const margin = isLog ? Math.log10(1.1) : 0.1 * Math.abs(value) || 1;
  return [middle - margin, middle + margin];
}

/**
 * Make a Plotly axis that of a metric.
 * @param {object} axis of a layout; it is changed
 * @param {{metric: string, scale: "linear"|"log"}} view
 * @param {(number|null)[]} values that are shown along it
 */
function metricAxis(axis, view, values) {
  axis.title.text = plotText(view.metric, 40);
  axis.type = "linear";
  const numbers = values.filter((value) => typeof value === "number");
  if (numbers.length === 0) return;
  const [low, high] = [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))];
  const isLog = view.scale === "log" && canBeLog(values);
  // Plotly's own is from one less to one more, whatever the value's size.
  if (low === high) axis.range = rangeAround(low, isLog);
  if (!isLog) return;
  const decades = Math.log10(high / low);
  // Over few decades their 2 and 5 are ticks too.
  Object.assign(axis, { type: "log", tickformat: "~g", dtick: decades < 2.5 ? "D2" : Math.ceil(decades / 6) });
}

/** Values that look alike, 1 and "1", are different levels. */
function levelKey(value) {
  return JSON.stringify(value);
}

/**
 * Places of a parameter's values along an axis.
 * @param {{name: string, kind: string, scale: string}} parameter
 * @param {Array} values the column of it
 * @param {number} [most_ticks] at most so many ticks for categories
 * @returns {{places: number[], range: [number, number], ticks: number[]|null, texts: string[]|null, is_log: boolean,
 *     levels: number}} numbers on a log scale are given by their logarithm; levels: how many categories, 0 for
 *     numbers; ticks: null leaves them to Plotly. Absent values have a place of their own at the low end, named "none".
 */
function parameterAxis(parameter, values, most_ticks = 16) {
  const numbers = values.filter((value) => typeof value === "number");
  const isAbsent = values.some((value) => value === null || value === undefined);
  const isNumber = parameter.kind === "number" && values.every((v) => v === null || v === undefined || typeof v === "number");
  return isNumber && numbers.length > 0
    ? numberAxis(numbers, values, parameter.scale === "log" && canBeLog(values), isAbsent)
    : categoryAxis(values, isAbsent, most_ticks);
}

function numberAxis(numbers, values, isLog, isAbsent) {
  const project = isLog ? Math.log10 : (value) => value;
  const low = project(numbers.reduce((a, b) => Math.min(a, b)));
  const high = project(numbers.reduce((a, b) => Math.max(a, b)));
  const isConstant = low === high;
  const range = isConstant ? rangeAround(numbers[0], isLog) : [low, high];
  const none = isConstant ? range[0] : low - 0.12 * (high - low);
  const places = values.map((value) => (typeof value === "number" ? project(value) : none));
  if (isAbsent) range[0] = none;
  if (!isLog && !isAbsent && !isConstant) return { places, range, ticks: null, texts: null, is_log: false, levels: 0 };
  const ticks = isLog ? logTicks(low, high) : linearTicks(low, high);
  const texts = ticks.map((tick) => formatNumber(isLog ? 10 ** tick : tick));
  if (isAbsent) {
    ticks.unshift(none);
    texts.unshift("none");
  }
  return { places, range, ticks, texts, is_log: isLog, levels: 0 };
}

function categoryAxis(values, isAbsent, most_ticks) {
  const levels = levelsOf(values);
  const first = isAbsent ? 1 : 0;
  const placeOfLevel = new Map(levels.map((level, index) => [levelKey(level), index + first]));
  const places = values.map((value) => placeOfLevel.get(levelKey(value)) ?? 0);
  const names = [...(isAbsent ? ["none"] : []), ...levels.map((level) => plotText(level, 18))];
  const every = Math.ceil(names.length / most_ticks);
  const ticks = names.map((_, index) => index).filter((index) => index % every === 0);
  const range = names.length > 1 ? [0, names.length - 1] : [-0.5, 0.5];
  return { places, range, ticks, texts: ticks.map((tick) => names[tick]), is_log: false, levels: names.length };
}

/** Ticks within a range of logarithms: whole decades, and 2 and 5 times them where there are few. */
function logTicks(low, high) {
  const steps = high - low < 1.5 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.ceil((high - low) / 8));
  const ticks = [];
  for (let decade = Math.floor(low); decade <= Math.ceil(high); decade += stride) {
    for (const step of steps) {
      const tick = decade + Math.log10(step);
      if (tick >= low - 1e-9 && tick <= high + 1e-9) ticks.push(tick);
    }
  }
  return ticks.length >= 2 ? ticks : low === high ? [low] : [low, high];
}

function linearTicks(low, high) {
  if (low === high) return [low];
  const rough = (high - low) / 5;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * decade).find((candidate) => candidate >= rough);
  const ticks = [];
  for (let index = Math.ceil(low / step); index * step <= high + 1e-9 * step; index += 1) {
    ticks.push(Number((index * step).toPrecision(12)));
  }
  return ticks;
}

export { COLOUR_BINS, THEMES, canBeLog, colourScale, levelsOf, metricAxis, parameterAxis, stateColour };
