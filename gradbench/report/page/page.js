// The page itself: what is shown for an address, the filter bar, the two large tables, theme and print.

const ROW_COLUMNS = [
  { name: "verdict", title: "Verdict", sort: true, width: "verdict" },
  { name: "case", title: "Case", sort: true, width: "case" },
  { name: "target", title: "Target", sort: true, width: "target" },
  { name: "operator", title: "Operator", sort: true, width: "word" },
  { name: "input", title: "By", sort: true, width: "tiny" },
  { name: "dtype", title: "Dtype", sort: true, width: "small" },
  { name: "point", title: "Point", sort: true, width: "tiny", class: "n" },
  { name: "ulps", title: "Ulps", sort: true, width: "number", class: "n" },
  { name: "answer", title: "Worst entry", width: "answer" },
  { name: "truth", title: "Right there", width: "answer" },
  { name: "detail", title: "What was said", sort: true, width: "detail" },
  { name: "relative", title: "Relative", sort: true, width: "number", class: "n" },
  { name: "absolute", title: "Absolute", sort: true, width: "number", class: "n" },
  { name: "seconds", title: "Seconds", sort: true, width: "number", class: "n" },
  { name: "first", title: "First call", sort: true, width: "number", class: "n" },
  { name: "topic", title: "Topic", sort: true, width: "word" },
  { name: "device", title: "Device", sort: true, width: "small" },
];
const TITLES = {
  verdict: "Verdict", topic: "Topic", target: "Target", operator: "Operator", dtype: "Dtype", device: "Device",
};
const AT_MOST_IN_PRINT = 1000;

class Page {
  constructor(store) {
    this.store = store;
    this.sections = Object.fromEntries([...VIEWS, "case"].map((view) => [view, document.getElementById(view)]));
    this.links = [...document.querySelectorAll("header nav a")];
    this.casePage = new CasePage(store, this.sections.case);
    this.rowGrid = new Grid({ label: "Table of rows", columns: ROW_COLUMNS, draw: (row) => this.drawRow(row), onSort: (name) => this.sortBy(name) });
    const caseColumns = [{ name: "case", title: "Case", sort: true, width: "matrix", class: "first" },
      ...store.labels.map((label) => ({ name: label, title: label, sort: true, width: "cell" }))];
    this.caseGrid = new Grid({ label: "Table of cases by targets", columns: caseColumns, narrow: "matrix", draw: (item) => this.drawCase(item), onSort: (name) => this.sortBy(name) });
    this.caseGrid.table.style.width = `${18 + 10 * store.labels.length}rem`;
    this.buildFilters();
    this.status = make("p", { role: "status", class: "status" });
    this.toggle = make("button", { type: "button", onclick: () => this.change({ all: !this.state.all }) });
    this.caseNote = make("p", { class: "status", role: "status" });
    this.sections.rows.append(this.status, this.rowGrid.element);
    this.sections.cases.append(make("p", { class: "toggle" }, this.caseNote, this.toggle), this.caseGrid.element);
    document.querySelector("header nav").hidden = false;
    addEventListener("hashchange", () => this.follow());
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
    this.follow(true);
  }

  // Addresses

  follow(first) {
    const before = this.state;
    this.state = readState(location.hash);
    const { view } = this.state;
    for (const [name, section] of Object.entries(this.sections)) section.hidden = name !== view;
    for (const link of this.links) {
      const mine = link.hash === `#view=${view === "case" ? "cases" : view}`;
      if (mine) link.setAttribute("aria-current", view === "case" ? "true" : "page");
      else link.removeAttribute("aria-current");
    }
    this.draw();
    const moved = !before || before.view !== view || before.case !== this.state.case;
    if (!first && moved) {
      scrollTo(0, 0);
      this.sections[view].querySelector("h1")?.focus({ preventScroll: true });
    }
  }

  // A change made with the filter bar: the address follows, without a step in the history for each key.
  change(part) {
    Object.assign(this.state, part);
    history.replaceState(null, "", writeState(this.state));
    this.draw();
  }

  sortBy(name) {
    const { sort, descending } = this.state;
    // Errors and times are looked at from the largest, everything else from the first.
    const large = ["ulps", "relative", "absolute", "seconds", "first"].includes(name);
    if (sort !== name) this.change({ sort: name, descending: large });
    else if (descending === large) this.change({ descending: !large });
    else this.change({ sort: "", descending: false });
  }

  draw() {
    const { view } = this.state;
    if (view === "rows" || view === "cases") {
      // Moved only when it must be: what is moved loses the focus.
      if (this.filters.parentElement !== this.sections[view]) this.sections[view].children[0].after(this.filters);
      this.selection = select(this.store, this.state);
      this.showFilters();
      if (view === "rows") this.drawRows();
      else this.drawCases();
    } else if (view === "case") {
      this.casePage.show(this.state.case, this.state.filter.target, this.neighbours());
    } else if (view === "agreement") this.drawPair();
    const title = view === "case" ? this.state.case : this.sections[view].querySelector("h1")?.textContent.trim();
    document.title = `${title} – gradbench`;
  }

  // Filters

  buildFilters() {
    const { store } = this;
    this.search = make("input", { type: "search", id: "search", placeholder: "case, message, tag, primitive …", autocomplete: "off", spellcheck: "false" });
    let timer = 0;
    this.search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.change({ query: this.search.value }), 80);
    });
    this.boxes = {};
    const menus = FACETS.filter((facet) => store.words[facet].length > 1).map((facet) => {
      const boxes = store.words[facet].map((word, code) => {
        const box = make("input", { type: "checkbox", onchange: () => this.tick(facet, word, box.checked) });
        const count = make("span", { class: "quiet n" });
        const text = facet === "verdict" ? chip(store, code) : word || "none";
        return { word, box, count, element: make("label", null, box, make("span", null, text), count) };
      });
      const summary = make("summary", null, TITLES[facet]);
      this.boxes[facet] = { boxes, summary };
      const list = facet === "verdict" ? boxes : [...boxes].sort((a, b) => a.word.localeCompare(b.word, "en", { numeric: true }));
      return make("details", { class: "menu" }, summary,
        make("fieldset", null, make("legend", { class: "vh" }, TITLES[facet]), list.map((one) => one.element)));
    });
    this.differ = make("input", { type: "checkbox", onchange: () => this.change({ differ: this.differ.checked }) });
    this.clear = make("button", { type: "button", onclick: () => this.clearAll() }, "Clear");
    this.filters = make("form", { class: "filters", role: "search", "aria-label": "Filter" },
      make("label", { for: "search", class: "vh" }, "Search"), this.search, menus,
      make("label", { class: "inline" }, this.differ, "targets differ"), this.clear);
    this.filters.addEventListener("submit", (event) => event.preventDefault());
    // A menu closes by Escape, and when another one or the page is used.
    const details = [...this.filters.querySelectorAll("details")];
    this.filters.addEventListener("keydown", (event) => {
      const open = event.key === "Escape" && details.find((menu) => menu.open);
      if (!open) return;
      open.open = false;
      open.firstElementChild.focus();
    });
    document.addEventListener("click", (event) => {
      for (const menu of details) if (!menu.contains(event.target)) menu.open = false;
    });
    this.filters.addEventListener("focusout", ({ relatedTarget: next }) => {
      // A press on a label gives the focus to whatever holds the whole form: that is no leaving.
      for (const menu of details) if (next && !menu.contains(next) && !next.contains(menu)) menu.open = false;
    });
  }

  tick(facet, word, checked) {
    const chosen = this.state.filter[facet];
    if (checked) chosen.add(word);
    else chosen.delete(word);
    this.change({});
  }

  clearAll() {
    for (const facet of FACETS) this.state.filter[facet].clear();
    this.change({ query: "", differ: false });
    this.search.focus();
  }

  showFilters() {
    const { state, selection } = this;
    if (this.search.value !== state.query) this.search.value = state.query;
    this.differ.checked = state.differ;
    let used = Boolean(state.query) || state.differ;
    for (const [facet, { boxes, summary }] of Object.entries(this.boxes)) {
      const chosen = state.filter[facet];
      used ||= chosen.size > 0;
      const words = boxes.filter((one) => chosen.has(one.word)).map((one) => one.word || "none");
      const text = !chosen.size ? TITLES[facet] : `${TITLES[facet]}: ${words.length > 2 ? `${words.length} chosen` : words.join(", ") || "nothing here"}`;
      summary.replaceChildren(text);
      summary.classList.toggle("on", chosen.size > 0);
      boxes.forEach((one, code) => {
        one.box.checked = chosen.has(one.word);
        one.count.textContent = selection.counts[facet][code];
      });
    }
    this.clear.disabled = !used;
  }

  // Rows

  drawRows() {
    const { store, state } = this;
    const { rows } = this.selection;
    const more = store.left ? ": this page lists no more of them; the overview counts all, results.csv has all" : "";
    this.status.textContent = `${rows.length.toLocaleString("en")} of ${store.size.toLocaleString("en")} rows${more}`;
    this.rowGrid.show(rows, state.sort || "verdict", state.descending);
  }

  drawRow(row) {
    const { store } = this, { rows, code, calls } = store;
    const [answer, truth] = store.worst(row);
    const call = rows.call[row], label = store.labels[code.target[row]];
    const texts = {
      case: make("a", { href: address({ case: store.names[code.case[row]], target: label }) }, store.names[code.case[row]]),
      point: code.point[row],
      operator: store.words.operator[code.operator[row]],
      input: store.text("input", row),
      dtype: store.words.dtype[code.dtype[row]],
      target: label,
      ulps: brief(rows.ulps[row]), relative: brief(rows.relative[row]), absolute: brief(rows.absolute[row]),
      answer, truth,
      seconds: duration(calls.seconds[call]), first: duration(calls.first[call]),
      topic: store.words.topic[code.topic[row]], device: store.words.device[code.device[row]],
      detail: [store.text("reason", row), store.text("detail", row)].filter(Boolean).join(": ").replaceAll("\n", " "),
    };
    return ROW_COLUMNS.map(({ name, class: kind }) => {
      if (name === "verdict") return make("td", null, chip(store, code.verdict[row]));
      if (name === "case") return make("th", { scope: "row" }, texts.case);
      const text = String(texts[name]);
      const number = name === "answer" || name === "truth" ? "num" : kind;
      return make("td", { class: number, title: text.length > 12 ? text : undefined }, text);
    });
  }

  // Cases

  drawCases() {
    const { store, state } = this;
    const width = store.labels.length, depth = store.verdicts.length;
    const counts = new Uint32Array(store.cases.length * width * depth);
    const { code } = store;
    for (const row of this.selection.rows) counts[(code.case[row] * width + code.target[row]) * depth + code.verdict[row]]++;
    if (this.countsLeft()) store.leftOf.forEach((left, one) => this.addLeft(counts, left, one));
    const items = [];
    for (let one = 0; one < store.cases.length; one++) {
      const cells = [];
      let worst = depth, bad = 0;
      for (let target = 0; target < width; target++) {
        const start = (one * width + target) * depth;
        let verdict = -1, sum = 0;
        for (let v = 0; v < depth; v++) {
          if (!counts[start + v]) continue;
          if (verdict < 0) verdict = v;
          sum += counts[start + v];
        }
        if (verdict >= 0 && verdict < worst) worst = verdict;
        if (verdict >= 0 && verdict < 3) bad += counts[start + verdict];
        cells.push(verdict < 0 ? null : { verdict, count: counts[start + verdict], sum });
      }
      if (worst < depth) items.push({ number: one, cells, worst, bad, calm: CALM.includes(store.verdicts[worst]) });
    }
    const calm = items.filter((item) => item.calm).length;
    const shown = state.all ? items : items.filter((item) => !item.calm);
    this.order = this.sortCases(shown, state);
    const more = store.left ? "Cases with nothing that is listed are on the overview's counts alone. " : "";
    this.caseNote.textContent = `${shown.length.toLocaleString("en")} of ${items.length.toLocaleString("en")} cases. ${more}`;
    this.toggle.hidden = !calm;
    this.toggle.setAttribute("aria-pressed", String(state.all));
    this.toggle.textContent = state.all ? `Fold the ${calm} in which all pass` : `Show the ${calm} in which all pass`;
    this.caseGrid.show(this.order, state.sort, state.descending);
  }

  // What is counted and not listed has a case, a target and a verdict: a filter by more than these leaves it out.
  countsLeft() {
    const { filter, query, differ } = this.state;
    return Boolean(this.store.left) && !query && !differ && !filter.operator.size && !filter.dtype.size;
  }

  addLeft(counts, left, one) {
    const { store, state } = this, { filter } = state;
    const fits = (facet, word) => !filter[facet].size || filter[facet].has(word);
    if (!fits("topic", store.cases[one].topic)) return;
    for (const [target, verdict, count] of left) {
      const named = fits("target", store.labels[target]) && fits("device", store.targets[target].device);
      if (named && fits("verdict", store.verdicts[verdict])) counts[(one * store.labels.length + target) * store.verdicts.length + verdict] += count;
    }
  }

  sortCases(items, { sort, descending }) {
    const { store } = this, sign = descending ? -1 : 1;
    const target = store.labels.indexOf(sort);
    const rest = (a, b) => a.worst - b.worst || b.bad - a.bad || a.number - b.number;
    if (sort === "case") return items.sort((a, b) => sign * store.names[a.number].localeCompare(store.names[b.number], "en", { numeric: true }));
    if (target < 0) return items.sort(rest);
    const key = (item) => item.cells[target]?.verdict ?? store.verdicts.length;
    return items.sort((a, b) => sign * (key(a) - key(b)) || rest(a, b));
  }

  drawCase({ number, cells }) {
    const { store } = this, name = store.names[number];
    const title = make("th", { scope: "row", class: "first" }, make("a", { href: address({ case: name }), title: store.cases[number].description || name }, name));
    return [title, ...cells.map((cell, target) => {
      if (!cell) return make("td", null, make("span", { class: "vh" }, "not asked"));
      const word = store.verdicts[cell.verdict];
      const link = make("a", { href: address({ case: name, target: store.labels[target] }), class: "cell" }, chip(store, cell.verdict));
      if (cell.count < cell.sum) link.append(make("small", null, ` ${cell.count} of ${cell.sum}`));
      link.title = `${store.labels[target]}: ${cell.count} of ${cell.sum} answers ${word}`;
      return make("td", null, link);
    })];
  }

  // The cases before and after this one, as the table of cases shows them.
  neighbours() {
    const { store } = this, number = store.caseNumber.get(this.state.case);
    const order = (this.order ?? []).map((item) => item.number);
    const list = order.includes(number) ? order : store.cases.map((_, i) => i);
    const at = list.indexOf(number);
    return { previous: store.names[list[at - 1]], next: store.names[list[at + 1]] };
  }

  // Two targets held against each other

  drawPair() {
    const { store } = this, place = document.getElementById("pair");
    if (!place) return;
    const [one, other] = this.state.pair.map((label) => store.labels.indexOf(label));
    if (!(one >= 0 && other >= 0)) {
      place.replaceChildren(make("p", { class: "quiet" }, "Choose a pair to see where the two differ."));
      return;
    }
    const { splits, questions } = store, found = [];
    splits.question.forEach((question, i) => {
      const pairs = splits.pairs[i];
      for (let k = 0; k < pairs.length; k += 2) {
        const same = (pairs[k] === one && pairs[k + 1] === other) || (pairs[k] === other && pairs[k + 1] === one);
        if (same) found.push([question, splits.key[i]]);
      }
    });
    const rowOf = (question, target, key) => {
      const call = store.callsOf[question].find((c) => store.calls.target[c] === target);
      return call === undefined ? undefined : store.rowsOfCall[call].find((row) => store.rows.input[row] === key) ?? store.rowsOfCall[call][0];
    };
    const cell = (row) => (row === undefined ? make("td") : make("td", null, chip(store, store.code.verdict[row]), " ", make("span", { class: "num" }, store.worst(row)[0])));
    const rows = found.slice(0, 200).map(([question, key]) => make("tr", null,
      make("th", { scope: "row" }, make("a", { href: address({ case: store.names[questions.case[question]], target: store.labels[one] }) }, store.names[questions.case[question]])),
      make("td", null, `point ${questions.point[question]}, ${store.texts[questions.operator[question]]}${store.texts[key] ? ` by ${store.texts[key]}` : ""}, ${store.texts[questions.dtype[question]]}`),
      cell(rowOf(question, one, key)), cell(rowOf(question, other, key))));
    const title = make("h2", null, `${store.labels[one]} and ${store.labels[other]}`);
    if (!rows.length) {
      place.replaceChildren(title, make("p", null, "They agree wherever both answered."));
      return;
    }
    const head = make("tr", null, ["Case", "Where", `${store.labels[one]}, at its worst`, `${store.labels[other]}, at its worst`].map((text) => make("th", { scope: "col" }, text)));
    const more = found.length > rows.length ? ` The first ${rows.length} are shown.` : "";
    place.replaceChildren(title, make("p", null, `They differ in ${found.length} answers.${more}`),
      scroller("Where the two differ", make("table", null, make("thead", null, head), make("tbody", null, rows))));
  }

  // Print has no window to scroll: all rows are drawn, and every fold is opened.
  print(on) {
    const { view } = this.state;
    const grid = { rows: this.rowGrid, cases: this.caseGrid }[view];
    if (grid) {
      grid.refresh(on ? AT_MOST_IN_PRINT : undefined);
      const note = view === "rows" ? this.status : this.caseNote, count = AT_MOST_IN_PRINT.toLocaleString("en");
      if (on && grid.items.length > AT_MOST_IN_PRINT) note.append(make("strong", { class: "printed" }, ` The first ${count} are printed.`));
      else note.querySelector(".printed")?.remove();
    }
    if (view === "case") this.casePage.unfold(on);
  }
}

// Theme: as the system has it, or as chosen; a browser that keeps nothing forgets it.
function themes() {
  const button = document.getElementById("theme"), names = ["auto", "light", "dark"];
  const recall = () => {
    try {
      return localStorage.getItem("gradbench-theme") ?? "auto";
    } catch {
      return "auto";
    }
  };
  const apply = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
  };
  let theme = names.includes(recall()) ? recall() : "auto";
  button.addEventListener("click", () => {
    theme = names[(names.indexOf(theme) + 1) % names.length];
    apply(theme);
    try {
      localStorage.setItem("gradbench-theme", theme);
    } catch {
      // nothing is kept then
    }
  });
  apply(theme);
  button.hidden = false;
}

themes();
// What isn't asked for is put away before the first picture, not when the data is unpacked.
const { view: wanted } = readState(location.hash);
for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== wanted;
unpack(document.getElementById("data").textContent).then((tables) => {
  const page = new Page(new Store(tables));
  document.documentElement.dataset.ready = "yes";
  performance.mark("ready");
  return page;
}).catch((error) => {
  const text = `The cases and rows can't be shown: ${error.message}. A browser of 2023 or later is needed.`;
  document.getElementById("main").prepend(make("p", { class: "banner", role: "alert" }, text));
});
