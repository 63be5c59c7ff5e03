// What is being looked at, as the part of the address after the hash, and the rows it selects.

const VIEWS = ["overview", "cases", "rows", "agreement", "accuracy", "time", "coverage", "conventions"];

function readState(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const state = { view: given.get("view") ?? "", case: given.get("case"), filter: {}, pair: given.getAll("pair") };
  for (const facet of FACETS) state.filter[facet] = new Set(given.getAll(facet));
  state.query = given.get("q") ?? "";
  state.sort = given.get("sort") ?? "";
  state.descending = given.get("order") === "descending";
  state.differ = given.get("differ") === "yes";
  state.all = given.get("all") === "yes";
  if (state.case !== null) state.view = "case";
  else if (!VIEWS.includes(state.view)) state.view = VIEWS.includes(hash.slice(1)) ? hash.slice(1) : "overview";
  return state;
}

function writeState(state) {
  const pairs = state.view === "case" ? [["case", state.case]] : [["view", state.view]];
  for (const facet of FACETS) for (const word of state.filter[facet]) pairs.push([facet, word]);
  if (state.query) pairs.push(["q", state.query]);
  if (state.differ) pairs.push(["differ", "yes"]);
  if (state.sort) pairs.push(["sort", state.sort]);
  if (state.descending) pairs.push(["order", "descending"]);
  if (state.all) pairs.push(["all", "yes"]);
  for (const label of state.pair) pairs.push(["pair", label]);
  return `#${new URLSearchParams(pairs)}`;
}

function address(view, filter) {
  const pairs = Object.entries(view);
  for (const [key, words] of Object.entries(filter ?? {})) for (const word of words) pairs.push([key, word]);
  return `#${new URLSearchParams(pairs)}`;
}

// The rows that a state selects, in its order, and how many each value of each facet would leave.
function select(store, state) {
  const { size, code } = store;
  const allowed = FACETS.map((facet) => {
    const chosen = state.filter[facet];
    return chosen.size ? Uint8Array.from(store.words[facet], (word) => (chosen.has(word) ? 1 : 0)) : null;
  });
  const columns = FACETS.map((facet) => code[facet]);
  const counts = FACETS.map((facet) => new Uint32Array(store.words[facet].length));
  const filters = FACETS.map((_, f) => f).filter((f) => allowed[f]);
  const matches = matcher(store, state.query);
  const order = ordered(store, state.sort || "verdict", state.descending);
  const found = new Uint32Array(size);
  let count = 0;
  for (let i = 0; i < size; i++) {
    const row = order[i];
    if (state.differ && !store.differs[row]) continue;
    if (matches && !matches(row)) continue;
    let missed = 0, where = -1;
    for (const f of filters) {
      if (!allowed[f][columns[f][row]]) {
        missed++;
        where = f;
      }
    }
    if (missed === 0) {
      found[count++] = row;
      for (let f = 0; f < columns.length; f++) counts[f][columns[f][row]]++;
    } else if (missed === 1) counts[where][columns[where][row]]++;
  }
  return { rows: found.subarray(0, count), counts: Object.fromEntries(FACETS.map((facet, f) => [facet, counts[f]])) };
}

// Whether every word of a text occurs somewhere in a row. Each distinct text is searched once, not each row: it gets a
// bit for each word that it has, and a row has the bits of its texts together.
function matcher(store, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean).slice(0, 30);
  if (!words.length) return null;
  const { code, rows, calls, questions } = store;
  store.lower ??= {
    texts: store.texts.map((text) => text.toLowerCase()),
    cases: store.cases.map((one) =>
      [one.name, one.topic, one.description, one.source, one.tags.join(" "), one.function].join("\n").toLowerCase()),
    targets: store.targets.map((one) => [one.label, one.device, one.version].join(" ").toLowerCase()),
  };
  const bits = (text) => words.reduce((sum, word, i) => (text.includes(word) ? sum | (1 << i) : sum), 0);
  const texts = Int32Array.from(store.lower.texts, bits), cases = Int32Array.from(store.lower.cases, bits);
  const targets = Int32Array.from(store.lower.targets, bits), verdicts = Int32Array.from(store.verdicts, bits);
  const asked = Int32Array.from(questions.case, (number, i) => cases[number] | texts[questions.operator[i]] | texts[questions.dtype[i]]);
  const called = Int32Array.from(calls.question, (question, i) => asked[question] | targets[calls.target[i]] | texts[calls.notes[i]]);
  const { call, reason, detail, input, grade } = rows;
  const all = 2 ** words.length - 1;
  return (row) => (called[call[row]] | verdicts[code.verdict[row]] | texts[reason[row]] | texts[detail[row]] |
    texts[input[row]] | texts[grade[row]]) === all;
}

// All rows sorted by a column of the table; equal ones keep the catalogue's order. Each order is made once.
function ordered(store, name, descending) {
  store.orders ??= new Map();
  const id = `${name} ${descending}`;
  if (!store.orders.has(id)) {
    const keys = sortKeys(store, name), sign = descending ? -1 : 1;
    const order = Uint32Array.from({ length: store.size }, (_, i) => i);
    if (keys) {
      order.sort((a, b) => {
        const one = keys[a], other = keys[b];
        if (one === other) return a - b;
        if (one !== one) return other !== other ? a - b : 1; // NaN doesn't apply: last either way
        if (other !== other) return -1;
        return one < other ? -sign : sign;
      });
    }
    store.orders.set(id, order);
  }
  return store.orders.get(id);
}

function sortKeys(store, name) {
  if (store.number[name]) return store.number[name];
  if (name === "verdict" || name === "point") return store.code[name];
  if (name === "case") return ranked(store.names, store.code.case);
  if (name === "input" || name === "detail") return ranked(store.texts, store.rows[name]);
  return FACETS.includes(name) ? ranked(store.words[name], store.code[name]) : null;
}

function ranked(words, codes) {
  const collator = new Intl.Collator("en", { numeric: true });
  const order = words.map((_, i) => i).sort((a, b) => collator.compare(words[a], words[b]));
  const rank = new Uint32Array(words.length);
  order.forEach((word, i) => (rank[word] = i));
  return Uint32Array.from(codes, (code) => rank[code]);
}
