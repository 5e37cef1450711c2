// What was clicked stays under the pointer while what stands above it changes its height.

/** How long the answer to a click may take. */
const LONGEST_MS = 15_000;
const TAKEN_OVER = ["wheel", "touchmove", "pointerdown", "keydown"];

const parentOf = (node: Node): Node | null => node.parentNode ?? (node as Partial<ShadowRoot>).host ?? null;

/** The nearest element around this one that scrolls. */
function scroller(element: Element): Element {
  for (let node = parentOf(element); node; node = parentOf(node)) {
    if (node instanceof HTMLElement && node.scrollHeight > node.clientHeight && /auto|scroll/.test(getComputedStyle(node).overflowY)) return node;
  }
  return document.scrollingElement ?? document.documentElement;
}

/** Keep an element where it is on the screen, by scrolling, until the reader scrolls, clicks or types, or some seconds are over. */
export function keepStill(element: Element, ended: AbortSignal): void {
  const box = scroller(element);
  const top = element.getBoundingClientRect().top;
  const until = performance.now() + LONGEST_MS;
  const released = new AbortController();
  for (const event of TAKEN_OVER) addEventListener(event, () => released.abort(), { capture: true, passive: true, signal: released.signal });
  const step = () => {
    if (ended.aborted || !element.isConnected || performance.now() > until) released.abort();
    if (released.signal.aborted) return;
    const moved = element.getBoundingClientRect().top - top;
    if (Math.abs(moved) >= 1) box.scrollTop += moved;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}
