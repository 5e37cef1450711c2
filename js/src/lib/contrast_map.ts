// Inputs by their distances to two activations: the edges of both balls cut the picture into near the first only, near
// the second only, near both, and near neither. Shape says for which activation an input was drawn.
import { s } from "./dom.ts";
import { haloed } from "./halo.ts";
import { number } from "./shade.ts";

export type Point = [first: number, second: number, drawnFor: "first" | "second", place: string];

export interface Picture {
  points: Point[];
  /** The edges of the first's and of the second's ball. */
  edges: [number | null, number | null];
}

const SIZE = 240;
const MARGIN = { left: 34, right: 8, top: 8, bottom: 50 };
const INNER = SIZE - MARGIN.left - MARGIN.right;

/** The top of an axis: what is beyond it, a few far inputs, stands on the border. */
function topOf(values: number[], edge: number | null): number {
  const sorted = [...values].sort((a, b) => a - b);
  return 1.15 * Math.max(sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 0, 1.6 * (edge ?? 0)) || 1;
}

export function contrastMap({ points, edges }: Picture): SVGSVGElement {
  const tops = [topOf(points.map(([x]) => x), edges[0]), topOf(points.map(([, y]) => y), edges[1])] as const;
  const x = (d: number) => MARGIN.left + (Math.min(d, tops[0]) / tops[0]) * INNER;
  const base = MARGIN.top + INNER;
  const y = (d: number) => base - (Math.min(d, tops[1]) / tops[1]) * INNER;
  const count = (place: string, whose?: string) => points.filter(([, , drawn, at]) => at === place && (!whose || drawn === whose)).length;
  const name = `Inputs by their distance to the first activation (across) and to the second (up): ${count("only", "first")} near the first only, ${count("only", "second")} near the second only, ${count("both")} near both`;
  const svg = s("svg", { class: "isn-contrast-map", viewBox: `0 0 ${SIZE} ${SIZE + 12}`, role: "img", "aria-label": name });
  if (edges[0] != null && edges[1] != null) {
    svg.append(s("rect", { x: MARGIN.left, y: y(edges[1]), width: x(edges[0]) - MARGIN.left, height: base - y(edges[1]), class: "isn-map-both" }));
  }
  for (const [first, second, drawn, place] of points) {
    const [px, py] = [x(first), y(second)];
    const kind = `isn-point isn-point-${drawn}${place === "out" ? " isn-point-out" : ""}`;
    svg.append(drawn === "first" ? s("circle", { cx: px, cy: py, r: 2.6, class: kind }) : s("path", { d: `M${px - 3} ${py + 2.6}h6l-3 -5.4z`, class: kind }));
  }
  svg.append(s("path", { d: `M${MARGIN.left} ${MARGIN.top}V${base}H${MARGIN.left + INNER}`, class: "isn-axis", fill: "none" }));
  const label = (text: string, at: Record<string, string | number>) => s("text", { class: "isn-tick", ...at }, text);
  const place = (text: string, at: Record<string, string | number>) => svg.append(...haloed(text, at, "isn-ball-label"));
  if (edges[0] != null) {
    svg.append(s("line", { x1: x(edges[0]), x2: x(edges[0]), y1: MARGIN.top, y2: base, class: "isn-ball-rule" }), label(number(edges[0]), { x: x(edges[0]), y: base + 11, "text-anchor": "middle" }));
    place("only the first", { x: MARGIN.left + 3, y: MARGIN.top + 9 });
  }
  if (edges[1] != null) {
    svg.append(s("line", { x1: MARGIN.left, x2: MARGIN.left + INNER, y1: y(edges[1]), y2: y(edges[1]), class: "isn-ball-rule" }), label(number(edges[1]), { x: MARGIN.left - 3, y: y(edges[1]) + 3, "text-anchor": "end" }));
    place("only the second", { x: MARGIN.left + INNER - 2, y: base - 5, "text-anchor": "end" });
  }
  if (edges[0] != null && edges[1] != null) place("both", { x: MARGIN.left + 3, y: base - 5 });
  svg.append(
    label("distance to the first", { x: MARGIN.left + INNER, y: base + 22, "text-anchor": "end" }),
    s("text", { class: "isn-tick", transform: `translate(9 ${MARGIN.top}) rotate(-90)`, "text-anchor": "end" }, "distance to the second"),
    s("circle", { cx: MARGIN.left + 4, cy: SIZE + 1, r: 2.6, class: "isn-point isn-point-first" }),
    label("drawn for the first", { x: MARGIN.left + 11, y: SIZE + 4 }),
    s("path", { d: `M${MARGIN.left + 117} ${SIZE + 3.6}h6l-3 -5.4z`, class: "isn-point isn-point-second" }),
    label("for the second", { x: MARGIN.left + 127, y: SIZE + 4 }),
  );
  return svg;
}
