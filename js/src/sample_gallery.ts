// SampleGallery: the inputs that an inversion found, nearest first, with how far they are and how good the
// answer is. Traits: summary (one dict), first_page, revision, unit, query, layout, can_read.
import { attr, debounce, h, replace, uid } from "./lib/dom.ts";
import type { View } from "./lib/model.ts";
import { widget } from "./lib/mount.ts";
import { EVERYTHING, PAGE, type Page, type Query, type Row, SORTS, type Sort, remote } from "./lib/rows.ts";
import { Rpc } from "./lib/rpc.ts";
import { type Along, type Layout, type RowView, type Style, columns, nameDistances, rowView } from "./lib/sample_row.ts";
import { LN2, number, scaleKey, tokenText } from "./lib/shade.ts";
import { type Summary, summaryView } from "./lib/summary.ts";

/** What the shading says; the picker's says the same of the picked input. */
const PINNED = "given the activation: likelier (+), less likely (\u2212)";
const STATES: Record<string, [mark: string, words: string]> = {
  pinned: ["\u25a0", "fixed"],
  leaning: ["\u25e7", "leaning"],
  free: ["\u25a1", "free"],
  given: ["\u00b7", "given by P(X)"],
};
const HOVER_MS = 120;

function edgeRule(edge: number): HTMLElement {
  const words = `edge of the ball, d = ${number(edge, 3)} \u2014 95 % of the weight lies above this line`;
  return h("div", { class: "isn-edge", role: "row" }, h("span", { role: "cell", "aria-colspan": 5 }, words));
}

/** The head of the list; in the aligned layout it holds the picked input, each token with what becomes of it. */
function header(summary: Summary, layout: Layout): HTMLElement {
  const cell = (text: string, title: string) => h("span", { role: "columnheader", title }, text);
  const picked = summary.tokens.map((token, index) => {
    const state = summary.fixed?.states[index] ?? "";
    const [mark, words] = STATES[state] ?? ["", ""];
    const sign = mark ? h("span", { class: "isn-state-mark", "aria-hidden": "true" }, mark) : null;
    const title = [words, summary.fixed?.words[index]].filter(Boolean).join(": ");
    return h("span", { class: `isn-slot isn-state-${state || "unknown"}`, title }, sign, h("span", { class: "isn-slot-token" }, ...tokenText(token)), h("span", { class: "isn-hidden" }, words));
  });
  const input = layout === "aligned" ? h("span", { class: "isn-sample-text isn-slots", role: "columnheader", "aria-label": "input, under the picked one" }, ...picked) : cell("input", "The input, cut at the picked token");
  return h(
    "div",
    { class: "isn-sample isn-sample-head", role: "row" },
    h("span", { role: "columnheader" }, h("span", { class: "isn-hidden" }, "details")),
    cell("d", "Distance to the picked activation, per coordinate, in standardised units"),
    cell("weight", "Share of the posterior"),
    cell("count", "How often it was sampled"),
    input,
  );
}

function stateKey(summary: Summary): HTMLElement | null {
  const there = Object.entries(STATES).filter(([state]) => summary.fixed?.states.includes(state));
  const parts = there.map(([state, [mark, words]]) => h("span", { class: `isn-state-key isn-state-${state}` }, h("span", { class: "isn-state-mark", "aria-hidden": "true" }, mark), ` ${words}`));
  return parts.length ? h("span", { class: "isn-scale" }, ...parts) : null;
}

interface Toolbar {
  element: HTMLElement;
  unit: HTMLElement;
  faults: HTMLElement;
}

/** Filter, order, layout and unit: all of them traits, so that two views of a gallery agree. */
function toolbar(view: View): Toolbar {
  const filterId = uid("filter");
  const filter = h("input", { class: "isn-input isn-filter", id: filterId, type: "search", placeholder: "Filter by text" });
  const regex = h("button", { type: "button", class: "isn-button isn-regex", "aria-pressed": "false", title: "Read the filter as a regular expression", "aria-label": "Regular expression" }, ".*");
  const inside = h("input", { type: "checkbox" });
  const insideWords = h("span");
  const choose = (label: string, choices: Record<string, string>, title: string) => {
    const select = h("select", { class: "isn-input", "aria-label": label, title });
    select.append(...Object.entries(choices).map(([value, words]) => h("option", { value }, words)));
    return select;
  };
  const sort = choose("Sort the inputs", SORTS, "The order of the inputs");
  const layout = choose("Layout of the inputs", { aligned: "aligned", text: "as text" }, "Under the tokens of the picked input, or as running text");
  const unit = choose("Unit of information", { bits: "bits", nats: "nats" }, "The unit of the shading");
  const faults = h("p", { class: "isn-note isn-filter-fault", role: "alert" });
  const query = (): Query => ({ ...EVERYTHING, ...view.model.get("query") });
  // With what stands in the filter by now: a click may come before the pause after typing is over.
  const change = (part: Partial<Query>) => view.write("query", { ...query(), text: filter.value, ...part });
  filter.addEventListener("keydown", (event) => event.stopPropagation());
  filter.addEventListener(
    "input",
    debounce(150, view.safely(() => change({ text: filter.value })), view.signal),
  );
  regex.addEventListener("click", () => change({ regex: !query().regex }));
  inside.addEventListener("change", () => change({ inside: inside.checked }));
  sort.addEventListener("change", () => change({ sort: sort.value as Sort }));
  layout.addEventListener("change", () => view.write("layout", layout.value));
  unit.addEventListener("change", () => view.write("unit", unit.value));
  view.follow(["query"], () => {
    const now = query();
    if (filter.value !== now.text && document.activeElement !== filter) filter.value = now.text;
    attr(regex, "aria-pressed", now.regex ? "true" : "false");
    inside.checked = now.inside;
    sort.value = now.sort;
  });
  view.follow(["layout", "unit"], () => {
    layout.value = view.model.get("layout") || "aligned";
    unit.value = view.model.get("unit") || "bits";
  });
  view.follow(["summary"], () => {
    const summary: Summary | null = view.model.get("summary");
    insideWords.textContent = ` inside the ball (${summary?.inside ?? 0})`;
  });
  view.follow(["first_page"], () => {
    const page: Page | null = view.model.get("first_page");
    unit.hidden = !page?.rows.some((row) => row.info.some((value) => value != null)); // neighbours have no generator
  });
  const label = h("label", { for: filterId, class: "isn-hidden" }, "Filter by text");
  const element = h("div", { class: "isn-row isn-toolbar" }, label, filter, regex, h("label", { class: "isn-check" }, inside, insideWords), sort, layout);
  return { element, unit, faults };
}

/** Moves between the rows with the arrow keys; one of them is in the tab order. */
function rove(list: HTMLElement, rows: () => RowView[]): void {
  list.addEventListener("keydown", (event) => {
    const all = rows();
    const here = all.findIndex(({ toggle }) => toggle === event.target);
    const moves: Record<string, number> = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 };
    const next = all[Math.max(0, Math.min(all.length - 1, moves[event.key] ?? -1))];
    if (here < 0 || moves[event.key] === undefined || !next) return;
    event.preventDefault();
    event.stopPropagation();
    all[here]!.toggle.tabIndex = -1;
    next.toggle.tabIndex = 0;
    next.toggle.focus();
  });
}

function drawList(view: View): HTMLElement {
  const rpc = new Rpc(view);
  const source = remote(rpc);
  const tools = toolbar(view);
  const key = h("div", { class: "isn-key" });
  const list = h("div", { class: "isn-samples", role: "table", "aria-label": "Inputs found" });
  const state = h("p", { class: "isn-note", role: "status" });
  const more = h("button", { type: "button", class: "isn-button isn-more" });
  let shown: Row[] = [];
  let views: RowView[] = [];
  let asked = 0;
  let loading = false;
  const read = new Map<number, Promise<Array<number | null>>>();

  const summary = (): Summary => view.model.get("summary");
  const query = (): Query => ({ ...EVERYTHING, ...view.model.get("query") });
  const style = (): Style => {
    const unit: string = view.model.get("unit") || "bits";
    return { unit, layout: view.model.get("layout") || "aligned", max: summary().info_max * (unit === "bits" ? 1 / LN2 : 1), tokens: summary().tokens };
  };
  const along: Along = (row) => {
    if (!read.has(row.rank)) read.set(row.rank, rpc.request("along", { rank: row.rank, revision: view.model.get("revision") }));
    return read.get(row.rank)!;
  };
  const canRead = () => Boolean(view.model.get("can_read"));

  const append = (rows: Row[]) => {
    const now = style();
    const edge = query().sort === "distance" ? summary().ball_edge : null;
    for (const row of rows) {
      const last = shown.at(-1);
      if (edge != null && !row.in_ball && (!last || last.in_ball)) list.append(edgeRule(edge));
      const drawn = rowView(row, now, canRead() ? along : null);
      drawn.toggle.tabIndex = views.length === 0 ? 0 : -1;
      let timer: ReturnType<typeof setTimeout> | undefined;
      drawn.element.addEventListener("click", (event) => {
        const target = event.target as Element;
        const selecting = Boolean(getSelection()?.toString()) && target !== drawn.toggle; // text that is being copied
        if (!target.closest(".isn-detail") && !selecting) drawn.open();
      });
      drawn.element.addEventListener("pointerenter", () => {
        if (!canRead()) return;
        timer = setTimeout(() => along(row).then((values) => nameDistances(drawn.element, values), () => undefined), HOVER_MS);
      });
      drawn.element.addEventListener("pointerleave", () => clearTimeout(timer));
      list.append(drawn.element);
      shown.push(row);
      views.push(drawn);
    }
  };
  const show = (page: Page) => {
    if (page.revision !== view.model.get("revision")) return; // an answer about samples that are gone
    if (page.start === 0) {
      [shown, views] = [[], []];
      const layout: Layout = style().layout;
      list.replaceChildren(header(summary(), layout));
      list.style.setProperty("--isn-slots", layout === "aligned" ? columns(page.rows, summary().tokens) : "");
      list.classList.toggle("isn-aligned", layout === "aligned");
    }
    append(page.rows);
    const rest = page.matching - shown.length;
    more.hidden = rest <= 0;
    more.textContent = `Show ${Math.min(PAGE, rest)} more`;
    const { text, inside } = query();
    state.textContent = page.matching === 0 ? "No input matches this filter." : `${shown.length} of ${page.matching} ${text || inside ? "inputs match" : "different inputs"}`;
  };
  const load = (start: number) => {
    asked += 1;
    const mine = asked;
    loading = true;
    source(query(), start).then(
      view.safely((page: Page) => {
        if (mine !== asked) return;
        loading = false;
        replace(tools.faults);
        show(page);
      }),
      (error) => {
        if (mine !== asked) return;
        loading = false;
        replace(tools.faults, [error.message, error.hint].filter(Boolean).join(": "));
      },
    );
  };
  rove(list, () => views);
  more.addEventListener("click", () => load(shown.length));
  // Nearing the end of the list loads what follows; the button does the same for who does not scroll.
  list.addEventListener(
    "scroll",
    () => {
      if (!loading && !more.hidden && list.scrollTop + list.clientHeight > list.scrollHeight - 600) load(shown.length);
    },
    { passive: true },
  );

  const redraw = () => {
    const page: Page | null = view.model.get("first_page");
    if (!page || !summary()?.verdict) return;
    const informed = page.rows.some((row) => row.info.some((value) => value != null));
    const now = style();
    replace(key, informed && scaleKey(now.max, PINNED, now.unit, true, summary().info_clipped), tools.unit, now.layout === "aligned" && stateKey(summary()));
    asked += 1;
    loading = false;
    replace(tools.faults);
    const { text, inside, sort } = query();
    if (text || inside || sort !== "distance") load(0);
    else show(page);
  };
  view.follow(["first_page"], () => {
    read.clear();
    list.scrollTop = 0;
    redraw();
  });
  view.follow(["unit", "layout", "query"], redraw);
  return h("div", { class: "isn-list" }, tools.element, tools.faults, key, list, h("div", { class: "isn-row" }, state, more));
}

export function drawSampleGallery(view: View): void {
  const top = h("div");
  const empty = h("div", { class: "isn-empty" }, h("p", null, "No inversion yet."), h("p", { class: "isn-note" }, "The inputs that the model cannot tell from the picked one will be listed here."));
  const body = h("div", null, top, drawList(view));
  const said = h("p", { class: "isn-hidden", role: "status" });
  view.root.append(empty, body, said);
  view.follow(["summary"], () => {
    const summary: Summary | null = view.model.get("summary");
    const has = Boolean(summary && summary.verdict);
    empty.hidden = has;
    body.hidden = !has;
    replace(top, has ? summaryView(summary!) : null);
    said.textContent = has ? `${summary!.distinct} inputs found. ${summary!.fixed?.sentence ?? ""} ${summary!.verdict_words}` : "";
    attr(view.root, "data-isn-revision", view.model.get("revision"));
  });
}

export default widget("gallery", drawSampleGallery);
