// What becomes of a token of the picked input, as the head of a list of inputs marks it (inversescope_nb/fixing.py).
import { h } from "./dom.ts";

export const STATES: Record<string, [mark: string, words: string]> = {
  pinned: ["\u25a0", "fixed"],
  leaning: ["\u25e7", "leaning"],
  free: ["\u25a1", "free"],
  given: ["\u00b7", "given by P(X)"],
};

/** The marks that there are among some states, with their words. */
export function stateKey(states: string[]): HTMLElement | null {
  const there = Object.entries(STATES).filter(([state]) => states.includes(state));
  const parts = there.map(([state, [mark, words]]) => h("span", { class: `isn-state-key isn-state-${state}` }, h("span", { class: "isn-state-mark", "aria-hidden": "true" }, mark), ` ${words}`));
  return parts.length ? h("span", { class: "isn-scale" }, ...parts) : null;
}
