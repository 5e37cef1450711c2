// What stands above the list of inputs: what the activation fixes, whether to believe it, and the numbers.
import { h } from "./dom.ts";
import { pictureButtons, svgText, titled } from "./download.ts";
import { type Bins, histogram } from "./histogram.ts";
import { number, percent } from "./shade.ts";

export interface Fixed {
  sentence: string;
  /** One state a token of the picked input: "pinned", "leaning", "free", "given"; empty where nothing is known. */
  states: string[];
  /** What is known of each token, in words. */
  words: string[];
}

export interface Summary {
  verdict: string;
  verdict_words: string;
  /** Whether the bandwidth is coarse for most of what varies at the site. */
  coarse?: boolean;
  verdict_reason: string;
  remarks: string[];
  fixed: Fixed | null;
  n: number;
  distinct: number;
  inside: number;
  ess: number;
  khat: number | null;
  bits: number | null;
  bits_stderr: number | null;
  bits_bound: number | null;
  copy_share: number;
  off_support_share: number;
  ball_edge: number | null;
  bandwidth: number;
  /** The bandwidth at which the samples were drawn; another one until new samples come. */
  drawn_at: number;
  site: string;
  tokens: string[];
  /** The picked input, as the tokenizer writes it. */
  text: string;
  prior: string;
  prior_is_exact: boolean;
  info_max: number;
  info_clipped: boolean;
  histogram: Bins;
}

export const TONE: Record<string, [tone: string, mark: string]> = {
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

/** Characters of a prompt that a picture names; the picked token is its last. */
const CONTEXT = 48;

/** Where an activation was read, in words, and whether to believe what was found there. */
export function whereOf({ site, bandwidth, text, verdict_words, verdict_reason }: Pick<Summary, "site" | "bandwidth" | "text" | "verdict_words" | "verdict_reason">): string {
  const cut = text.slice(1 - CONTEXT);
  const word = cut.indexOf(" ") + 1; // where a whole one begins
  const end = text.length > CONTEXT ? `\u2026${cut.slice(word < CONTEXT / 2 ? word : 0)}` : text;
  return `${site}, \u03b5\u00a0=\u00a0${bandwidth}: \u201c${end}\u201d. ${verdict_words} ${verdict_reason}`;
}

/** The histogram of distances, which can be saved. */
export function distancesView(summary: Summary): HTMLElement {
  const picture = histogram(summary.histogram, summary.ball_edge);
  const figure = h("figure", { class: "isn-figure-box" }, picture);
  const fault = (error: unknown) => figure.append(h("p", { class: "isn-note" }, `This picture could not be saved: ${error}`));
  figure.append(pictureButtons(() => "distances", async () => titled(svgText(picture), whereOf(summary), picture), fault));
  return figure;
}

/** All of it; without the histogram where that has another place; `propose`: hypotheses can be asked for below;
 * `awaited`: new samples are on their way. */
export function summaryView(summary: Summary, { picture = true, propose = false, awaited = false } = {}): HTMLElement {
  const anew = summary.drawn_at !== summary.bandwidth;
  const forNow = anew && awaited; // what new samples will say is not known yet
  const [tone, mark] = forNow ? ["quiet", "\u2026"] : summary.coarse ? ["quiet", "\u2713"] : TONE[summary.verdict] ?? ["quiet", "?"];
  const bits = summary.bits == null ? "\u2013" : `${number(summary.bits, 1)}${summary.bits_stderr == null ? "" : ` \u00b1 ${summary.bits_stderr < 0.05 ? "under 0.1" : number(summary.bits_stderr, 1)}`}`;
  const unknown = summary.bits == null ? " (not known here: too little carries the estimate)" : "";
  const bound = summary.bits_bound == null ? "" : `. Blurred by \u03b5 = ${summary.bandwidth}, an activation of this site tells at most ${number(summary.bits_bound, 1)} bits on average; this one is clean, and may tell more`;
  const above = summary.bits != null && summary.bits_bound != null && summary.bits > summary.bits_bound;
  const verdict = h(
    "p",
    { class: `isn-verdict isn-tone-${tone}` },
    h("strong", null, h("span", { class: "isn-verdict-mark", "aria-hidden": "true" }, mark), forNow ? `For now: ${summary.verdict_words}` : summary.verdict_words),
    " ",
    h("span", null, summary.verdict_reason),
  );
  const figures = h(
    "div",
    { class: "isn-figures", role: "list" },
    figure(above ? `bits, above the site's average of at most ${number(summary.bits_bound, 1)}` : "bits about the input", bits, `Resolution bits: minus log2 of the share of P(X), weighted by the kernel, that is as near as this${unknown}${bound}`),
    figure("effective", `${number(summary.ess, 0)} of ${summary.n}`, "Effective sample size of the importance weights"),
    figure("distinct", String(summary.distinct), "Different inputs among the samples"),
    figure("copies", percent(summary.copy_share), "Samples equal to the picked input"),
    figure("outside P(X)", percent(summary.off_support_share), "Samples that the prompt distribution cannot make; they weigh nothing"),
  );
  const prior = summary.prior_is_exact ? `relative to P(X): ${summary.prior}` : `relative to P(X): ${summary.prior}, as the generator learned it (it cannot be scored exactly here)`;
  const reweighed = anew ? h("p", { class: "isn-note" }, `Samples drawn at \u03b5 = ${summary.drawn_at}, weighed anew for \u03b5 = ${summary.bandwidth}.`) : null;
  const sentence = summary.fixed?.sentence ? h("p", { class: "isn-answer" }, summary.fixed.sentence) : null;
  const known = summary.verdict === "RELIABLE" && summary.bits != null && summary.bits >= 1;
  const across = known && summary.fixed?.states.includes("free") ? h("p", { class: "isn-note" }, "Free tokens may still be tied to each other, as the digits of a sum that is held are.", !propose ? null : " Propose (below) looks for what the inputs share beyond single tokens.") : null;
  return h(
    "div",
    { class: "isn-summary" },
    h("div", { class: "isn-summary-words" }, sentence, across, verdict, ...(summary.remarks ?? []).map((words) => h("p", { class: "isn-remark" }, words)), figures, reweighed, h("p", { class: "isn-note" }, prior)),
    picture ? distancesView(summary) : null,
  );
}
