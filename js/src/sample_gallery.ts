// SampleGallery: the inputs that an inversion found, nearest first, with how far they are and how good the
// answer is. Traits: summary (one dict), first_page, revision, unit.
import { attr, debounce, h, replace, uid } from "./lib/dom.ts";
import { spoken } from "./lib/glyphs.ts";
import { histogram } from "./lib/histogram.ts";
import type { View } from "./lib/model.ts";
import { widget } from "./lib/mount.ts";
import { PAGE, type Page, type Row, type Sort, remote } from "./lib/rows.ts";
import { Rpc } from "./lib/rpc.ts";
import { LN2, number, percent, scaleKey, shade, signed, tokenText } from "./lib/shade.ts";

interface Summary {
  verdict: string;
  verdict_words: string;
  verdict_reason: string;
  remarks: string[];
  n: number;
  distinct: number;
  ess: number;
  khat: number | null;
  bits: number | null;
  bits_stderr: number | null;
  bits_bound: number | null;
  copy_share: number;
  off_support_share: number;
  ball_edge: number | null;
  bandwidth: number;
  site: string;
  tokens: string[];
  prior: string;
  prior_is_exact: boolean;
  info_max: number;
  histogram: { edges: number[]; counts: number[] };
}

/** What the shading says; the picker's says the same of the picked input. */
const PINNED = "given the activation: likelier (+), less likely (\u2212)";

const TONE: Record<string, [tone: string, mark: string]> = {
  RELIABLE: ["good", "\u2713"],
  LOW_ESS: ["warn", "!"],
  INVERTER_FAILED: ["bad", "\u2715"],
  NO_INFORMATION: ["quiet", "\u2205"],
  CONSTANT: ["quiet", "="],
  OUTSIDE_PROMPT_DISTRIBUTION: ["warn", "?"],
  NEIGHBOURS: ["quiet", "\u2248"],
};

function figure(label: string, value: string, title: string): HTMLElement {
  return h("div", { class: "isn-figure", role: "listitem", title }, h("span", { class: "isn-figure-value" }, value), h("span", { class: "isn-figure-label" }, label));
}

export function summaryView(summary: Summary): HTMLElement {
  const [tone, mark] = TONE[summary.verdict] ?? ["quiet", "?"];
  const bits = summary.bits == null ? "\u2013" : `${number(summary.bits, 1)}${summary.bits_stderr == null ? "" : ` \u00b1 ${number(summary.bits_stderr, 1)}`}`;
  const unknown = summary.bits == null ? " (not known here: too little carries the estimate)" : "";
  const bound = summary.bits_bound == null ? "" : `. On average an activation of this site can say at most ${number(summary.bits_bound, 1)} bits at \u03b5 = ${summary.bandwidth}`;
  const verdict = h(
    "p",
    { class: `isn-verdict isn-tone-${tone}` },
    h("strong", null, h("span", { class: "isn-verdict-mark", "aria-hidden": "true" }, mark), summary.verdict_words),
    " ",
    h("span", null, summary.verdict_reason),
  );
  const figures = h(
    "div",
    { class: "isn-figures", role: "list" },
    figure("bits", bits, `Resolution bits: minus log2 of the share of P(X), weighted by the kernel, that is as near as this${unknown}${bound}`),
    figure("effective samples", `${number(summary.ess, 0)} of ${summary.n}`, "Effective sample size of the importance weights"),
    figure("distinct", String(summary.distinct), "Different inputs among the samples"),
    figure("copies of the pick", percent(summary.copy_share), "Samples equal to the picked input"),
    figure("outside P(X)", percent(summary.off_support_share), "Samples that the prompt distribution cannot make; they weigh nothing"),
  );
  const prior = summary.prior_is_exact ? `relative to P(X): ${summary.prior}` : `relative to P(X): ${summary.prior}, as the generator learned it (it cannot be scored exactly here)`;
  return h(
    "div",
    { class: "isn-summary" },
    h("div", { class: "isn-summary-words" }, verdict, ...(summary.remarks ?? []).map((words) => h("p", { class: "isn-remark" }, words)), figures, h("p", { class: "isn-note" }, prior)),
    h("figure", { class: "isn-figure-box" }, histogram(summary.histogram, summary.ball_edge)),
  );
}

function weightText(weight: number): string {
  if (weight > 0 && weight < 0.001) return "<\u202f0.1\u202f%";
  return percent(weight, weight > 0 && weight < 0.0995 ? 1 : 0);
}

export function rowView(row: Row, max: number, unit: string): HTMLElement {
  const factor = unit === "bits" ? 1 / LN2 : 1;
  const tokens = row.tokens.map((token, index) => {
    const value = row.info[index];
    const element = h("span", { class: "isn-sample-token" }, ...tokenText(token));
    shade(element, value == null ? null : value * factor, max);
    attr(element, "title", value == null ? null : `${spoken(token)}: ${signed(value * factor)} ${unit}`);
    return element;
  });
  const badges = [
    row.is_copy ? h("span", { class: "isn-badge" }, "the picked input") : null,
    row.on_support ? null : h("span", { class: "isn-badge isn-badge-warn" }, "outside P(X)"),
  ];
  const more = `log q ${number(row.log_q)} nats, log P ${row.log_prior == null ? "unknown" : `${number(row.log_prior)} nats`}, relative norm ${number(row.relative_norm)}, cosine ${number(row.cosine, 3)}`;
  return h(
    "div",
    { class: `isn-sample${row.in_ball ? "" : " isn-beyond"}${row.on_support ? "" : " isn-off"}`, role: "row" },
    h("span", { class: "isn-cell-number", role: "cell", title: more }, number(row.d, 3)),
    h("span", { class: "isn-cell-number", role: "cell" }, weightText(row.weight)),
    h("span", { class: "isn-cell-number isn-count", role: "cell" }, row.count > 1 ? `\u00d7${row.count}` : "", row.count > 1 ? null : h("span", { class: "isn-hidden" }, "1")),
    h("span", { class: "isn-sample-text", role: "cell" }, ...tokens, ...badges),
  );
}

function edgeRule(edge: number): HTMLElement {
  const words = `edge of the ball, d = ${number(edge, 3)} \u2014 95 % of the weight lies above this line`;
  return h("div", { class: "isn-edge", role: "row" }, h("span", { role: "cell", "aria-colspan": 4 }, words));
}

/** The rows of one page after those already there, with the ball's edge as a rule between the last in and the first out. */
export function appendRows(list: HTMLElement, rows: Row[], before: Row | null, edge: number | null, max: number, unit: string): void {
  let last = before;
  for (const row of rows) {
    if (edge != null && !row.in_ball && (last === null || last.in_ball)) list.append(edgeRule(edge));
    list.append(rowView(row, max, unit));
    last = row;
  }
}

function header(): HTMLElement {
  const cell = (text: string, title: string) => h("span", { role: "columnheader", title }, text);
  return h(
    "div",
    { class: "isn-sample isn-sample-head", role: "row" },
    cell("d", "Distance to the picked activation, per coordinate, in standardised units"),
    cell("weight", "Share of the posterior"),
    cell("count", "How often it was sampled"),
    cell("input", "The input, cut at the picked token"),
  );
}

function drawList(view: View): HTMLElement {
  const source = remote(new Rpc(view));
  const filterId = uid("filter");
  const filter = h("input", { class: "isn-input isn-filter", id: filterId, type: "search", placeholder: "Filter by text" });
  const sort = h(
    "select",
    { class: "isn-input", "aria-label": "Sort the inputs" },
    h("option", { value: "distance" }, "nearest first"),
    h("option", { value: "weight" }, "heaviest first"),
    h("option", { value: "count" }, "most frequent first"),
  );
  const unit = h("button", { type: "button", class: "isn-button", title: "Show information in nats or in bits" });
  const key = h("div", { class: "isn-key" });
  const list = h("div", { class: "isn-samples", role: "table", "aria-label": "Inputs found" });
  const state = h("p", { class: "isn-note", role: "status" });
  const more = h("button", { type: "button", class: "isn-button isn-more" });
  let shown: Row[] = [];
  let asked = 0;

  const summary = (): Summary => view.model.get("summary");
  const unitName = (): string => view.model.get("unit") || "bits";
  const scaleMax = () => summary().info_max * (unitName() === "bits" ? 1 / LN2 : 1);
  const edge = () => (sort.value === "distance" && !filter.value ? summary().ball_edge : null);

  const show = (page: Page) => {
    if (page.revision !== view.model.get("revision")) return; // an answer about samples that are gone
    if (page.start === 0) {
      shown = [];
      list.replaceChildren(header());
    }
    appendRows(list, page.rows, shown[shown.length - 1] ?? null, edge(), scaleMax(), unitName());
    shown = shown.concat(page.rows);
    const rest = page.matching - shown.length;
    more.hidden = rest <= 0;
    more.textContent = `Show ${Math.min(PAGE, rest)} more`;
    const found = filter.value ? "inputs match" : "different inputs";
    state.textContent = page.matching === 0 ? "No input matches this filter." : `${shown.length} of ${page.matching} ${found}`;
  };
  const load = (start: number) => {
    asked += 1;
    const mine = asked;
    source({ start, size: PAGE, filter: filter.value, sort: sort.value as Sort }).then(
      view.safely((page: Page) => {
        if (mine === asked) show(page);
      }),
      (error) => view.fail(error),
    );
  };
  filter.addEventListener("keydown", (event) => event.stopPropagation());
  filter.addEventListener("input", debounce(150, () => load(0), view.signal));
  sort.addEventListener("change", () => load(0));
  more.addEventListener("click", () => load(shown.length));
  unit.addEventListener("click", () => {
    view.model.set("unit", unitName() === "bits" ? "nats" : "bits");
    view.model.save_changes();
  });

  view.follow(["first_page", "unit"], () => {
    const page: Page | null = view.model.get("first_page");
    if (!page || !summary()) return;
    unit.textContent = `in ${unitName()}`;
    const informed = page.rows.some((row) => row.info.some((value) => value != null));
    unit.hidden = !informed; // neighbours come without a generator to say what is pinned
    replace(key, informed && scaleKey(scaleMax(), PINNED, unitName(), true));
    asked += 1;
    if (filter.value || sort.value !== "distance") load(0);
    else show(page);
  });
  return h("div", { class: "isn-list" }, h("div", { class: "isn-row isn-toolbar" }, h("label", { for: filterId, class: "isn-hidden" }, "Filter by text"), filter, sort, unit), key, list, h("div", { class: "isn-row" }, state, more));
}

export function drawSampleGallery(view: View): void {
  const top = h("div");
  const empty = h("div", { class: "isn-empty" }, h("p", null, "No inversion yet."), h("p", { class: "isn-note" }, "The inputs that the model cannot tell from the picked one will be listed here."));
  const body = h("div", null, top, drawList(view));
  view.root.append(empty, body);
  view.follow(["summary"], () => {
    const summary: Summary | null = view.model.get("summary");
    const has = Boolean(summary && summary.verdict);
    empty.hidden = has;
    body.hidden = !has;
    replace(top, has ? summaryView(summary!) : null);
    attr(view.root, "data-isn-revision", view.model.get("revision"));
  });
}

export default widget("gallery", drawSampleGallery);
