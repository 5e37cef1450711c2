// A small histogram of distances: the posterior's bars filled inside the ball and outlined where their middle is beyond
// its edge, what P(X) alone would have given as a stepped line, the edge as a rule.
import { s } from "./dom.ts";
import { haloed } from "./halo.ts";
import { number, percent } from "./shade.ts";

export interface Bins {
  edges: number[];
  /** Share of the posterior in each bin; the last holds all beyond it too. */
  posterior: number[];
  /** Share of inputs drawn from P(X), where a bank of them was read. */
  prior: number[] | null;
  /** Whether the samples are weighed; where none has any weight, they count alike. */
  weighed: boolean;
}

const WIDTH = 300;
const HEIGHT = 150;
const MARGIN = { left: 46, right: 8, top: 18, bottom: 48 };
/** Room that the label of the last bin takes, left of the picture's end. */
const LAST = 58;

function ticks(low: number, high: number): [values: number[], digits: number] {
  const rough = (high - low) / 4;
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * 10 ** Math.floor(Math.log10(rough))).find((size) => size >= rough) ?? rough;
  const out: number[] = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) out.push(value);
  const digits = [0, 1, 2, 3, 4].find((count) => Math.abs(step - Number(step.toFixed(count))) < step * 1e-6) ?? 5;
  return [out, digits];
}

/** What each look stands for, side by side; `beyond`: whether any bar is outlined. */
function legend(whose: string, prior: boolean, beyond: boolean): SVGElement[] {
  const y = HEIGHT - 5;
  const bar = (look: string) => (x: number) => s("rect", { x: x + 0.5, y: y - 8, width: 9, height: 8, class: look });
  const steps = (x: number) => s("path", { d: `M${x} ${y}v-8h10v8`, class: "isn-prior-steps" });
  const entries = [
    { words: whose, sign: bar("isn-bar"), room: 72 },
    { words: "beyond the edge", sign: bar("isn-bar isn-bar-out"), room: 110, absent: !beyond },
    { words: "P(X) alone", sign: steps, room: 70, absent: !prior },
  ];
  let x = beyond ? 8 : MARGIN.left;
  return entries
    .filter(({ absent }) => !absent)
    .flatMap(({ words, sign, room }) => {
      const at = x;
      x += room;
      return [sign(at), s("text", { x: at + 14, y, class: "isn-tick" }, words)];
    });
}

/** The axis of shares, up to the highest bar. */
function shareAxis(top: number, y: (share: number) => number, words: string): SVGElement[] {
  const [values, digits] = ticks(0, top);
  const marks = values.flatMap((share) => [
    s("line", { x1: MARGIN.left - 3, x2: MARGIN.left, y1: y(share), y2: y(share), class: "isn-axis" }),
    s("text", { x: MARGIN.left - 5, y: y(share) + 4, "text-anchor": "end", class: "isn-tick" }, percent(share, Math.max(0, digits - 2))),
  ]);
  const line = s("line", { x1: MARGIN.left, x2: MARGIN.left, y1: y(0), y2: y(top), class: "isn-axis" });
  return [line, ...marks, s("text", { class: "isn-tick", transform: `translate(9 ${MARGIN.top}) rotate(-90)`, "text-anchor": "end" }, words)];
}

/** The axis of distances; the last bin, which holds all beyond it too, says so. */
function distanceAxis(edges: number[], x: (value: number) => number, base: number): SVGElement[] {
  const [low, last, high] = [edges[0] ?? 0, edges.at(-2) ?? 0, edges.at(-1) ?? 1];
  const [values, digits] = ticks(low, high);
  const right = WIDTH - MARGIN.right;
  const figures = Math.max(0, 2 - Math.floor(Math.log10(last || 1)));
  const line = s("line", { x1: MARGIN.left, x2: right, y1: base, y2: base, class: "isn-axis" });
  const mark = (value: number, at: number, anchor: string, words: string) => [
    s("line", { x1: x(value), x2: x(value), y1: base, y2: base + 3, class: "isn-axis" }),
    s("text", { x: at, y: base + 14, "text-anchor": anchor, class: "isn-tick" }, words),
  ];
  const clear = values.filter((value) => value < last && x(value) < right - LAST);
  const marks = clear.flatMap((value) => mark(value, x(value), "middle", number(value, digits)));
  marks.push(...mark(last, right, "end", `\u2265\u202f${number(last, figures)}`));
  return [line, ...marks, s("text", { x: right, y: base + 27, "text-anchor": "end", class: "isn-tick" }, "distance d")];
}

export function histogram(bins: Bins, ballEdge: number | null): SVGSVGElement {
  const { edges, posterior, prior } = bins;
  const whose = bins.weighed ? "posterior" : "samples";
  const low = edges[0] ?? 0;
  const high = edges[edges.length - 1] ?? 1;
  const top = Math.max(1e-9, ...posterior, ...(prior ?? []));
  const x = (value: number) => MARGIN.left + ((value - low) / (high - low || 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const base = HEIGHT - MARGIN.bottom;
  const y = (share: number) => base - (share / top) * (base - MARGIN.top);
  const beside = prior ? ", and of inputs drawn from P(X) alone" : "";
  const name = `Histogram of the distances of the ${bins.weighed ? "posterior's inputs" : "samples, unweighted"}${beside}, from ${number(low)} to ${number(high)}${ballEdge == null ? "" : `; the edge of the ball is at ${number(ballEdge)}`}`;
  const svg = s("svg", { class: "isn-histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name });
  const said = (index: number, share: number, whose: string) => {
    const last = index === posterior.length - 1;
    return s("title", null, `${percent(share, 1)} of ${whose} at distance ${number(edges[index], 3)} ${last ? "or more" : `to ${number(edges[index + 1], 3)}`}`);
  };
  posterior.forEach((share, index) => {
    const left = edges[index]!;
    const right = edges[index + 1]!;
    const inside = ballEdge == null || (left + right) / 2 <= ballEdge || (index === 0 && left <= ballEdge); // of none is it all beyond
    if (share > 0) {
      const box = { x: x(left) + 0.5, y: y(share), width: Math.max(0.5, x(right) - x(left) - 1), height: base - y(share) };
      svg.append(s("rect", { ...box, class: inside ? "isn-bar" : "isn-bar isn-bar-out" }, said(index, share, bins.weighed ? "the posterior" : "the samples, unweighted,")));
    }
  });
  if (prior) {
    const steps = prior.map((share, index) => `V${y(share).toFixed(1)}H${x(edges[index + 1]!).toFixed(1)}`);
    svg.append(s("path", { d: `M${x(low)} ${base}${steps.join("")}V${base}`, class: "isn-prior-steps" }));
  }
  svg.append(...shareAxis(top, y, bins.weighed ? "share of weight" : "share of samples"), ...distanceAxis(edges, x, base));
  svg.append(...legend(whose, Boolean(prior), svg.querySelector(".isn-bar-out") !== null));
  if (ballEdge != null && ballEdge >= low && ballEdge <= high) {
    const right = x(ballEdge) > WIDTH * 0.6;
    const at = { x: x(ballEdge) + (right ? -4 : 4), y: 12, "text-anchor": right ? "end" : "start" };
    svg.append(s("line", { x1: x(ballEdge), x2: x(ballEdge), y1: 4, y2: base, class: "isn-ball-rule" }), ...haloed(`edge of the ball ${number(ballEdge)}`, at, "isn-ball-label"));
  }
  return svg;
}
