// What becomes of a token of the picked input, as the head of a list of inputs marks it (inversescope_nb/fixing.py).
import { h } from "./dom.ts";

export const STATES: Record<string, [mark: string, words: string, means: string]> = {
  pinned: ["\u25a0", "fixed", "Nearly all inputs near the activation have this token there, and surely more than P(X)\u2019s do"],
  leaning: ["\u25e7", "leaning", "Surely more of them have it there than P(X)\u2019s do, but not nearly all. It may only go along, in P(X), with what is held"],
  free: ["\u25a1", "free", "Hardly more of them have it there than P(X)\u2019s do. It may be shaded all the same: where the tokens before it and the activation together say what comes, such as the last digit of a sum that is held"],
  given: ["\u00b7", "given by P(X)", "Nearly all of P(X)\u2019s inputs have it there: the activation need not hold it"],
};

/** The marks that there are among some states, with their words. */
export function stateKey(states: string[]): HTMLElement | null {
  const there = Object.entries(STATES).filter(([state]) => states.includes(state));
  const parts = there.map(([state, [mark, words, means]]) => h("span", { class: `isn-state-key isn-state-${state}`, title: means }, h("span", { class: "isn-state-mark", "aria-hidden": "true" }, mark), ` ${words}`));
  return parts.length ? h("span", { class: "isn-scale" }, ...parts) : null;
}
