// Drawing a child widget inside this one. A child that fails says so only after ten seconds, so "loading" is
// shown until it has drawn itself.
import { h, replace } from "./dom.ts";
import type { View } from "./model.ts";
import { errorBox, errorText } from "./mount.ts";

/** A page that is not on the screen paints nothing: then after so long. */
const UNPAINTED_MS = 200;

/** Once what stands on the page now is painted. */
function afterPaint(run: () => void): void {
  let waits = true;
  const once = () => {
    if (waits) run();
    waits = false;
  };
  requestAnimationFrame(() => setTimeout(once));
  setTimeout(once, UNPAINTED_MS);
}

/** `below`: drawn once what stands above it is painted. */
export function child(view: View, trait: string, label: string, below = false): HTMLElement {
  const box = h("div", { class: "isn-child" });
  let drawn: string | null = null;
  let aborter: AbortController | null = null;
  view.onClose(() => aborter?.abort());
  view.follow([trait], () => {
    const ref: string | null = view.model.get(trait);
    if (ref === drawn) return;
    aborter?.abort();
    drawn = ref;
    if (!ref) {
      replace(box);
      return;
    }
    if (!view.host) throw new Error("this viewer cannot show widgets inside widgets; anywidget 0.11 or later can");
    const mine = new AbortController();
    aborter = mine;
    const loading = h("p", { class: "isn-note" }, `Loading ${label}\u2026`);
    const el = h("div");
    replace(box, loading, el);
    const host = view.host;
    const draw = () => {
      if (mine.signal.aborted) return;
      host
        .getWidget(ref)
        .then((widget) => widget.render({ el, signal: mine.signal }))
        .then(
          () => loading.remove(),
          (error) => {
            if (!mine.signal.aborted) replace(box, errorBox({ message: `${label} could not be shown: ${errorText(error).message}`, hint: "Run the cell again." }));
          },
        );
    };
    if (below) afterPaint(draw);
    else draw();
  });
  return box;
}
