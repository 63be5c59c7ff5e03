// One case: its function, its points, and every answer beside what is right.

const SHOWN_AT_ONCE = 9;
const SHOWN_AT_ONCE_OF_INPUTS = 36;
const CALM = ["pass", "unsupported"];
const OPEN_AT_MOST = 8;

// An array as nested lists; `right` are the words to hold it against, `mark` the entry to point out. A long one is
// folded, unless there is something to point out.
function arrayNode(text, right, mark = -1, most = SHOWN_AT_ONCE) {
  const { shape, words, whole } = parsed(text);
  if (!words.length) return make("span", { class: "num" }, whole);
  const entry = (i) => {
    const content = differing(words[i], right?.[i]);
    return i === mark ? make("mark", { title: "the worst entry" }, content) : make("span", null, content);
  };
  if (!shape.length) return make("span", { class: "num" }, differing(words[0], right?.[0]));
  const pieces = nested(shape, words, entry);
  if (words.length <= most) return make("span", { class: "num lines" }, pieces);
  const at = mark >= 0 ? `, worst at ${indexText(shape, mark)}: ${words[mark]}` : "";
  return make("details", { class: "array", open: mark >= 0 },
    make("summary", null, make("span", { class: "num" }, `${shape.join(" × ")} array${at}`)),
    make("pre", { class: "num" }, pieces));
}

function nested(shape, words, entry) {
  const width = shape.length > 1 ? Math.max(...words.map((word) => word.length)) : 0;
  let position = 0;
  const walk = (depth) => {
    if (depth === shape.length) {
      const i = position++;
      return [" ".repeat(Math.max(0, width - words[i].length)), entry(i)];
    }
    const parts = ["["];
    for (let k = 0; k < shape[depth]; k++) {
      if (k) parts.push(depth === shape.length - 1 ? ", " : `,\n${" ".repeat(depth + 1)}`);
      parts.push(...walk(depth + 1));
    }
    parts.push("]");
    return parts;
  };
  return walk(0);
}

function indexText(shape, flat) {
  const index = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(flat % shape[axis]);
    flat = Math.floor(flat / shape[axis]);
  }
  return `[${index.join(", ")}]`;
}

// A number whose digits are set off from where they part with the right ones.
function differing(word, right) {
  if (right === undefined || word === right || !/^[-\d]/.test(word) || !/^[-\d]/.test(right)) return [word];
  let same = 0;
  const end = word.indexOf("e") < 0 ? word.length : word.indexOf("e");
  const power = (text) => (text.indexOf("e") < 0 ? "" : text.slice(text.indexOf("e")));
  if (power(word) === power(right)) while (same < end && word[same] === right[same]) same++;
  if (same >= end) return [word];
  return [word.slice(0, same), make("span", { class: "off" }, word.slice(same, end)), word.slice(end)];
}

function copyButton(text) {
  const button = make("button", { type: "button", class: "small", "aria-label": `Copy: ${text}` }, "Copy");
  button.addEventListener("click", async () => {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling); // the person can copy what is selected
      done = "Selected";
    }
    button.textContent = done;
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

class CasePage {
  constructor(store, section) {
    Object.assign(this, { store, section });
  }

  show(name, highlighted, neighbours) {
    const { store, section } = this;
    const number = store.caseNumber.get(name);
    if (number === undefined) {
      const link = make("a", { href: "#view=cases" }, "See all cases");
      section.replaceChildren(make("h1", { id: "case-title", tabindex: "-1" }, "No such case"),
        make("p", null, `This report has no case “${name}”. `, link, "."));
      return;
    }
    this.highlighted = highlighted;
    const one = store.cases[number];
    const questions = [...new Set(store.rowsOfCase[number].map((row) => store.code.question[row]))];
    section.replaceChildren(
      this.crumbs(one, neighbours),
      make("h1", { id: "case-title", tabindex: "-1" }, one.name),
      make("p", { class: "chips" }, this.summary(store.rowsOfCase[number], store.leftOf[number])),
      this.remark(store.leftOf[number]),
      one.description ? make("p", { class: "lead" }, one.description) : "",
      this.facts(one),
      ...this.formula(one),
      ...this.explanations(one),
      ...this.points(one, questions),
    );
  }

  // What `gradbench explain` has put into the report: a panel for each point that was explained, folded.
  explanations(one) {
    const found = [...document.querySelectorAll("template.explanation")].filter((part) => part.dataset.case === one.name);
    return found.map((part) => make("details", { class: "block", open: found.length === 1 },
      make("summary", null, make("strong", null, "Explanation"), ` ${part.dataset.part}`),
      part.content.cloneNode(true)));
  }

  crumbs(one, { previous, next }) {
    const link = (name, text, rel) => (name === undefined ? "" : make("a", { href: address({ case: name }), rel, title: name }, text));
    return make("nav", { class: "crumbs", "aria-label": "Where this case is" },
      make("a", { href: "#view=cases" }, "Cases"), make("span", { "aria-hidden": "true" }, "›"),
      make("a", { href: address({ view: "cases", topic: one.topic }) }, one.topic || "no topic"),
      make("span", { class: "gap" }), link(previous, "← previous", "prev"), link(next, "next →", "next"));
  }

  // How often each verdict was given, the worst first.
  summary(rows, left = []) {
    const { store } = this, counts = new Uint32Array(store.verdicts.length);
    for (const row of rows) counts[store.code.verdict[row]]++;
    for (const [, verdict, count] of left) counts[verdict] += count;
    return [...counts].flatMap((n, verdict) => (n ? [chip(store, verdict, `${n} ${store.verdicts[verdict]}`), " "] : []));
  }

  // A page of a very long run doesn't list everything.
  remark(left) {
    const count = left.reduce((sum, [, , n]) => sum + n, 0);
    if (!count) return "";
    return make("p", { class: "banner" }, `${count.toLocaleString("en")} of these answers are counted here and not listed: results.csv has them.`);
  }

  facts(one) {
    const fact = (title, ...content) => make("div", { class: title === "Run it again" ? "wide" : undefined }, make("dt", null, title), make("dd", null, ...content));
    return make("dl", { class: "run" },
      one.source ? fact("Source", one.source) : "",
      one.file ? fact("File", make("code", null, one.file)) : "",
      one.tags.length ? fact("Tags", one.tags.flatMap((tag, i) => [i ? ", " : "", make("a", { href: address({ view: "cases", q: tag }) }, tag)])) : "",
      one.tolerance ? fact("Its own tolerance", one.tolerance) : "",
      fact("Run it again", make("code", null, `${one.command} --report reports/repro`), copyButton(`${one.command} --report reports/repro`)));
  }

  formula(one) {
    const typeset = make("div", { class: "formula", tabindex: "0", role: "region", "aria-label": "The function as mathematics" });
    const template = document.createElement("template");
    template.innerHTML = one.mathematics; // made by gradbench itself, every name escaped
    typeset.append(template.content);
    const rules = Object.entries(one.rules).map(([key, rule]) =>
      make("details", null, make("summary", null, `The ${key} written by hand`), make("pre", null, rule)));
    return [make("h2", null, "Function"),
      make("div", { class: "pair" }, one.mathematics ? typeset : "", make("pre", { class: "code", tabindex: "0", "aria-label": "The function as written" }, one.function)),
      ...rules];
  }

  points(one, questions) {
    const { store } = this, q = store.questions;
    const byPoint = new Map();
    for (const question of questions) {
      if (!byPoint.has(q.point[question])) byPoint.set(q.point[question], []);
      byPoint.get(q.point[question]).push(question);
    }
    this.chosen = this.choose(questions);
    this.blocks = new Map();
    const found = [...byPoint].flatMap(([point, members]) => {
      const line = q.place[members[0]];
      return [
        make("h2", null, `Point ${point} `, line ? make("span", { class: "quiet" }, `${one.file}:${line}`) : ""),
        this.inputs(members),
        ...members.map((question) => this.block(question)),
      ];
    });
    return [...this.findings(questions), ...found];
  }

  // Every fold with answers, opened or as it was before.
  unfold(on) {
    for (const fold of this.blocks?.values() ?? []) {
      if (on) {
        fold.before = fold.open;
        fold.open = true;
        fold.fill();
      } else fold.open = fold.before;
    }
  }

  title(question) {
    const { store } = this, q = store.questions;
    return `${store.texts[q.operator[question]]} ${store.texts[q.dtype[question]]}, point ${q.point[question]}`;
  }

  rowsOf(question) {
    const { store } = this;
    return store.callsOf[question].flatMap((call) => store.rowsOfCall[call]);
  }

  isCalm(row) {
    return CALM.includes(this.store.verdicts[this.store.code.verdict[row]]);
  }

  isMine(row) {
    return this.highlighted.has(this.store.labels[this.store.code.target[row]]);
  }

  // Which folds are open from the start: what went wrong for the target that was asked about, else what went wrong at
  // all, else the first.
  choose(questions) {
    if (questions.length <= 4) return new Set(questions);
    const wrong = questions.filter((question) => this.rowsOf(question).some((row) => !this.isCalm(row)));
    const mine = wrong.filter((question) => this.rowsOf(question).some((row) => !this.isCalm(row) && this.isMine(row)));
    const chosen = mine.length ? mine : wrong.length && !this.highlighted.size ? wrong : questions;
    return new Set(chosen.slice(0, chosen === questions ? 2 : OPEN_AT_MOST));
  }

  // What isn't a plain pass, with a way to where it stands.
  findings(questions) {
    const { store } = this, lines = new Map();
    for (const question of questions) {
      for (const row of this.rowsOf(question)) {
        if (this.isCalm(row)) continue;
        const verdict = store.code.verdict[row], label = store.labels[store.code.target[row]];
        const said = [store.text("reason", row), store.text("detail", row).split("\n")[0]].filter(Boolean).join(": ");
        const key = JSON.stringify([verdict, question, said]);
        if (!lines.has(key)) lines.set(key, { verdict, question, said, labels: new Set() });
        lines.get(key).labels.add(label);
      }
    }
    if (!lines.size) return [];
    const found = [...lines.values()].sort((a, b) => a.verdict - b.verdict || a.question - b.question);
    const items = found.slice(0, 30).map(({ verdict, question, said, labels }) => {
      const go = () => {
        const fold = this.blocks.get(question);
        fold.open = true;
        fold.firstElementChild.focus();
        fold.scrollIntoView({ block: "start" });
      };
      return make("li", null, chip(store, verdict), " ", make("strong", null, [...labels].join(", ")), " ",
        make("button", { type: "button", class: "link", onclick: go }, this.title(question)), " ", make("span", { class: "quiet" }, said));
    });
    const left = found.length - items.length;
    return [make("h2", null, "What needs a look"), make("ul", { class: "look" }, items),
      left ? make("p", { class: "quiet" }, `… and ${left} more below`) : ""];
  }

  // The inputs of a point, with a column for each dtype in which they are other numbers.
  inputs(members) {
    const { store } = this, q = store.questions;
    const names = [], byDtype = new Map();
    for (const question of members) {
      const dtype = store.texts[q.dtype[question]], given = new Map();
      for (let i = 0; i < q.given[question].length; i += 3) {
        const [kind, name, array] = q.given[question].slice(i, i + 3);
        if (kind === 0) given.set(store.texts[name], store.arrays[array]);
      }
      for (const name of given.keys()) if (!names.includes(name)) names.push(name);
      if (!byDtype.has(dtype)) byDtype.set(dtype, given);
    }
    const kept = new Map();
    for (const [dtype, given] of byDtype) {
      const same = [...kept].find(([, other]) => names.every((name) => other.get(name) === given.get(name)));
      if (same) {
        kept.delete(same[0]);
        kept.set(`${same[0]}, ${dtype}`, given);
      } else kept.set(dtype, given);
    }
    const rows = names.map((name) => make("tr", null, make("th", { scope: "row" }, name),
      [...kept.values()].map((given) => make("td", null, given.has(name) ? arrayNode(given.get(name), undefined, -1, SHOWN_AT_ONCE_OF_INPUTS) : ""))));
    const head = make("tr", null, make("th", { scope: "col" }, "Input"), [...kept.keys()].map((dtype) => make("th", { scope: "col" }, dtype)));
    return scroller(`Inputs of point ${q.point[members[0]]}`, make("table", { class: "inputs" }, make("thead", null, head), make("tbody", null, rows)));
  }

  // What was asked once: a fold with its answers, filled when it is opened.
  block(question) {
    const { store } = this, q = store.questions;
    const rows = this.rowsOf(question);
    const fold = make("details", { class: "block", open: this.chosen.has(question) },
      make("summary", null, make("strong", null, store.texts[q.operator[question]]), ` ${store.texts[q.dtype[question]]} `, this.summary(rows)));
    const fill = () => {
      if (fold.open && fold.childElementCount === 1) fold.append(...this.answers(question, rows));
    };
    fold.fill = fill;
    fold.addEventListener("toggle", fill);
    fill();
    this.blocks.set(question, fold);
    return fold;
  }

  answers(question, rows) {
    const { store } = this, q = store.questions;
    const notes = q.disputes[question].map((text) => make("p", { class: "banner" }, store.texts[text]));
    const directions = [];
    for (let i = 0; i < q.given[question].length; i += 3) {
      const [kind, name, array] = q.given[question].slice(i, i + 3);
      if (kind === 1) directions.push(make("div", { class: "given" }, `${store.texts[name]}: `, arrayNode(store.arrays[array])));
    }
    const columns = ["Target", "Verdict", "Answer", "Absolute error", "Relative error", "Ulps", "Allowed", "By the rule"];
    const head = make("tr", null, columns.map((title, i) => make("th", { scope: "col", class: i > 2 && i < 7 ? "n" : undefined }, title)));
    const bodies = q.keys[question].map((key, i) => this.keyed(question, i, rows.filter((row) => {
      const at = q.keys[question].indexOf(store.rows.input[row]);
      return at === i || (at < 0 && i === 0);
    })));
    return [...notes, ...directions,
      scroller(`Answers: ${this.title(question)}`, make("table", { class: "answers" }, make("thead", null, head), bodies)),
      make("details", { class: "calls" }, make("summary", null, "Seconds, and the command for each target"), this.calls(question))];
  }

  // The answers under one key, below what is right.
  keyed(question, position, rows) {
    const { store } = this, { truths } = store;
    const at = store.truthStart[question] + position;
    const key = store.texts[store.questions.keys[question][position]];
    const known = truths.right[at] >= 0;
    const right = known ? parsed(store.arrays[truths.right[at]]).words : undefined;
    const none = rows.some((row) => /^(integer|boolean)-input$/.test(store.text("reason", row)));
    const about = [];
    if (truths.radius[at]) about.push(`uncertain by at most ${brief(truths.radius[at])}`);
    if (truths.sigma[at] !== null) about.push(`rounding moves it by ${brief(truths.sigma[at])} (σ)`);
    const said = truths.stated[at] < 0 ? [] : [make("span", null, "the case states "), arrayNode(store.arrays[truths.stated[at]])];
    const title = key ? `right, by ${key}` : "right";
    return make("tbody", null,
      make("tr", { class: "truth" }, make("th", { scope: "row" }, title),
        make("td", null, known ? store.texts[truths.source[at]] || "nobody" : ""),
        make("td", null, known ? arrayNode(store.arrays[truths.right[at]]) : none ? "there is no derivative" : "no reference could say"),
        make("td", { colspan: "5" }, about.join("; "), about.length && said.length ? "; " : "", said)),
      rows.flatMap((row) => this.row(row, right)));
  }

  row(row, right) {
    const { store } = this, r = store.rows;
    const label = store.labels[store.code.target[row]];
    const [answer, truth] = store.worst(row);
    const number = r.answer[row];
    const size = number < 0 ? 0 : parsed(store.arrays[number]).words.length;
    const calm = store.verdicts[store.code.verdict[row]] === "pass";
    const content = number < 0 ? [] : [arrayNode(store.arrays[number], size === right?.length ? right : undefined, size > 1 && !calm ? r.worst[row] : -1)];
    if (store.text("pair", row)) {
      const shape = store.arrays[number].split("x").map(Number);
      content.push(make("div", { class: "num" }, `worst at ${indexText(shape, r.worst[row])}: ${answer} where ${truth} is right`));
    }
    const ulps = [brief(r.ulps[row]), make("span", { class: "quiet" }, ` ${store.text("grade", row)}`)];
    const cells = [
      make("th", { scope: "row" }, label),
      make("td", null, chip(store, store.code.verdict[row]), store.text("reason", row) ? make("span", { class: "quiet" }, ` ${store.text("reason", row)}`) : ""),
      make("td", null, content),
      make("td", { class: "n" }, brief(r.absolute[row])), make("td", { class: "n" }, brief(r.relative[row])),
      make("td", { class: "n" }, r.ulps[row] === null ? "" : ulps),
      make("td", { class: "n" }, brief(r.allowed[row])), make("td", null, store.text("rule", row)),
    ];
    const mine = this.isMine(row) ? "mine" : undefined;
    const found = [make("tr", { class: mine }, cells)];
    const bad = r.bad[row] && r.size[row] > 1 ? `${r.bad[row]} of ${r.size[row]} entries. ` : "";
    // Of a single number this says nothing that the columns don't.
    const detail = store.text("detail", row).replace(r.size[row] === 1 ? "1 of 1 beyond the tolerance" : "", "").trim();
    if (detail || bad) {
      const text = detail.startsWith(`${r.bad[row]} of `) ? detail : bad + detail;
      found.push(make("tr", { class: "detail" }, make("td"), make("td", { colspan: "7" }, message(text))));
    }
    return found;
  }

  calls(question) {
    const { store } = this, q = store.questions, c = store.calls;
    const one = store.cases[q.case[question]];
    const operator = store.texts[q.operator[question]].split(" ")[0], dtype = store.texts[q.dtype[question]];
    const rows = store.callsOf[question].map((call) => {
      const target = store.targets[c.target[call]];
      const command = `${one.command} --target ${target.option} --operator ${operator} --dtype ${dtype} --report reports/repro`;
      return make("tr", null, make("th", { scope: "row" }, target.label),
        make("td", { class: "n" }, duration(c.seconds[call]) || "–"), make("td", { class: "n" }, duration(c.first[call]) || "–"),
        make("td", null, store.texts[c.notes[call]]),
        make("td", { class: "command" }, make("code", null, command), copyButton(command)));
    });
    const titles = ["Target", "Seconds", "First call", "Notes", "Command"];
    const head = make("tr", null, titles.map((title, i) => make("th", { scope: "col", class: i === 1 || i === 2 ? "n" : undefined }, title)));
    return scroller(`Seconds and commands: ${this.title(question)}`, make("table", null, make("thead", null, head), make("tbody", null, rows)));
  }
}

// What was said, whole if it is short, folded if it is long.
function message(text) {
  const lines = text.split("\n");
  if (lines.length <= 4 && text.length < 400) return make("div", { class: "message" }, text);
  const first = (lines.find((line) => line.trim()) ?? "").slice(0, 160);
  return make("details", null, make("summary", null, first), make("pre", { class: "message" }, text));
}

function scroller(label, ...children) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, ...children);
}
