// A chart in its frame, and when charts are drawn: one in each frame of the screen, those first that can be seen. What can't
// be seen is drawn once, so that it is there when the reader comes, and then not again before that.
import { element, webglKind } from "./dom.js";

// Only these buttons: others of Plotly's upload charts, with the runs' data, to its makers.
const BUTTONS = ["toImage", "zoom2d", "pan2d", "resetScale2d"];
const BUTTONS_WITHOUT_AXES = ["toImage"];
// Charts are drawn a little before they are scrolled into view.
const DRAWN_AHEAD = "400px";
// Charts that follow the data take at most this share of the time.
const LIVE_SHARE = 0.2;

// Smoother lines are four times the work, most of it in the processor where there is no graphics card.
const MANY_LINES = 1000;

function hasManyLines({ data }) {
  return data[0].type === "parcoords" && data[0].line.color.length > MANY_LINES;
}

/** Without a graphics card, smooth edges of thousands of lines take longer than all else. Plotly has no setting for it. */
function withoutSmoothEdges(work) {
  const canvas = HTMLCanvasElement.prototype;
  const { getContext } = canvas;
  canvas.getContext = function getRoughContext(kind, settings) {
    return getContext.call(this, kind, kind === "webgl" ? { ...settings, antialias: false } : settings);
  };
  try {
    return work();
  } finally {
    canvas.getContext = getContext;
  }
}

/** What Plotly is told beside a figure. Where nothing can hover, its buttons would always cover a part of the chart. */
function plotlyConfig(figure) {
  const isTouch = matchMedia("(hover: none)").matches;
  return {
    displaylogo: false,
    displayModeBar: isTouch ? false : "hover",
    modeBarButtons: [figure.data[0].type === "parcoords" ? BUTTONS_WITHOUT_AXES : BUTTONS],
    plotGlPixelRatio: hasManyLines(figure) ? Math.max(1, window.devicePixelRatio) : 2,
    plotlyServerURL: "",
    responsive: true,
    showSendToCloud: false,
  };
}

/** A section with a title, controls, a chart or a sentence instead of it, and a caption. */
class Panel {
  /**
   * @param {string} name of its class and its data-panel
   * @param {string} title
   * @param {function(): object} figure what to draw now, see charts.js
   * @param {{controls: HTMLElement[], isWide: boolean, connect: function(HTMLElement), onNoWebgl: function()}} [options]
   *     connect: takes the element that tells of Plotly's events, when it begins to; onNoWebgl: Plotly could not draw
   *     what needs WebGL
   */
  constructor(name, title, figure, { controls = [], isWide = false, connect = () => {}, onNoWebgl = () => {} } = {}) {
    this._figure = figure;
    this._onNoWebgl = onNoWebgl;
    this._connect = connect;
    this._isConnected = false;
    this.isDirty = false;
    this.isVisible = false;
    this.plot = element("div.plot");
    this.empty = element("p.empty", { hidden: true });
    this.caption = element("p.caption", { hidden: true });
    const id = `panel-${name}`;
    this.node = element(
      isWide ? "section.panel.wide" : "section.panel", { "aria-labelledby": id, data: { panel: name } },
      element("header", {}, element("h2", { id }, title), ...controls),
      // A chart that is wider than a small screen scrolls in here.
      element("div.scroller", {}, this.plot), this.empty, this.caption,
    );
  }

  /** Draw, or say why there is nothing to be drawn. */
  async draw(plotly) {
    this.isDirty = false;
    const figure = this._figure();
    if (figure.empty) {
      this.say(figure.empty);
      return;
    }
    this.empty.hidden = true;
    this.plot.hidden = false;
    if (figure.layout.height) this.plot.style.height = `${figure.layout.height}px`;
    try {
      const draw = () => plotly.react(this.plot, figure.data, figure.layout, plotlyConfig(figure));
      await (hasManyLines(figure) && webglKind() === "software" ? withoutSmoothEdges(draw) : draw());
    } catch (error) {
      this.say(`This chart can't be drawn: ${error.message}`);
      return;
    }
    // Plotly's word for it is an element. The browser may have WebGL, and a security policy be in its way.
    if (this.plot.querySelector(".no-webgl")) {
      plotly.purge(this.plot);
      this._isConnected = false;
      this._onNoWebgl();
      return;
    }
    this.node.dataset.drawn = String(Number(this.node.dataset.drawn ?? 0) + 1);
    if (!this._isConnected) {
      this._isConnected = true;
      this._connect(this.plot);
    }
  }

  /** Show a sentence instead of the chart. */
  say(sentence) {
    if (this._isConnected) this.plot.replaceChildren();
    this.empty.textContent = sentence;
    this.empty.hidden = false;
    this.plot.hidden = true;
  }
}

/** Draws panels that are out of date, if they are in sight or were never drawn. */
class Drawing {
  /** @param {Promise<object>} plotly resolves to Plotly; panels say so if it rejects */
  constructor(plotly) {
    this._plotly = plotly;
    this._panels = new Map();
    this._isBusy = false;
    this._round_ms = 0;
    this._later = null;
    this._observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this._panels.get(target).isVisible = isIntersecting;
      this._run();
    }, { rootMargin: DRAWN_AHEAD });
    document.addEventListener("visibilitychange", () => this._run());
  }

  /** @param {Panel} panel is drawn from now on, in the order of adding */
  add(panel) {
    this._panels.set(panel.node, panel);
    this._observer.observe(panel.node);
  }

  /** What the panels show has changed; all of them if none is named. */
  invalidate(...panels) {
    for (const panel of panels.length > 0 ? panels : this._panels.values()) panel.isDirty = true;
    this._run();
  }

  /** The data has changed: draw all panels anew, but leave time for the reader where that takes long. */
  invalidateLater() {
    if (this._later !== null) return;
    const rest_ms = this._round_ms * (1 / LIVE_SHARE - 1);
    this._later = setTimeout(() => {
      this._later = null;
      this.invalidate();
    }, rest_ms);
  }

  async _run() {
    if (this._isBusy) return;
    this._isBusy = true;
    try {
      const plotly = await this._plotly;
      if (!plotly) throw new Error("Plotly is missing.");
      const began_ms = performance.now();
      for (let panel = this._next(); panel && !document.hidden; panel = this._next()) {
        await new Promise((resolve) => requestAnimationFrame(resolve));
        await panel.draw(plotly);
        this._round_ms = performance.now() - began_ms;
      }
    } catch (error) {
      for (const panel of this._panels.values()) panel.say(`Charts can't be drawn: ${error.message}`);
    } finally {
      this._isBusy = false;
    }
  }

  _next() {
    const dirty = [...this._panels.values()].filter((panel) => panel.isDirty);
    return dirty.find((panel) => panel.isVisible) ?? dirty.find((panel) => panel.node.dataset.drawn === undefined);
  }
}

export { Drawing, Panel };
