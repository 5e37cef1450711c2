// Says of a box that is wider than its place, by a shade at its edge, that there is more to the right.
import { h } from "./dom.ts";

/** The box in a frame that is shaded at the right while the box can be scrolled there, and `look`, for when what is in it has changed. */
export function framed(box: HTMLElement, ended: AbortSignal): { frame: HTMLElement; look: () => void } {
  const frame = h("div", { class: "isn-frame" }, box);
  let left = box.scrollLeft;
  const look = () => {
    left = box.scrollLeft;
    frame.classList.toggle("isn-more-right", box.scrollWidth - box.clientWidth - left > 2);
  };
  box.addEventListener("scroll", () => left !== box.scrollLeft && look(), { passive: true });
  const sizes = new ResizeObserver(look);
  sizes.observe(box);
  ended.addEventListener("abort", () => sizes.disconnect());
  return { frame, look };
}
