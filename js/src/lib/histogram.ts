// A small histogram of distances: the posterior's bars filled inside the ball and outlined beyond its edge, what
// P(X) alone would have given as a stepped line, the edge as a rule.
import { type Child, s } from "./dom.ts";
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

const WIDTH = 280;
const HEIGHT = 112;
const MARGIN = { left: 4, right: 8, top: 16, bottom: 40 };

function ticks(low: number, high: number): [values: number[], digits: number] {
  const rough = (high - low) / 4;
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * 10 ** Math.floor(Math.log10(rough))).find((size) => size >= rough) ?? rough;
  const out: number[] = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) out.push(value);
  const digits = [0, 1, 2, 3, 4].find((count) => Math.abs(step - Number(step.toFixed(count))) < step * 1e-6) ?? 5;
  return [out, digits];
}

function legend(prior: boolean, whose: string): Child[] {
  const y = HEIGHT - 4;
  const posterior = [s("rect", { x: MARGIN.left, y: y - 8, width: 10, height: 8, class: "isn-bar" }), s("text", { x: MARGIN.left + 14, y, class: "isn-tick" }, whose)];
  if (!prior) return posterior;
  return [...posterior, s("path", { d: `M${MARGIN.left + 72} ${y}v-8h10v8`, class: "isn-prior-steps" }), s("text", { x: MARGIN.left + 86, y, class: "isn-tick" }, "P(X) alone")];
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
    const inside = ballEdge == null || (left + right) / 2 <= ballEdge;
    if (share > 0) {
      const box = { x: x(left) + 0.5, y: y(share), width: Math.max(0.5, x(right) - x(left) - 1), height: base - y(share) };
      svg.append(s("rect", { ...box, class: inside ? "isn-bar" : "isn-bar isn-bar-out" }, said(index, share, bins.weighed ? "the posterior" : "the samples, unweighted,")));
    }
  });
  if (prior) {
    const steps = prior.map((share, index) => `V${y(share).toFixed(1)}H${x(edges[index + 1]!).toFixed(1)}`);
    svg.append(s("path", { d: `M${x(low)} ${base}${steps.join("")}V${base}`, class: "isn-prior-steps" }));
  }
  svg.append(s("line", { x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: base, y2: base, class: "isn-axis" }));
  const [values, digits] = ticks(low, high);
  for (const tick of values) {
    svg.append(s("line", { x1: x(tick), x2: x(tick), y1: base, y2: base + 3, class: "isn-axis" }));
    const anchor = x(tick) > WIDTH - 20 ? "end" : x(tick) < 14 ? "start" : "middle";
    svg.append(s("text", { x: x(tick), y: base + 13, "text-anchor": anchor, class: "isn-tick" }, number(tick, digits)));
  }
  svg.append(s("text", { x: WIDTH - MARGIN.right, y: HEIGHT - 4, "text-anchor": "end", class: "isn-tick" }, "distance d"), ...(legend(Boolean(prior), whose) as Node[]));
  if (ballEdge != null && ballEdge >= low && ballEdge <= high) {
    const right = x(ballEdge) > WIDTH * 0.6;
    svg.append(
      s("line", { x1: x(ballEdge), x2: x(ballEdge), y1: 4, y2: base, class: "isn-ball-rule" }),
      s("text", { x: x(ballEdge) + (right ? -4 : 4), y: 11, "text-anchor": right ? "end" : "start", class: "isn-tick isn-ball-label" }, `edge of the ball ${number(ballEdge)}`),
    );
  }
  return svg;
}
