// A pick in short: which token, where, and how near is near.
import { h } from "./dom.ts";
import { tokenText } from "./shade.ts";

export interface PickOf {
  tokens: string[];
  site: string;
  bandwidth: number;
}

/** Tokens that a pin shows, the picked one last. */
const CONTEXT = 4;

/** `blocks.3.hook_resid_post` as `layer 3 resid_post`. */
export function shortSite(site: string): string {
  return site.replace(/^blocks\.(\d+)\./, "layer $1 ").replace("hook_", "");
}

/** Its last tokens, the picked one strong, the site and the bandwidth. */
export function pickText(pin: PickOf): HTMLElement {
  const before = pin.tokens.slice(Math.max(0, pin.tokens.length - CONTEXT), -1);
  const cut = pin.tokens.length > CONTEXT ? "\u2026" : "";
  return h(
    "span",
    { class: "isn-pick" },
    h("span", { class: "isn-pick-tokens isn-mono" }, cut, ...before.map((token) => h("span", null, ...tokenText(token))), h("strong", null, ...tokenText(pin.tokens.at(-1) ?? ""))),
    h("span", { class: "isn-pick-where", title: pin.site }, `${shortSite(pin.site)}, \u03b5 ${pin.bandwidth}`),
  );
}
