// What the reader has chosen, in the URL's fragment: a link to the page shows the same.

const DEFAULT_PLACE = {
  run: null, metric: null, better: null, scale: "linear", against: "trials", key: null, parameter: null, sort: null, states: [],
  text: "", page: 1,
};
const PLACE_CHOICES = { scale: ["linear", "log"], against: ["trials", "time"], better: ["lower", "higher"] };

/**
 * @param {string} fragment such as "#run=ab12&sort=-duration"
 * @returns {object} a place: like DEFAULT_PLACE; what can't be understood is left at its default
 */
function parsePlace(fragment) {
  const place = { ...DEFAULT_PLACE };
  for (const [key, value] of new URLSearchParams(fragment.replace(/^#/, ""))) {
    if (key === "states") place.states = value.split(",").filter(Boolean);
    else if (key === "page") place.page = Math.max(1, Number.parseInt(value, 10) || 1);
    else if (key in PLACE_CHOICES) place[key] = PLACE_CHOICES[key].includes(value) ? value : DEFAULT_PLACE[key];
    else if (Object.hasOwn(DEFAULT_PLACE, key)) place[key] = value;
  }
  return place;
}

/** @returns {string} the shortest fragment that parsePlace makes this place of; empty for the default */
function fragmentOf(place) {
  const parameters = new URLSearchParams();
  for (const [key, usual] of Object.entries(DEFAULT_PLACE)) {
    const value = key === "states" ? place.states.join(",") : place[key];
    if (value !== null && value !== "" && value !== usual) parameters.set(key, String(value));
  }
  const text = parameters.toString();
  return text && `#${text}`;
}

/** The place of a window. Choosing a run is a step of the browser's history; all else replaces where one is. */
class Place {
  constructor(view) {
    this._window = view;
    this._listeners = [];
    this.now = parsePlace(view.location.hash);
    view.addEventListener("popstate", () => this._moved());
    view.addEventListener("hashchange", () => this._moved());
  }

  /** @param {function(object, Set<string>): void} listener is told of each new place, and which of its keys changed */
  listen(listener) {
    this._listeners.push(listener);
  }

  /** @param {object} changes some of a place's keys */
  change(changes) {
    const isStep = "run" in changes && changes.run !== this.now.run;
    const place = { ...this.now, ...changes };
    const { history, location } = this._window;
    const url = fragmentOf(place) || `${location.pathname}${location.search}`;
    if (isStep) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
    this._go(place);
  }

  _moved() {
    this._go(parsePlace(this._window.location.hash));
  }

  _go(place) {
    const changed = new Set(Object.keys(place).filter((key) => String(place[key]) !== String(this.now[key])));
    this.now = place;
    if (changed.size === 0) return;
    for (const listener of this._listeners) listener(place, changed);
  }
}

export { Place, fragmentOf, parsePlace };
