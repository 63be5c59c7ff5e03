// Elements, and a table that holds only the rows that can be seen.

// An element with attributes and children; what is no element is text, so nothing is ever read as markup.
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function chip(store, verdict, text) {
  const word = store.verdicts[verdict];
  const symbol = make("span", { "aria-hidden": "true" }, store.symbols[word]);
  if (text === undefined) return make("span", { class: `v ${word}` }, symbol, ` ${word}`);
  return make("span", { class: `v ${word}` }, symbol, ` ${text}`, make("span", { class: "vh" }, ` ${word}`));
}

// A table of many rows, of which those in sight are in the page. `columns` have name, title, class and, where they
// can be sorted by, `sort`; `draw` gives the cells of a row.
class Grid {
  constructor({ label, columns, draw, onSort, narrow }) {
    Object.assign(this, { columns, draw, onSort });
    this.items = [];
    this.drawn = new Map();
    this.height = 32;
    this.head = make("tr", { "aria-rowindex": "1" });
    this.before = make("tbody", { "aria-hidden": "true" }, make("tr", null, make("td", { colspan: columns.length })));
    this.body = make("tbody");
    this.after = make("tbody", { "aria-hidden": "true" }, make("tr", null, make("td", { colspan: columns.length })));
    const widths = make("colgroup", null, columns.map((column) => make("col", { class: `w-${column.width}` })));
    this.table = make("table", { class: `grid ${narrow ?? ""}`, "aria-label": label }, widths,
      make("thead", null, this.head), this.before, this.body, this.after);
    this.element = make("div", { class: "window", tabindex: "0", role: "region", "aria-label": label }, this.table);
    this.element.addEventListener("scroll", () => this.refresh(), { passive: true });
    if ("ResizeObserver" in window) new ResizeObserver(() => this.refresh()).observe(this.element);
    this.headers = columns.map((column) => this.header(column));
    this.head.append(...this.headers);
  }

  header(column) {
    if (!column.sort) return make("th", { scope: "col", class: column.class }, column.title);
    const button = make("button", { type: "button", onclick: () => this.onSort(column.name) }, column.title);
    button.append(make("span", { class: "arrow", "aria-hidden": "true" }));
    return make("th", { scope: "col", class: column.class, "aria-sort": "none" }, button);
  }

  show(items, sort, descending) {
    this.items = items;
    this.table.setAttribute("aria-rowcount", items.length + 1);
    this.headers.forEach((header, i) => {
      if (!this.columns[i].sort) return;
      const mine = this.columns[i].name === sort;
      header.setAttribute("aria-sort", mine ? (descending ? "descending" : "ascending") : "none");
    });
    this.body.replaceChildren();
    this.drawn.clear();
    this.element.scrollTop = 0;
    this.refresh();
    this.measure();
  }

  // Rows are of one height; what it is depends on the font, so the first row says.
  measure() {
    const first = this.body.firstElementChild;
    const height = first ? first.getBoundingClientRect().height : 0;
    if (height > 4 && Math.abs(height - this.height) > 0.1) {
      this.height = height;
      this.refresh();
    }
  }

  refresh(everything) {
    const { items, height, element } = this;
    const first = everything ? 0 : Math.max(0, Math.floor(element.scrollTop / height) - 12);
    const seen = Math.ceil((element.clientHeight || 600) / height) + 24;
    const last = everything ? Math.min(items.length, everything) : Math.min(items.length, first + seen);
    for (const [index, row] of this.drawn) {
      // The row that has the focus stays, or the keyboard would lose its place.
      if ((index < first || index >= last) && !row.contains(document.activeElement)) {
        row.remove();
        this.drawn.delete(index);
      }
    }
    const stray = [...this.drawn.keys()].filter((index) => index < first || index >= last);
    let next = this.drawn.get(stray.find((index) => index >= last)) ?? null;
    for (let index = last - 1; index >= first; index--) {
      let row = this.drawn.get(index);
      if (!row) {
        row = make("tr", { "aria-rowindex": index + 2, class: index % 2 ? "odd" : undefined }, this.draw(items[index]));
        this.body.insertBefore(row, next);
        this.drawn.set(index, row);
      }
      next = row;
    }
    const above = first - stray.filter((index) => index < first).length;
    const below = items.length - last - stray.filter((index) => index >= last).length;
    this.before.firstChild.firstChild.style.height = `${above * height}px`;
    this.after.firstChild.firstChild.style.height = `${Math.max(0, below) * height}px`;
    this.before.hidden = above <= 0;
    this.after.hidden = below <= 0;
  }
}
