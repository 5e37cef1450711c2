// One input of the gallery: its numbers, its tokens (as text, or each under the picked token it stands for), and
// what else is known of it when it is opened.
import { attr, h, replace } from "./dom.ts";
import { spoken } from "./glyphs.ts";
import type { Row } from "./rows.ts";
import { LN2, number, percent, shade, signed, tokenText } from "./shade.ts";

export type Layout = "text" | "aligned";

/** How a gallery shows its rows. */
export interface Style {
  max: number;
  unit: string;
  layout: Layout;
  /** The picked input's tokens, and the characters that the column of each has room for. */
  tokens: string[];
  columns: number[];
  /** Whether P(X) itself scored the inputs. */
  exact: boolean;
}

/** What is shown of a row beside its own numbers: the distances along it, once asked for. */
export type Along = (row: Row, hover?: boolean) => Promise<Array<number | null> | null>;

/** What a hypothesis says of an input, and of the picked one; null: undefined. */
export interface Said {
  name: string;
  label: string | null;
  picked: string | null;
  agrees: boolean | null;
}

/** The same for all that are under test, once asked for. */
export type Labels = (row: Row) => Promise<Said[] | null>;

/** Share of the columns that must hold something for inputs to be set under the picked one unasked. */
const FILLED = 0.6;

/** Whether inputs mostly stand under the tokens of the picked one. */
export function standUnder(rows: Row[], tokens: number): boolean {
  const filled = rows.reduce((sum, { at }) => sum + new Set((at ?? []).filter((index) => index != null)).size, 0);
  return filled >= FILLED * tokens * rows.length;
}

function weightText(weight: number): string {
  if (weight > 0 && weight < 0.001) return "<\u202f0.1\u202f%";
  return percent(weight, weight > 0 && weight < 0.0995 ? 1 : 0);
}

function tokenView(row: Row, index: number, style: Style): HTMLElement {
  const factor = style.unit === "bits" ? 1 / LN2 : 1;
  const value = row.info[index];
  const token = row.tokens[index]!;
  const at = row.at?.[index];
  const same = at != null && style.tokens[at] === token;
  const element = h("span", { class: `isn-sample-token${same ? "" : " isn-changed"}`, "data-index": index }, ...tokenText(token));
  shade(element, value == null ? null : value * factor, style.max);
  attr(element, "title", value == null ? null : `${spoken(token)}: ${signed(value * factor)} ${style.unit}`);
  return element;
}

/**
 * The tokens under those of the picked input; what stands for none of them goes with the next that does. A token alone
 * in its column has no box around it: a long list is painted the quicker, the fewer boxes it has.
 */
function alignedTokens(row: Row, style: Style): HTMLElement[] {
  const columns: HTMLElement[][] = style.tokens.map(() => []);
  let waiting: HTMLElement[] = [];
  row.tokens.forEach((_, index) => {
    const at = row.at?.[index];
    const element = tokenView(row, index, style);
    const column = at == null ? undefined : columns[at];
    if (!column) {
      element.classList.add("isn-inserted");
      waiting.push(element);
      return;
    }
    column.push(...waiting, element);
    waiting = [];
  });
  columns.at(-1)?.push(...waiting);
  return columns.map((tokens, index) => {
    if (tokens.length === 0) return gap();
    if (tokens.length === 1 && [...tokens[0]!.textContent!].length <= (style.columns[index] ?? 0)) return tokens[0]!;
    return h("span", { class: "isn-slot" }, ...tokens);
  });
}

const weightCell = (row: Row) => h("span", { class: "isn-cell-number", role: "cell" }, weightText(row.weight));

const countCell = (row: Row) => h("span", { class: "isn-cell-number isn-count", role: "cell", "aria-label": row.count }, row.count > 1 ? `\u00d7${row.count}` : "");

/** The mark of an input that is inside the other's ball as well. */
export const SHARED = "\u25d1";

/** In a comparison: the distance to the other activation, marked where that is inside its ball. */
function otherCell(row: Row): HTMLElement {
  const distance = number(row.d_other, 3);
  if (!row.in_other) return h("span", { class: "isn-cell-number", role: "cell" }, distance);
  const said = `inside the other ball: ${distance}`;
  return h("span", { class: "isn-cell-number isn-shared", role: "cell", "aria-label": said }, h("span", { class: "isn-shared-mark" }, SHARED), distance);
}

export interface RowView {
  element: HTMLElement;
  toggle: HTMLButtonElement;
  openOrClose(): void;
}

export function rowView(row: Row, style: Style, along: Along | null, labels: Labels | null = null): RowView {
  const badges = [
    row.is_copy ? h("span", { class: "isn-badge" }, "the picked input") : null,
    row.on_support ? null : h("span", { class: "isn-badge isn-badge-warn" }, "outside P(X)"),
  ];
  const aligned = style.layout === "aligned";
  const tokens = aligned ? alignedTokens(row, style) : row.tokens.map((_, index) => tokenView(row, index, style));
  const toggle = h("button", { type: "button", class: "isn-toggle", "aria-expanded": "false", "aria-label": `Details of input ${row.rank + 1}`, tabindex: "-1" });
  const text = h("span", { class: `isn-sample-text${aligned ? " isn-slots" : ""}`, role: "cell" }, ...tokens, ...badges);
  const numbers = row.d_other === undefined ? [weightCell(row), countCell(row)] : [otherCell(row), weightCell(row)];
  const element = h(
    "div",
    { class: `isn-sample${row.in_ball ? "" : " isn-beyond"}${row.on_support ? "" : " isn-off"}`, role: "row" },
    h("span", { role: "cell" }, toggle),
    h("span", { class: "isn-cell-number", role: "cell" }, number(row.d, 3)),
    ...numbers,
    text,
  );
  let detail: HTMLElement | null = null;
  const openOrClose = () => {
    if (detail) {
      detail.remove();
      detail = null;
    } else {
      detail = detailView(row, style, along, labels);
      element.append(detail);
    }
    toggle.setAttribute("aria-expanded", String(Boolean(detail)));
  };
  return { element, toggle, openOrClose };
}

function named(name: string, value: string, title: string): HTMLElement {
  return h("div", { class: "isn-fact", title }, h("dt", null, name), h("dd", null, value));
}

const logText = (value: number | null | undefined, unit: string) => (value == null ? "unknown" : `${number(unit === "bits" ? value / LN2 : value)} ${unit}`);

/** What one hypothesis says of an input, in words. */
function saidOf({ name, label, picked, agrees }: Said): HTMLElement {
  const mark = agrees == null ? "" : agrees ? "\u2713 " : "\u2717 ";
  const words = agrees == null ? "not defined for the picked input" : agrees ? `${label}, as the picked input` : `${label ?? "undefined"}; the picked input: ${picked}`;
  return h("li", { class: agrees === false ? "isn-said-differs" : null }, mark, h("strong", null, name), `: ${words}`);
}

/** Everything that is known of one input. */
function detailView(row: Row, style: Style, along: Along | null, labels: Labels | null): HTMLElement {
  const facts = h(
    "dl",
    { class: "isn-facts" },
    named("weight", weightText(row.weight), "Share of the posterior"),
    row.count > 1 ? named("sampled", `${row.count} times`, "How often the generator proposed it") : null,
    named("log q given the activation", logText(row.log_q, style.unit), "Log-probability that the generator gives this input, given the activation"),
    named("log q without it", logText(row.log_no_condition, style.unit), "The same without the activation"),
    style.exact || !row.on_support
      ? named("log P", row.on_support ? logText(row.log_prior, style.unit) : "\u2212\u221e", "Log-probability under the prompt distribution")
      : null,
    Math.abs(row.weight_in_rates - row.weight) >= 0.005 ? named("weight in rates", percent(row.weight_in_rates), "The share with which this input counts in rates of hypotheses: the heaviest samples are cut at root n times the mean") : null,
    named("relative norm", number(row.relative_norm), "Length of the difference to the picked activation, over the length of that"),
    named("cosine", number(row.cosine, 3), "Cosine of this input's activation and the picked one"),
  );
  const factor = style.unit === "bits" ? 1 / LN2 : 1;
  const cells = (values: Array<number | null | undefined>, digits: number, show: typeof number) => values.map((value) => h("td", null, value == null ? "\u2013" : show(value, digits)));
  const distances = h("tr", null, h("th", { scope: "row" }, "d, were it read here"));
  const table = h(
    "table",
    { class: "isn-along" },
    h("tr", null, h("th", { scope: "row" }, "token"), ...row.tokens.map((token) => h("td", { class: "isn-mono" }, ...tokenText(token)))),
    row.info.some((value) => value != null) ? h("tr", null, h("th", { scope: "row" }, `${style.unit} about it`), ...cells(row.info.map((value) => (value == null ? null : value * factor)), 2, signed)) : null,
    along ? distances : null,
  );
  if (along) {
    const name = distances.firstElementChild!;
    replace(distances, name, h("td", { colspan: row.tokens.length, class: "isn-quiet" }, "reading\u2026"));
    along(row).then(
      (values) => {
        replace(distances, name, ...cells(values ?? row.tokens.map(() => null), 2, number));
        if (values) distances.lastElementChild?.classList.add("isn-counts");
      },
      (error) => replace(distances, name, h("td", { colspan: row.tokens.length }, String(error?.message ?? error))),
    );
  }
  const said = h("ul", { class: "isn-said", "aria-label": "What the hypotheses say of this input" });
  labels?.(row).then(
    (found) => said.replaceChildren(...(found ?? []).map(saidOf)),
    (error) => said.replaceChildren(h("li", null, String(error?.message ?? error))),
  );
  return h("div", { class: "isn-detail", role: "cell" }, facts, labels ? said : null, h("div", { class: "isn-along-box", tabindex: "0", role: "region", "aria-label": "This input, token by token" }, table));
}

/** Puts the distance at each token into what is said when the pointer rests on it. */
export function nameDistances(element: HTMLElement, values: Array<number | null> | null): void {
  if (!values) return; // the row was of samples that are gone
  for (const token of element.querySelectorAll<HTMLElement>(".isn-sample-token")) {
    const index = Number(token.dataset["index"]);
    const value = values[index];
    if (value == null || token.dataset["along"]) continue;
    token.dataset["along"] = "true";
    const counts = index === values.length - 1 ? " (this one counts)" : "";
    token.title = `${token.title}${token.title ? "; " : ""}d = ${number(value)}, were the activation read here${counts}`;
  }
}

/** A place at which nothing stands. */
export const gap = (): HTMLElement => h("span", { class: "isn-gap" }, h("span", { "aria-hidden": "true" }, "\u2013"), h("span", { class: "isn-hidden" }, "nothing"));

/** Room for the mark in the head of a column, and for what surrounds a token. */
const MARK = 2.7;
/** Characters that a column has room for at most; a token that has more is cut off, and whole in the input's details. */
const WIDEST = 12;

/** For each token of the picked input, the characters of the longest token that stands for it; for the aligned layout. */
export function columns(rows: Row[], tokens: string[]): number[] {
  const wide = tokens.map((token) => Math.max(2, [...token].length));
  for (const row of rows) {
    row.tokens.forEach((token, index) => {
      const at = row.at?.[index];
      if (at != null && wide[at] !== undefined) wide[at] = Math.max(wide[at]!, [...token].length);
    });
  }
  return wide.map((width) => Math.min(width, WIDEST));
}

/** The same as grid columns. */
export const gridColumns = (columns: number[]) => columns.map((width) => `${width + MARK}ch`).join(" ");
