// SampleGallery: the inputs that an inversion found, nearest first, with how far they are and how good the
// answer is. Traits: summary (one dict), first_page, revision, unit, query, layout, can_read, can_label.
import { attr, focused, h, replace } from "./lib/dom.ts";
import { csv, save } from "./lib/download.ts";
import type { View } from "./lib/model.ts";
import { framed } from "./lib/more_right.ts";
import { widget } from "./lib/mount.ts";
import { EVERYTHING, PAGE, type Page, type Query, type Row, allRows, inFile, remote } from "./lib/rows.ts";
import { Rpc } from "./lib/rpc.ts";
import { type Along, type Labels, type Layout, type RowView, type Style, columns, gridColumns, nameDistances, rowView, standUnder } from "./lib/sample_row.ts";
import { focusOn, rove } from "./lib/rove.ts";
import { LN2, number, scaleKey, tokenText } from "./lib/shade.ts";
import { STATES, stateKey } from "./lib/states.ts";
import { type Summary, summaryView } from "./lib/summary.ts";
import { terms } from "./lib/terms.ts";
import { toolbar } from "./lib/toolbar.ts";

/** What the shading says; the picker's says the same of the picked input. */
const PINNED = "given the activation, on this pick's scale";
const HOVER_MS = 120;
/** Rows that the browser lays out, or skips, together (ten were no quicker). */
const GROUP = 50;
/** Tokens of the picked input up to which its columns stand side by side without scrolling. */
const COLUMNS = 12;
/** Tokens of the picked input beyond which its inputs stand as text. */
const MOST_COLUMNS = 200;
/** Tokens of the picked input up to which it heads its list, each token with what becomes of it. */
const MOST_IN_HEAD = 200;
const CSV_COLUMNS = ["rank", "text", "d", "weight", "weight_in_rates", "count", "in_ball", "is_copy", "on_support", "log_q", "log_no_condition", "log_prior", "relative_norm", "cosine"];

function edgeRule(edge: number): HTMLElement {
  const words = `edge of the ball, d = ${number(edge, 3)} \u2014 95 % of the weight lies within`;
  return h("div", { class: "isn-edge", role: "row" }, h("span", { role: "cell", "aria-colspan": 5 }, words));
}

/** As text only what differs from the rest is marked: a square before every word would be in the way. */
const marked = (layout: Layout, state: string) => layout === "aligned" || state !== "free";

/** The head of the list: it holds the picked input, each token with what becomes of it, above what stands for it or as text. */
function header(summary: Summary, layout: Layout): HTMLElement {
  const cell = (text: string, title: string) => h("span", { role: "columnheader", title }, text);
  const picked = summary.tokens.map((token, index) => {
    const state = summary.fixed?.states[index] ?? "";
    const [mark, words] = STATES[state] ?? ["", ""];
    const sign = mark && marked(layout, state) ? h("span", { class: "isn-state-mark", "aria-hidden": "true" }, mark) : null;
    const title = [words, summary.fixed?.words[index]].filter(Boolean).join(": ");
    return h("span", { class: `isn-slot isn-state-${state || "unknown"}`, title }, sign, h("span", { class: "isn-slot-token" }, ...tokenText(token)), h("span", { class: "isn-hidden" }, words));
  });
  const input = picked.length <= MOST_IN_HEAD ? h("span", { class: `isn-sample-text ${layout === "aligned" ? "isn-slots" : "isn-slots-text"}`, role: "columnheader", "aria-label": "input, under the picked one" }, ...picked) : cell("input", "The input, cut at the picked token");
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

function drawList(view: View): HTMLElement {
  const rpc = new Rpc(view);
  const source = remote(rpc);
  const tools = toolbar(view);
  const key = h("div", { class: "isn-key" });
  const list = h("div", { class: "isn-samples", role: "table", "aria-label": "Inputs found" });
  const { frame, look } = framed(list, view.signal);
  const state = h("p", { class: "isn-note", role: "status" });
  const more = h("button", { type: "button", class: "isn-button isn-more" });
  let shown: Row[] = [];
  let views: RowView[] = [];
  let asked = 0;
  let refocus: number | null = null;
  let loading = false;
  let listed = 0; // the revision of the rows that are there
  let room: number[] = []; // of each column, in characters
  let counts = false; // whether any input was sampled more than once
  const read = new Map<number, ReturnType<Along>>();
  const hovered = new Map<number, ReturnType<Along>>(); // which the next row's takes the place of

  const summary = (): Summary => view.model.get("summary");
  const query = (): Query => ({ ...EVERYTHING, ...view.model.get("query") });
  const style = (): Style => {
    const unit: string = view.model.get("unit") || "bits";
    const { info_max, tokens, prior_is_exact: exact } = summary();
    const chosen: string = view.model.get("layout") || "auto";
    const fits = chosen === "auto" ? tokens.length <= COLUMNS && standUnder(view.model.get("first_page")?.rows ?? [], tokens.length) : tokens.length <= MOST_COLUMNS;
    const layout: Layout = chosen === "text" || !fits ? "text" : "aligned";
    return { unit, layout, max: info_max * (unit === "bits" ? 1 / LN2 : 1), tokens, columns: room, exact };
  };
  const along: Along = (row, hover = false) => {
    const known = read.get(row.rank) ?? (hover ? hovered.get(row.rank) : undefined);
    if (known) return known;
    const asked: ReturnType<Along> = rpc.request("along", { rank: row.rank, revision: listed, hover });
    const kept = hover ? hovered : read;
    kept.set(row.rank, asked);
    asked.then(
      () => read.set(row.rank, asked),
      () => kept.delete(row.rank), // stopped, or overtaken: it can be asked for again
    );
    return asked;
  };
  const labels: Labels = (row) => rpc.request("labels", { rank: row.rank, revision: listed });
  const canRead = () => Boolean(view.model.get("can_read"));

  const append = (rows: Row[]) => {
    const now = style();
    const edge = query().sort === "distance" ? summary().ball_edge : null;
    // What is off the screen is skipped by the group, so that thousands of rows scroll smoothly.
    let group = h("div");
    for (const [index, row] of rows.entries()) {
      if (index % GROUP === 0) {
        group = h("div", { class: "isn-samples-page", role: "rowgroup", style: `--isn-rows: ${Math.min(GROUP, rows.length - index)}` });
        list.append(group);
      }
      const last = shown.at(-1);
      if (edge != null && !row.in_ball && (!last || last.in_ball)) group.append(edgeRule(edge));
      const drawn = rowView(row, now, canRead() ? along : null, view.model.get("can_label") ? labels : null);
      drawn.toggle.tabIndex = views.length === 0 ? 0 : -1;
      let timer: ReturnType<typeof setTimeout> | undefined;
      drawn.element.addEventListener("click", (event) => {
        const target = event.target as Element;
        const selecting = Boolean(getSelection()?.toString()) && target !== drawn.toggle; // text that is being copied
        if (target.closest(".isn-detail") || selecting) return;
        drawn.openOrClose();
        focusOn(drawn, views, true);
      });
      drawn.element.addEventListener("pointerenter", () => {
        if (!canRead()) return;
        timer = setTimeout(() => along(row, true).then((values) => nameDistances(drawn.element, values), () => undefined), HOVER_MS);
      });
      drawn.element.addEventListener("pointerleave", () => clearTimeout(timer));
      group.append(drawn.element);
      shown.push(row);
      views.push(drawn);
    }
  };
  const show = (page: Page, filtered = true) => {
    if (page.revision !== view.model.get("revision")) return; // an answer about samples that are gone
    if (page.start === 0) {
      refocus ??= shown[views.findIndex(({ toggle }) => toggle === focused(list))]?.rank ?? null;
      [shown, views, listed] = [[], [], page.revision];
      const layout: Layout = style().layout;
      room = columns(page.rows, summary().tokens);
      list.replaceChildren(h("div", { role: "rowgroup", class: "isn-samples-head" }, header(summary(), layout)));
      list.style.setProperty("--isn-slots", layout === "aligned" ? gridColumns(room) : "");
      list.classList.toggle("isn-aligned", layout === "aligned");
    }
    append(page.rows);
    counts = (counts && page.start > 0) || page.rows.some(({ count }) => count > 1);
    list.classList.toggle("isn-no-counts", !counts);
    look();
    if (refocus !== null) {
      const again = views[shown.findIndex(({ rank }) => rank === refocus)] ?? views[0];
      if (again) focusOn(again, views);
      refocus = null;
    }
    const rest = page.matching - shown.length;
    more.hidden = rest <= 0 || !filtered;
    more.textContent = `Show ${Math.min(PAGE, rest)} more`;
    const { text, inside } = filtered ? query() : EVERYTHING;
    state.textContent = page.matching === 0 ? "No input matches this filter." : text ? `${shown.length} of ${page.matching} that match, of ${summary().distinct} different inputs` : `${shown.length} of ${page.matching} different inputs${inside ? " inside the ball" : ""}`;
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
        const all: Page | null = view.model.get("first_page");
        if (all && start === 0) show(all, false); // rather all inputs of this pick than some of the last one
      },
    );
  };
  const file = h("button", { type: "button", class: "isn-link" }, "Save the list as CSV");
  file.addEventListener("click", () => {
    const now = query();
    const { site, bandwidth, text } = summary();
    allRows((start) => source(now, start), view.model.get("revision")).then(
      (rows) => {
        const lines = rows.map((row) => [...CSV_COLUMNS.map((name) => row[name as keyof Row]), text, site, bandwidth]);
        save("inputs.csv", "text/csv", csv([...CSV_COLUMNS.map(inFile), "picked", "site", "bandwidth"], lines));
      },
      (error) => view.fail(error),
    );
  });
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
    const differs = now.layout === "aligned" && h("span", { class: "isn-state-key" }, h("strong", null, "bold"), " differs from the picked one");
    replace(key, h("span", { class: "isn-scale-group", title: "How much likelier (+) or less likely (\u2212) a token is to the generator once it is given the activation" }, informed && scaleKey(now.max, PINNED, now.unit, true, summary().info_clipped), tools.unit), stateKey((summary().fixed?.states ?? []).filter((state) => marked(now.layout, state))), differs);
    asked += 1;
    loading = false;
    replace(tools.faults);
    const { text, inside, sort } = query();
    if (text || inside || sort !== "distance") load(0);
    else show(page);
  };
  view.follow(["first_page"], () => {
    // Nothing of the last pick stays under this one's summary, not even while a filter's answer is on its way.
    read.clear();
    hovered.clear();
    refocus = shown[views.findIndex(({ toggle }) => toggle === focused(list))]?.rank ?? null;
    [shown, views] = [[], []];
    list.replaceChildren();
    list.scrollTop = 0;
    state.textContent = "";
    more.hidden = true;
    redraw();
  });
  view.follow(["unit", "layout", "query"], redraw);
  return h("div", { class: "isn-list" }, tools.element, tools.faults, key, frame, h("div", { class: "isn-row" }, state, more, h("span", { class: "isn-spring" }), file));
}

export function drawSampleGallery(view: View): void {
  const top = h("div");
  const empty = h("div", { class: "isn-empty" }, h("p", null, "No inversion yet."), h("p", { class: "isn-note" }, `${view.model.get("can_label") ? "Press Invert: inputs" : "Inputs"} whose activation is like the picked one's will be listed here.`));
  const body = h("div", null, top, drawList(view), terms());
  const said = h("p", { class: "isn-hidden", role: "status" });
  view.root.append(empty, body, said);
  view.follow(["summary", "awaited"], () => {
    const summary: Summary | null = view.model.get("summary");
    const awaited = Boolean(view.model.get("awaited"));
    const has = Boolean(summary && summary.verdict);
    empty.hidden = has;
    body.hidden = !has;
    replace(top, has ? summaryView(summary!, { propose: Boolean(view.model.get("can_label")), awaited }) : null);
    if (has && awaited && summary!.drawn_at !== summary!.bandwidth) return; // weighed anew: what is said comes with the new samples
    said.textContent = has ? `${summary!.distinct} inputs found. ${summary!.fixed?.sentence ?? ""} ${summary!.verdict_words}` : "";
    attr(view.root, "data-isn-revision", view.model.get("revision"));
  });
}

export default widget("gallery", drawSampleGallery);
