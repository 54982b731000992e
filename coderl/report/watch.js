// Renews the page when the run has written something: text is replaced, what was folded open stays so.
const live = document.getElementById("live");
let shown = live.dataset.version;
const name = (details) => details.querySelector("summary").textContent;
async function renew() {
  try {
    const version = await (await fetch("/version")).text();
    if (version !== shown) {
      const text = await (await fetch("/")).text();
      const next = new DOMParser().parseFromString(text, "text/html").querySelector("main");
      const open = new Set([...document.querySelectorAll("details[open]")].map(name));
      for (const details of next.querySelectorAll("details")) details.open = open.has(name(details));
      document.querySelector("main").replaceWith(next);
      shown = version;
    }
    live.textContent = "live: renews itself while the run goes on";
  } catch (error) {
    live.textContent = "the watch has ended: this is the last it showed";
  }
}
renew();
setInterval(renew, 1000 * Number(live.dataset.seconds));
