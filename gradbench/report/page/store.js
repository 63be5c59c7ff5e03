// The tables of the page, unpacked, with a typed column for everything that rows are filtered and sorted by.

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

// What a row can be filtered by: the name in the address, the heading, and the words its codes stand for.
const FACETS = ["verdict", "topic", "target", "operator", "dtype", "device"];

class Store {
  constructor(tables) {
    Object.assign(this, tables);
    const { rows, calls, questions } = this;
    const size = (this.size = rows.call.length);
    this.names = this.cases.map((one) => one.name);
    this.caseNumber = new Map(this.names.map((name, i) => [name, i]));
    this.labels = this.targets.map((target) => target.label);

    // Where each question's keys begin among the truths.
    this.truthStart = new Uint32Array(questions.case.length + 1);
    questions.keys.forEach((keys, i) => (this.truthStart[i + 1] = this.truthStart[i] + keys.length));

    const column = () => new Uint32Array(size);
    const byCase = coded(this.cases.map((one) => one.topic));
    const operator = coded(questions.operator.map((text) => this.texts[text]));
    const dtype = coded(questions.dtype.map((text) => this.texts[text]));
    const device = coded(this.targets.map((target) => target.device));
    this.words = {
      verdict: this.verdicts, topic: byCase.words, target: this.labels,
      operator: operator.words, dtype: dtype.words, device: device.words,
    };
    this.code = { verdict: Uint32Array.from(rows.verdict), question: column(), case: column(), point: column() };
    for (const facet of FACETS.slice(1)) this.code[facet] = column();
    const { code } = this;
    this.rowsOfCase = this.cases.map(() => []);
    this.callsOf = questions.case.map(() => []);
    calls.question.forEach((question, call) => this.callsOf[question].push(call));
    for (const list of this.callsOf) list.sort((a, b) => calls.target[a] - calls.target[b]);
    this.rowsOfCall = calls.question.map(() => []);
    for (let row = 0; row < size; row++) {
      const call = rows.call[row], question = calls.question[call], target = calls.target[call];
      code.question[row] = question;
      code.case[row] = questions.case[question];
      code.point[row] = questions.point[question];
      code.topic[row] = byCase.codes[questions.case[question]];
      code.target[row] = target;
      code.operator[row] = operator.codes[question];
      code.dtype[row] = dtype.codes[question];
      code.device[row] = device.codes[target];
      this.rowsOfCase[code.case[row]].push(row);
      this.rowsOfCall[call].push(row);
    }

    // What is counted and not listed, by case: target, verdict and how often.
    this.leftOf = this.cases.map(() => []);
    const left = this.left ?? { case: [] };
    left.case.forEach((one, i) => this.leftOf[one].push([left.target[i], left.verdict[i], left.count[i]]));

    // Numbers for sorting: what doesn't apply comes last, an infinity before it.
    this.number = {};
    for (const name of ["ulps", "absolute", "relative"]) this.number[name] = Float64Array.from(rows[name], sortable);
    for (const name of ["seconds", "first"]) {
      const ofCalls = Float64Array.from(calls[name], sortable);
      this.number[name] = Float64Array.from(rows.call, (call) => ofCalls[call]);
    }

    // Rows whose target answered otherwise than another did.
    this.differs = new Uint8Array(size);
    this.splitOf = new Map();
    this.splits.question.forEach((question, i) => {
      const pairs = this.splits.pairs[i], apart = new Set(pairs), key = this.splits.key[i];
      this.splitOf.set(`${question} ${key}`, pairs);
      for (const call of this.callsOf[question]) {
        if (!apart.has(calls.target[call])) continue;
        for (const row of this.rowsOfCall[call]) if (rows.input[row] === key) this.differs[row] = 1;
      }
    });
  }

  text(column, row) { return this.texts[this.rows[column][row]]; }

  // What is right for a row: the number of its truth, or -1.
  truthOf(row) {
    const question = this.code.question[row];
    const position = this.questions.keys[question].indexOf(this.rows.input[row]);
    return position < 0 ? -1 : this.truthStart[question] + position;
  }

  // The worst entry of a row's answer and what is right there, as texts.
  worst(row) {
    const pair = this.text("pair", row), at = this.rows.worst[row];
    if (pair) {
      const [answer, ...right] = pair.split(" ");
      return [answer, right.join(" ")];
    }
    const truth = this.truthOf(row);
    const pick = (number) => {
      if (number < 0) return "";
      const { words, whole } = parsed(this.arrays[number]);
      return words.length === 0 ? whole : words[Math.max(at, 0)] ?? "";
    };
    const answer = this.rows.answer[row];
    return answer < 0 ? ["", ""] : [pick(answer), truth < 0 ? "" : pick(this.truths.right[truth])];
  }
}

function coded(values) {
  const words = [...new Set(values)], numbers = new Map(words.map((word, i) => [word, i]));
  return { words, codes: values.map((value) => numbers.get(value)) };
}

function sortable(value) {
  return value === null ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : value;
}

// An array as it is packed, `2x2|1 2 3 4`, in parts; `whole` is what to show where there are no entries.
function parsed(text) {
  const bar = text.indexOf("|");
  if (bar < 0) return { shape: [], words: [], whole: text === "None" ? "None" : `${text.replaceAll("x", " × ")} entries` };
  const shape = bar ? text.slice(0, bar).split("x").map(Number) : [];
  const rest = text.slice(bar + 1);
  return { shape, words: rest ? rest.split(" ") : [], whole: "[]" };
}

// Numbers for people

function brief(value) {
  if (value === null) return "";
  if (typeof value === "string") return value === "inf" ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e5 ? String(value) : value.toExponential().replace("e+", "e");
}

function duration(value) {
  if (value === null || typeof value === "string") return "";
  for (const [unit, scale] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) {
    if (value >= scale) return `${Number((value / scale).toPrecision(3))} ${unit}`;
  }
  return `${Number((value / 1e-9).toPrecision(3))} ns`;
}
