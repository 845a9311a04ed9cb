"use strict";
// Draws /openapi.json: each endpoint, its examples ready to send, what it answers. All text goes in as text nodes.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Backticks mark code in descriptions.
const prose = (text) => text.split("`").map((part, k) => (k % 2 ? element("code", {}, part) : part));

function examples(operation) {
  const found = [];
  for (const [type, body] of Object.entries(operation.requestBody?.content || {}))
    for (const example of Object.values(body.examples || {})) {
      const text = typeof example.value === "string" ? example.value : JSON.stringify(example.value, null, 2);
      found.push({ type, text, title: `${example.summary} (${type})` });
    }
  return found;
}

function curl(path, method, operation, type = Object.keys(operation.requestBody?.content || {})[0]) {
  const verb = ["get", "post"].includes(method) ? "" : ` -X ${method.toUpperCase()}`;
  const key = operation.security ? " -H 'Authorization: Bearer KEY'" : "";
  const body = type ? ` -H 'Content-Type: ${type}' --data-binary @FILE` : "";
  return `curl${verb} ${location.origin}${path}${key}${body}`;
}

function trying(path, method, operation) {
  const given = examples(operation), box = element("div");
  const command = element("pre", {}), output = element("pre", { hidden: "", "data-answer": path });
  const send = element("button", { class: "main", type: "button" }, "Send");
  let choice, field;
  if (given.length) {
    choice = element("select", { "aria-label": "Example" }, ...given.map((e, k) => element("option", { value: String(k) }, e.title)));
    field = element("textarea", { spellcheck: "false", "aria-label": "Body" });
    const pick = () => {
      field.value = given[Number(choice.value)].text;
      command.textContent = curl(path, method, operation, given[Number(choice.value)].type);
    };
    choice.addEventListener("change", pick);
    pick();
    box.append(element("div", { class: "row" }, choice), element("div", { class: "row" }, field));
  } else {
    command.textContent = curl(path, method, operation);
  }
  if (!given.length && (method !== "get" || path.includes("{"))) {  // it takes what only a caller knows
    box.append(command);
    return box;
  }
  send.addEventListener("click", async () => {
    send.disabled = true;
    const options = field ? { method: "POST", body: field.value, headers: { "Content-Type": given[Number(choice.value)].type } } : {};
    try {
      const response = await fetch(path, options), text = await response.text();
      const json = (response.headers.get("content-type") || "").startsWith("application/json");
      output.textContent = `${response.status} ${response.statusText}\n\n` + (json ? JSON.stringify(JSON.parse(text), null, 2) : text);
    } catch {
      output.textContent = "The server did not answer.";
    }
    output.hidden = false;
    send.disabled = false;
  });
  box.append(element("div", { class: "row" }, send), command, output);
  return box;
}

function endpoint(path, method, operation) {
  const answers = Object.entries(operation.responses).map(([status, answer]) => `${status} ${answer.description}`).join(" · ");
  const parameters = (operation.parameters || []).filter((p) => p.in === "query");
  const card = element("section", { class: "card stacked" },
    element("h2", {}, element("span", { class: "method" }, method.toUpperCase()), element("code", {}, path)),
    ...(operation.description || "").split("\n\n").map((text) => element("p", { class: "small" }, ...prose(text))));
  for (const p of parameters)
    card.append(element("p", { class: "small" }, element("code", {}, "?" + p.name), ": ", ...prose(p.description || "")));
  card.append(trying(path, method, operation), element("p", { class: "small faint" }, "Answers: " + answers));
  return card;
}

(async () => {
  const description = await (await fetch("/openapi.json")).json(), main = document.getElementById("endpoints");
  for (const [path, methods] of Object.entries(description.paths))
    for (const [method, operation] of Object.entries(methods)) main.append(endpoint(path, method, operation));
})();
