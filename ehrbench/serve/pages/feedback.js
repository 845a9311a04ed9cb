"use strict";
// What became of a predicted record: told to /feedback by the prediction's id, where the server keeps predictions.

let keeps = { feedback: "none" }, kind = "binary";
let apiKey = "";  // typed once a page; never stored

function keptInWords(facts) {
  const days = `${facts.retention_days} ${facts.retention_days === 1 ? "day" : "days"}`;
  if (!facts.predictions) return "What you post goes to this server only and is not kept.";
  return facts.inputs
    ? `What you post and what is predicted of it are kept on this server for ${days}.`
    : `What is predicted is kept on this server for ${days}, with the range that each value falls in; what you post is not.`;
}

function outcomeOf(boxes, names) {
  if (kind === "binary") return boxes.find((box) => box.checked)?.value === "yes";
  if (kind === "multiclass") return boxes.find((box) => box.checked).value;
  return Object.fromEntries(names.map((name, i) => [name, boxes[i].checked]));
}

function feedbackForm(unit) {
  if (keeps.feedback === "none") return [];
  const names = Object.keys(unit.probability), several = kind === "multilabel";
  const choices = kind === "binary" ? [["yes", words(names[0])], ["no", "not " + words(names[0])]] : names.map((name) => [name, words(name)]);
  const boxes = choices.map(([value]) => element("input", { type: several ? "checkbox" : "radio", name: "outcome", value }));
  const fields = element("fieldset", {}, element("legend", {}, several ? "What of it came true?" : "What became of it?"),
    ...choices.map(([, text], i) => element("label", {}, boxes[i], " " + text)));
  const status = element("p", { class: "small", role: "status" }), send = element("button", {}, "Tell the outcome");
  const form = element("form", { class: "feedback" }, fields);
  if (keeps.feedback === "key") {
    const key = element("input", { type: "password", autocomplete: "off", name: "key" });
    key.value = apiKey;
    key.addEventListener("input", () => { apiKey = key.value; });
    form.append(element("label", { class: "small" }, "API key ", key));
  }
  form.append(send, status);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!several && !boxes.some((box) => box.checked)) { status.textContent = "Choose what became of it first."; return; }
    send.disabled = true;
    try {
      const headers = { "Content-Type": "application/json", ...(apiKey ? { Authorization: "Bearer " + apiKey } : {}) };
      const response = await fetch("/feedback", { method: "POST", headers, body: JSON.stringify({ prediction: unit.id, outcome: outcomeOf(boxes, names) }) });
      const answer = await response.json();
      status.textContent = response.ok
        ? "Kept, thank you." + (answer.times_told > 1 ? " It takes the place of what was told before." : "")
        : `Not kept: ${answer.error.problem}. ${answer.error.remedy || ""}`;
    } catch (error) {
      status.textContent = "Not kept: the server did not answer.";
    } finally {
      send.disabled = false;
    }
  });
  return [form];
}
