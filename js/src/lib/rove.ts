// Moving between the rows of a list with the arrow keys; Escape closes one that is open.
import type { RowView } from "./sample_row.ts";

export function focusOn(row: RowView, all: RowView[], still = false): void {
  for (const { toggle } of all) toggle.tabIndex = -1;
  row.toggle.tabIndex = 0;
  row.toggle.focus({ preventScroll: still });
}

/** Moves between the rows with the arrow keys, and closes one with Escape; one of them is in the tab order. */
export function rove(list: HTMLElement, rows: () => RowView[]): void {
  list.addEventListener("keydown", (event) => {
    const all = rows();
    const open = event.key === "Escape" && all.find(({ element, toggle }) => toggle.getAttribute("aria-expanded") === "true" && element.contains(event.target as Node));
    if (open) {
      event.stopPropagation(); // JupyterLab would take the focus away
      open.openOrClose();
      open.toggle.focus();
      return;
    }
    const here = all.findIndex(({ toggle }) => toggle === event.target);
    const moves: Record<string, number> = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 };
    const next = all[Math.max(0, Math.min(all.length - 1, moves[event.key] ?? -1))];
    if (here < 0 || moves[event.key] === undefined || !next) return;
    event.preventDefault();
    event.stopPropagation();
    focusOn(next, all);
  });
}
