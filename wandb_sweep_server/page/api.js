// Requests to the server that this page came from.

/** A refused or failed request. status: of HTTP, 0 if the server couldn't be reached. */
class RequestError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function answerOf(url, options) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new RequestError("The server can't be reached.", 0);
  }
  if (!answer.ok) throw new RequestError(await refusal(answer), answer.status);
  return answer;
}

/** The server's own words for a refusal. */
async function refusal(answer) {
  if (answer.status === 401) return "Your login has ended. `hydra-sweep open` gives a new link.";
  const text = await answer.text();
  try {
    const { errors } = JSON.parse(text);
    return errors[0].message;
  } catch {
    return `The server answers ${answer.status} ${answer.statusText}.`;
  }
}

/** @returns {Promise<object>} @throws {RequestError} */
async function getJson(url) {
  return (await answerOf(url)).json();
}

/** @returns {Promise<string>} @throws {RequestError} */
async function getText(url) {
  return (await answerOf(url)).text();
}

/** Ask the server to do something. @returns {Promise<object>} @throws {RequestError} */
async function postJson(url, body) {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": token };
  return (await answerOf(url, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

export { RequestError, getJson, getText, postJson };
