// Shading tokens by a number: colour says the sign and size, the thickness of the underline says the size
// again, and a dashed underline says "negative", so that colour is never the only channel.
import { h, type Child } from "./dom.ts";
import { pieces } from "./glyphs.ts";

export const LN2 = Math.log(2);

/** The largest |value|, rounded up to one or two figures, so that the printed scale reads well; 1 at least 0. */
export function niceMax(values: Iterable<number | null | undefined>): number {
  let top = 0;
  for (const value of values) if (value != null && Number.isFinite(value)) top = Math.max(top, Math.abs(value));
  if (top <= 0) return 1;
  const step = 10 ** Math.floor(Math.log10(top));
  for (const factor of [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]) if (factor * step >= top * 0.999) return factor * step;
  return 10 * step;
}

export function number(value: number | null | undefined, digits = 2): string {
  if (value == null || Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const text = Math.abs(value) >= 1e6 ? value.toPrecision(3) : value.toFixed(Math.abs(value) >= 1000 ? 0 : digits);
  return text.replace(/^-(?=0(\.0*)?$)/, "").replace("-", "\u2212");
}

/** The same value with a sign, for differences and information. */
export function signed(value: number | null | undefined, digits = 2): string {
  const text = number(value, digits);
  return value != null && value > 0 ? `+${text}` : text;
}

export function percent(value: number | null | undefined, digits = 0): string {
  return value == null || !Number.isFinite(value) ? "\u2013" : `${(100 * value).toFixed(digits)}\u202f%`;
}

export function shade(element: HTMLElement, value: number | null | undefined, max: number): void {
  const known = value != null && Number.isFinite(value);
  const size = known ? Math.min(1, Math.abs(value) / max) : 0;
  element.style.setProperty("--isn-v", size.toFixed(3));
  element.classList.toggle("isn-shaded", known && size >= 0.02);
  element.classList.toggle("isn-negative", known && value < 0);
}

export function tokenText(token: string): Child[] {
  return pieces(token).map(({ text, glyph }) => (glyph ? h("span", { class: "isn-glyph" }, text) : text));
}

/** The printed scale: swatches drawn with the very same shading, each with its number; "clipped": some lie beyond it. */
export function scaleKey(max: number, label: string, unit: string, diverging: boolean, clipped = false): HTMLElement {
  const steps = diverging ? [-1, -0.5, 0, 0.5, 1] : [0, 0.5, 1];
  const digits = max >= 10 ? 0 : max >= 2 ? 1 : 2;
  const swatches = h("span", { class: "isn-scale-steps" });
  for (const step of steps) {
    const beyond = !clipped ? "" : step === 1 ? "\u2265\u202f" : step === -1 ? "\u2264\u202f" : "";
    const swatch = h("span", { class: "isn-swatch" }, `${beyond}${diverging ? signed(step * max, digits) : number(step * max, digits)}`);
    shade(swatch, step * max, max);
    swatches.append(swatch);
  }
  swatches.append(h("span", { class: "isn-scale-unit" }, unit));
  const key = h("div", { class: "isn-scale", role: "img" }, h("span", { class: "isn-scale-label" }, label), swatches);
  key.setAttribute("aria-label", `Scale: ${label}, ${diverging ? `${signed(-max, digits)} to ${signed(max, digits)}` : `0 to ${number(max, digits)}`} ${unit}`);
  return key;
}
