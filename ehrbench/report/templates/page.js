(() => {
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = dark() ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  label();

  // A legend's names bring one model to the fore, with its band, in all figures of the same group.
  for (const group of document.querySelectorAll("[data-focus-group]")) {
    for (const name of group.querySelectorAll(".legend button")) {
      name.addEventListener("click", () => {
        const on = name.getAttribute("aria-pressed") !== "true", kind = name.dataset.kind;
        for (const other of group.querySelectorAll(".legend button"))
          other.setAttribute("aria-pressed", String(on && other.dataset.kind === kind));
        group.classList.toggle("focused", on);
        for (const mark of group.querySelectorAll(".plot .line, .plot .band, .plot .dot"))
          mark.classList.toggle("focus", on && mark.classList.contains(kind));
      });
    }
  }

  const pick = document.getElementById("class-pick");
  if (pick) {
    const show = () => { for (const panel of document.querySelectorAll(".class-panel")) panel.hidden = panel.dataset.name !== pick.value; };
    pick.addEventListener("change", show);
    show();
  }

  // What is folded away on screen is needed on paper.
  addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
})();
