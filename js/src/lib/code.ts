// The Python that does what a widget shows, with a button that copies it.
import { h } from "./dom.ts";
import type { View } from "./model.ts";

/** Follows the trait `code`; hidden while there is none. */
export function codeBox(view: View, label = "Copy as Python"): HTMLElement {
  const code = h("code");
  const copy = h("button", { type: "button", class: "isn-button" }, "Copy");
  const box = h("details", { class: "isn-code" }, h("summary", null, label), h("div", { class: "isn-code-box" }, h("pre", { tabindex: "0" }, code), copy));
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent ?? "");
      copy.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection()?.removeAllRanges();
      getSelection()?.addRange(range);
      copy.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 2000);
  });
  view.follow(["code"], () => {
    code.textContent = view.model.get("code") ?? "";
    box.hidden = !code.textContent;
  });
  return box;
}
