// Buttons that steer a sweep. Stop and cancel ask first.
import { postJson } from "./api.js";
import { element } from "./dom.js";
import { LIVE_STATES, stateCounts } from "./facts.js";
import { counted } from "./format.js";

const OPEN_STATES = ["PENDING", "RUNNING", "PAUSED"];
const RETRIED_STATES = ["failed", "crashed"];
// What was stopped is run again only if that very run is meant.
const RETRIED_BY_NAME = [...RETRIED_STATES, "killed"];
const CONFIRMATIONS = {
  stop: {
    title: "Stop this sweep?", text: "No further trial begins. Trials that run now go on to their end.", yes: "Stop the sweep", no: "Let it go on",
  },
  cancel: {
    title: "Cancel this sweep?", text: "No further trial begins, and those that run now are stopped: what they haven't saved is lost.",
    yes: "Cancel the sweep", no: "Let it go on",
  },
};
const DONE = {
  pause: "Paused: no trial begins.", resume: "Trials begin again.", stop: "Stopped: running trials go on to their end.",
  cancel: "Cancelled: running trials are being stopped.",
};

/** Ask a question in a dialog. @returns {Promise<boolean>} */
function confirmed({ title, text, yes, no }) {
  return new Promise((resolve) => {
    const dialog = element("dialog", { "aria-labelledby": "question" },
      element("h2", { id: "question" }, title), element("p", {}, text),
      element("form.buttons", { method: "dialog" },
        element("button", { value: "no", autofocus: true }, no), element("button.danger", { value: "yes" }, yes)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** The buttons of a sweep's page. */
class Controls {
  /**
   * @param {string} base address of the sweep's data, to which an action is appended
   * @param {function(string, boolean): void} tell takes what came of it, and whether it failed
   */
  constructor(base, tell) {
    this._base = base;
    this._tell = tell;
    this._shown = "";
    this.node = element("div.buttons", { role: "group", "aria-label": "Steer the sweep" });
  }

  /** Offer what is possible now. */
  update(data) {
    const { state } = data.sweep;
    const counts = stateCounts(data);
    const isOpen = OPEN_STATES.includes(state);
    const isLive = LIVE_STATES.some((live) => counts[live]);
    const lost = RETRIED_STATES.reduce((sum, retried) => sum + (counts[retried] ?? 0), 0);
    const offered = [
      ...(state === "PAUSED" ? [["resume", "Resume"]] : isOpen ? [["pause", "Pause"]] : []),
      ...(isOpen ? [["stop", "Stop"]] : []),
      ...(isOpen || (isLive && state !== "CANCELED") ? [["cancel", "Cancel"]] : []),
      ...(lost > 0 ? [["retry", `Retry ${counted(lost, "trial")}`]] : []),
    ];
    const shown = JSON.stringify(offered);
    if (shown === this._shown) return;
    this._shown = shown;
    const focused = this.node.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    this.node.replaceChildren(...offered.map(([action, text]) => this._button(action, text)));
    // Pause has become resume, or whatever comes first now.
    if (focused) (this.node.querySelector(`[data-action=${focused}]`) ?? this.node.querySelector("button"))?.focus();
  }

  /** @returns {HTMLElement[]} what can be done with a run */
  ofRun(id, state) {
    if (!RETRIED_BY_NAME.includes(state)) return [];
    return [element("button", { type: "button", onclick: () => this._act("retry", { runs: [id] }) }, "Run again")];
  }

  _button(action, text) {
    const tag = action in CONFIRMATIONS ? "button.danger" : "button";
    const title = action === "retry" ? `Those that are ${RETRIED_STATES.join(", ")} are offered again, under their run ids` : "";
    return element(tag, { type: "button", title, data: { action }, onclick: () => this._act(action, {}) }, text);
  }

  async _act(action, body) {
    if (action in CONFIRMATIONS && !(await confirmed(CONFIRMATIONS[action]))) return;
    try {
      const answer = await postJson(`${this._base}/${action}`, body);
      const done = action === "retry" ? `${counted(answer.runs, "trial")} offered again.` : DONE[action];
      this._tell([done, answer.message].filter(Boolean).join(" "), false);
    } catch (error) {
      this._tell(error.message, true);
    }
  }
}

export { Controls };
