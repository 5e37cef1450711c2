// What a job is doing, how long it will take, and the button that stops it.
import { focused as focusedIn, h } from "./dom.ts";
import type { View } from "./model.ts";

export interface Status {
  running: boolean;
  done: number;
  total: number;
  message: string;
  remaining_s: number | null;
  stopping: boolean;
}

export function duration(seconds: number): string {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}

const SAID_EVERY_MS = 10_000;

/**
 * Follows the trait that holds a Status; hidden while nothing runs. A screen reader hears of it now and then only.
 * `after`: where the focus goes when the button that has it disappears.
 */
export function progressBar(view: View, trait: string, stop: () => void, after?: HTMLElement): HTMLElement {
  const bar = h("progress", { class: "isn-progress-bar", "aria-label": "Progress" });
  const words = h("span", { class: "isn-progress-words" });
  const said = h("span", { class: "isn-hidden", role: "status" });
  let [phase, saidAt]: [string | null, number] = [null, 0];
  const button = h("button", { type: "button", class: "isn-button isn-stop", on: { click: () => button.getAttribute("aria-disabled") === "true" || stop() } }, "Stop");
  const element = h("div", { class: "isn-progress" }, bar, words, said, button);
  view.follow([trait], () => {
    const status: Status | null = view.model.get(trait);
    const focused = !status?.running && element.contains(focusedIn(element));
    element.hidden = !status?.running;
    if (!status?.running) {
      if (focused) setTimeout(() => after?.focus({ preventScroll: true })); // once it is enabled again
      phase = null;
      words.textContent = said.textContent = "";
      return;
    }
    if (status.total > 0) {
      bar.max = status.total;
      bar.value = status.done;
    } else {
      bar.removeAttribute("value");
    }
    const rest = status.remaining_s == null ? "" : `, ${duration(status.remaining_s)} left`;
    const count = status.total > 0 ? ` ${status.done} of ${status.total}` : "";
    words.textContent = status.stopping ? "stopping\u2026" : `${status.message || "working"}${count}${rest}`;
    button.setAttribute("aria-disabled", String(status.stopping)); // not `disabled`: it would lose the focus
    const kind = status.message.replace(/[\d.,]+/g, ""); // a number that changes is no other phase
    if (kind !== phase || Date.now() - saidAt > SAID_EVERY_MS) {
      [phase, saidAt] = [kind, Date.now()];
      said.textContent = words.textContent;
    }
  });
  return element;
}
