// What is being looked at, as the part of the address after the hash, and the rows it selects.

const VIEWS = ["overview", "cases", "rows", "agreement", "accuracy", "time"];

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

// The rows that a state selects, in the catalogue's order, and how many each value of each facet would leave.
function select(store, state) {
  const { size, code } = store;
  const allowed = FACETS.map((facet) => {
    const chosen = state.filter[facet];
    return chosen.size ? Uint8Array.from(store.words[facet], (word) => (chosen.has(word) ? 1 : 0)) : null;
  });
  const columns = FACETS.map((facet) => code[facet]);
  const counts = FACETS.map((facet) => new Uint32Array(store.words[facet].length));
  const matches = matcher(store, state.query);
  const found = new Uint32Array(size);
  let count = 0;
  for (let row = 0; row < size; row++) {
    if (state.differ && !store.differs[row]) continue;
    if (matches && !matches(row)) continue;
    let missed = 0, where = -1;
    for (let f = 0; f < allowed.length; f++) {
      if (allowed[f] && !allowed[f][columns[f][row]]) {
        missed++;
        where = f;
        if (missed > 1) break;
      }
    }
    if (missed === 0) {
      found[count++] = row;
      for (let f = 0; f < columns.length; f++) counts[f][columns[f][row]]++;
    } else if (missed === 1) counts[where][columns[where][row]]++;
  }
  return { rows: found.subarray(0, count), counts: Object.fromEntries(FACETS.map((facet, f) => [facet, counts[f]])) };
}

// Whether every word of a text occurs somewhere in a row. Each distinct text is searched once, not each row.
function matcher(store, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const { code, rows, texts } = store;
  const ofTexts = texts.map((text) => text.toLowerCase());
  const ofCases = store.cases.map((one) =>
    [one.name, one.topic, one.description, one.source, one.tags.join(" "), one.function].join("\n").toLowerCase());
  const ofTargets = store.targets.map((one) => [one.label, one.device, one.version].join(" ").toLowerCase());
  const has = (list, word) => Uint8Array.from(list, (text) => (text.includes(word) ? 1 : 0));
  const tests = words.map((word) => ({
    texts: has(ofTexts, word), cases: has(ofCases, word), targets: has(ofTargets, word),
    verdicts: has(store.verdicts, word), operators: has(store.words.operator, word), dtypes: has(store.words.dtype, word),
  }));
  return (row) => tests.every((test) =>
    test.cases[code.case[row]] || test.targets[code.target[row]] || test.verdicts[code.verdict[row]] ||
    test.operators[code.operator[row]] || test.dtypes[code.dtype[row]] || test.texts[rows.reason[row]] ||
    test.texts[rows.detail[row]] || test.texts[rows.input[row]] || test.texts[rows.grade[row]]);
}

// Rows sorted by a column of the table; equal ones keep the catalogue's order.
function sorted(store, rows, name, descending) {
  const keys = sortKeys(store, name);
  if (!keys) return rows;
  const sign = descending ? -1 : 1;
  return Uint32Array.from(rows).sort((a, b) => {
    const one = keys[a], other = keys[b];
    if (one === other) return a - b;
    if (Number.isNaN(one)) return Number.isNaN(other) ? a - b : 1; // what doesn't apply is last either way
    if (Number.isNaN(other)) return -1;
    return one < other ? -sign : sign;
  });
}

function sortKeys(store, name) {
  if (store.number[name]) return store.number[name];
  if (name === "verdict" || name === "point") return store.code[name];
  if (name === "case") return ranked(store.names, store.code.case);
  if (name === "input" || name === "detail") return ranked(store.texts, store.rows[name]);
  return FACETS.includes(name) ? ranked(store.words[name], store.code[name]) : null;
}

function ranked(words, codes) {
  const order = words.map((_, i) => i).sort((a, b) => words[a].localeCompare(words[b], "en", { numeric: true }));
  const rank = new Uint32Array(words.length);
  order.forEach((word, i) => (rank[word] = i));
  return Uint32Array.from(codes, (code) => rank[code]);
}
