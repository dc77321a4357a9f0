// Elements. Every text goes in as text: nothing here, or anywhere else on the page, reads HTML from a string.

/**
 * An element with properties, attributes and children.
 * @param {string} tag such as "p", or "p.note.quiet" with classes
 * @param {object} [settings] `on…` are listeners, `data` the data set; names with a dash, and role, scope and for are
 *     attributes; all else properties
 * @param {...(Node|string|null)} children nulls are left out
 * @returns {HTMLElement}
 */
function element(tag, settings = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  if (classes.length > 0) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(settings)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(made.dataset, value);
    else if (key.includes("-") || ["role", "scope", "for"].includes(key)) made.setAttribute(key, String(value));
    else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * Have a node hold these elements. Each that looks as before stays as it is, with the focus and a click that has begun;
 * what its listeners depend on has to be seen in its attributes.
 * @param {HTMLElement} node holds elements only
 * @param {...HTMLElement} children
 */
function showChildren(node, ...children) {
  children.forEach((child, index) => {
    const old = node.children[index];
    if (!old) node.append(child);
    else if (!old.isEqualNode(child)) old.replaceWith(child);
  });
  while (node.children.length > children.length) node.lastElementChild.remove();
}

/** A state as a coloured dot and its name. */
function stateBadge(state, title = "") {
  return element("span.state", { title, data: { state: state.toLowerCase() } }, element("span.dot", { "aria-hidden": true }), state.toLowerCase());
}

/**
 * A row of buttons of which one is pressed.
 * @param {string} label for those who don't see it
 * @param {[string, string][]} choices value and text
 * @param {function(string): void} choose
 * @returns {{node: HTMLElement, show: function(string): void}}
 */
function segmented(label, choices, choose) {
  const buttons = choices.map(([value, text]) => element("button", { type: "button", data: { value }, onclick: () => choose(value) }, text));
  const node = element("div.segmented", { role: "group", "aria-label": label }, ...buttons);
  const show = (chosen) => buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.value === chosen)));
  return { node, show };
}

/**
 * A list to choose from, with its label.
 * @returns {{node: HTMLElement, show: function(string[], string|null): void}}
 */
function labelledSelect(label, choose) {
  const select = element("select", { onchange: () => choose(select.value) });
  const node = element("label.field", {}, element("span", {}, label), select);
  const show = (names, chosen) => {
    const known = Array.from(select.options, (option) => option.value);
    if (known.length !== names.length || known.some((name, index) => name !== names[index])) {
      select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    }
    if (chosen !== null) select.value = chosen;
    node.hidden = names.length < 2;
  };
  return { node, show };
}

const SOFTWARE_RENDERERS = /swiftshader|llvmpipe|softpipe|software|basic render/i;
let knownWebgl = null;

/** @returns {"none"|"software"|"hardware"} what draws with WebGL here; to ask for the first time takes a while */
function webglKind() {
  knownWebgl ??= findWebgl();
  return knownWebgl;
}

function findWebgl() {
  const context = document.createElement("canvas").getContext("webgl");
  if (context === null) return "none";
  // Some browsers tell by the extension alone, some without it, and some not at all.
  const name = context.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER;
  const kind = SOFTWARE_RENDERERS.test(context.getParameter(name)) ? "software" : "hardware";
  // Browsers have few contexts at a time: this one is given back.
  context.getExtension("WEBGL_lose_context")?.loseContext();
  return kind;
}

export { element, labelledSelect, segmented, showChildren, stateBadge, webglKind };
