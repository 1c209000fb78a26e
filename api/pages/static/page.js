// The page works without this: it copies, points at charts, and keeps the live day up to date.
"use strict";

const svg = (name, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};

function addCopyButton(box) {
  if (!navigator.clipboard) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "second";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  box.append(button);
}

// A tooltip says what the table behind the chart says in that row.
function addTips(plot) {
  const table = document.getElementById(plot.dataset.tips);
  const chart = plot.querySelector(".chart");
  if (!table || !chart) return;
  const heads = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
  const rows = [...table.querySelectorAll("tbody tr")].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  if (!rows.length) return;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  plot.append(tip);
  const rule = svg("line", { class: "rule", y1: 0, y2: chart.getAttribute("height") - 30, visibility: "hidden" });
  chart.append(rule);
  const onPoints = plot.dataset.tipsAt === "points";
  let shown = -1;

  const hide = () => { shown = -1; tip.hidden = true; rule.setAttribute("visibility", "hidden"); };
  const show = (index) => {
    if (index === shown) return;
    shown = index;
    const share = onPoints ? (index + 1) / rows.length : (index + 0.5) / rows.length;
    rule.setAttribute("x1", `${share * 100}%`);
    rule.setAttribute("x2", `${share * 100}%`);
    rule.setAttribute("visibility", "visible");
    const head = document.createElement("b");
    head.textContent = rows[index][0];
    tip.replaceChildren(head);
    rows[index].slice(1).forEach((text, column) => {
      if (text === "" || text === "–") return;
      const line = document.createElement("div");
      line.textContent = `${heads[column + 1]}: ${text}`;
      tip.append(line);
    });
    tip.hidden = false;
    const box = chart.getBoundingClientRect();
    const left = box.left - plot.getBoundingClientRect().left + share * box.width;
    const room = plot.clientWidth - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(room, left > room - 14 ? left - tip.offsetWidth - 12 : left + 12))}px`;
  };
  const at = (event) => {
    const box = chart.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const index = onPoints ? Math.round(share * rows.length) - 1 : Math.floor(share * rows.length);
    show(Math.max(0, Math.min(rows.length - 1, index)));
  };
  chart.addEventListener("pointermove", at);
  chart.addEventListener("pointerdown", at);
  chart.addEventListener("pointerleave", hide);
  chart.setAttribute("tabindex", "0");
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    show(shown < 0 ? rows.length - 1 : Math.max(0, Math.min(rows.length - 1, shown + step)));
  });
}

// The same page's part that changes by itself is fetched anew while somebody can see it and is not inside it.
function keepLive(part) {
  let last = part.innerHTML;
  let timer = 0;
  const usual = Math.max(3, Number(part.dataset.live)) * 1000;
  let pause = usual;
  const refresh = async () => {
    try {
      const answer = await fetch(location.href, { headers: { "X-Castledger-Fragment": "live" } });
      // Signed out; or what stands around the part has changed with it.
      if (answer.status === 401 || answer.status === 205) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      if (text !== last && !part.contains(document.activeElement) && !part.querySelector(".tip:not([hidden])")) {
        const open = [...part.querySelectorAll("details")].map((details) => details.open);
        part.innerHTML = text;
        last = text;
        part.querySelectorAll("details").forEach((details, index) => { details.open = Boolean(open[index]); });
        part.querySelectorAll("[data-tips]").forEach(addTips);
      }
      pause = usual;
    } catch {
      pause = Math.min(pause * 2, 300000);
    }
    schedule();
  };
  const schedule = () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") timer = setTimeout(refresh, pause);
  };
  document.addEventListener("visibilitychange", schedule);
  schedule();
}

// A button that is pressed twice sends its form once; a page that is gone back to can send again.
function sendOnce(form) {
  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  addEventListener("pageshow", () => { isSent = false; });
}

document.querySelectorAll("form[data-once]").forEach(sendOnce);
document.querySelectorAll(".copy").forEach(addCopyButton);
document.querySelectorAll("[data-tips]").forEach(addTips);
document.querySelectorAll("[data-live]").forEach(keepLive);
