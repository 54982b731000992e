// Keys, ranking by dragging, time spent, results on request, and a submission that is tried until it is saved.
// The page works without this file. Text of programs is only ever set as text.
"use strict";
const byId = (id) => document.getElementById(id);
const form = byId("answer");
const say = (text) => { byId("status").textContent = text; };
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// A link that was handed to an annotator carries name and token behind the #, where no server log sees them.
const signIn = byId("sign-in");
if (signIn && location.hash.length > 1) {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  if (given.get("token")) {
    signIn.elements.name.value = given.get("name");
    signIn.elements.token.value = given.get("token");
    signIn.submit();
  }
}

// Time spent: while the page is looked at, and something happened within the last minute.
let spent = 0, last = performance.now(), stirred = last;
const IDLE = 60000;
const tick = () => {
  const now = performance.now();
  if (document.visibilityState === "visible" && now - stirred < IDLE) spent += now - last;
  last = now;
};
setInterval(tick, 500);
for (const kind of ["keydown", "pointerdown", "pointermove", "wheel"]) {
  addEventListener(kind, () => { tick(); stirred = performance.now(); }, {passive: true});
}

async function post(path, fields) {
  const answer = await fetch(path, {method: "POST", body: new URLSearchParams(fields), headers: {Accept: "application/json"}});
  if (answer.status >= 500) throw new Error("the server failed");
  return answer;
}

if (form) {
  const isPair = form.dataset.kind === "pair";
  const token = {csrf: form.elements.csrf.value, assignment: form.elements.assignment.value};
  const list = byId("programs");
  const programs = () => [...list.querySelectorAll(".program")];

  // Submitting: once, and again until the server has said that it is saved. The key makes repeating harmless.
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    byId("submit").disabled = true;
    tick();
    form.elements.seconds.value = (spent / 1000).toFixed(1);
    const fields = new FormData(form);
    for (let wait = 500; ; wait = Math.min(2 * wait, 8000)) {
      try {
        const answer = await post("/answer", fields);
        if (answer.ok) break;
        say((await answer.json()).error);
        busy = false;
        byId("submit").disabled = false;
        return;
      } catch {
        say("not saved yet: the server cannot be reached; trying again");
        await pause(wait);
      }
    }
    location.replace("/");
  });

  const pick = (name, value) => {
    for (const input of form.querySelectorAll(`input[name="${name}"]`)) if (input.value === value) input.checked = true;
    mark();
  };
  const mark = () => {
    if (!isPair) return;
    const chosen = form.elements.answer.value;
    for (const program of programs()) program.classList.toggle("chosen", program.dataset.name === chosen);
  };
  form.addEventListener("change", mark);
  mark();

  const toggleDiff = () => {
    const on = document.body.classList.toggle("with-diff");
    byId("diff").hidden = !on;
    byId("show-diff").setAttribute("aria-pressed", on);
  };
  byId("show-diff")?.addEventListener("click", toggleDiff);

  const element = (kind, text) => {
    const made = document.createElement(kind);
    made.textContent = text;
    return made;
  };
  const showResults = async () => {
    if (!byId("show-results")) return;
    try {
      const answer = await post("/results", token);
      const said = await answer.json();
      if (!answer.ok) return say(said.error);
      for (const program of programs()) {
        const result = said[program.dataset.name], place = program.querySelector(".results");
        place.replaceChildren(element("p", result ? `${result.outcome}: ${result.passed} of ${result.total} cases passed` : "not run"));
        for (const [outcome, detail, output] of result ? result.cases : []) {
          place.append(element("pre", `${outcome} ${detail}\n${output}`.trim()));
        }
        place.hidden = false;
      }
    } catch {
      say("the server cannot be reached; try again");
    }
  };
  byId("show-results")?.addEventListener("click", showResults);

  // Ranking: the order on the page and the ranks in the boxes are one thing.
  let at = -1;
  const rankOf = (program) => program.querySelector("select");
  const tiedAbove = () => programs().map((p, i, all) => i > 0 && rankOf(p).value === rankOf(all[i - 1]).value);
  const renumber = (tied) => {
    let rank = 0;
    programs().forEach((program, i) => {
      if (!tied[i]) rank = i + 1;
      rankOf(program).value = String(rank);
    });
  };
  const choose = (i) => {
    at = Math.max(0, Math.min(programs().length - 1, i));
    programs().forEach((program, j) => program.classList.toggle("chosen", j === at));
    programs()[at].focus({preventScroll: true});
    programs()[at].scrollIntoView({block: "nearest"});
  };
  const move = (program, to) => {
    const all = programs(), from = all.indexOf(program);
    if (to < 0 || to >= all.length || to === from) return;
    list.insertBefore(program, to < from ? all[to] : all[to].nextSibling);
    renumber(all.map(() => false));
    pick("answer", "ranking");
    choose(to);
  };
  if (!isPair) {
    let dragged = null;
    list.addEventListener("dragstart", (event) => {
      dragged = event.target.closest(".program");
      dragged.classList.add("dragged");
      event.dataTransfer.setData("text/plain", dragged.dataset.name);
      event.dataTransfer.effectAllowed = "move";
    });
    list.addEventListener("dragover", (event) => event.preventDefault());
    list.addEventListener("drop", (event) => {
      event.preventDefault();
      const over = event.target.closest(".program");
      if (dragged && over) move(dragged, programs().indexOf(over));
    });
    list.addEventListener("dragend", () => { dragged?.classList.remove("dragged"); dragged = null; });
    list.addEventListener("click", (event) => {
      const program = event.target.closest(".program"), i = programs().indexOf(program);
      if (event.target.closest(".up")) move(program, i - 1);
      else if (event.target.closest(".down")) move(program, i + 1);
    });
    list.addEventListener("change", () => {
      const order = programs().map((program, i) => [Number(rankOf(program).value), i, program]);
      order.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      const tied = order.map((entry, i) => i > 0 && entry[0] === order[i - 1][0]);
      list.append(...order.map((entry) => entry[2]));
      renumber(tied);
      pick("answer", "ranking");
    });
  }

  const keys = {
    t: () => isPair && pick("answer", "tie"),
    x: () => pick("answer", "both_bad"),
    a: () => isPair && pick("answer", "A"),
    b: () => isPair && pick("answer", "B"),
    1: () => pick("strength", "1"),
    2: () => pick("strength", "2"),
    3: () => pick("strength", "3"),
    d: () => isPair && toggleDiff(),
    r: showResults,
    w: () => form.elements.reason.focus(),
    Enter: () => form.requestSubmit(),
    ArrowDown: (event) => !isPair && (event.shiftKey ? at >= 0 && move(programs()[at], at + 1) : choose(at + 1)),
    ArrowUp: (event) => !isPair && (event.shiftKey ? at >= 0 && move(programs()[at], at - 1) : choose(at - 1)),
    "=": () => {
      if (isPair || at < 1) return;
      const tied = tiedAbove();
      tied[at] = !tied[at];
      renumber(tied);
      pick("answer", "ranking");
    },
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.matches("textarea")) {
      if (event.key === "Escape") event.target.blur();
      else if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
      return;
    }
    if (event.target.matches("select") || (event.key === "Enter" && event.target.matches("button"))) return;
    if (event.key in keys) {
      event.preventDefault();
      keys[event.key](event);
    }
  });
}

const undo = byId("undo");
if (undo) {
  addEventListener("keydown", (event) => {
    if (event.key === "u" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat && !event.target.matches("textarea, select, input[type=text]")) {
      event.preventDefault();
      undo.requestSubmit();
    }
  });
}
