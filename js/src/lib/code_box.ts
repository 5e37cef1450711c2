// The Python that gives what is shown, and a button that copies it. Trait: code.
import { h } from "./dom.ts";
import type { View } from "./model.ts";

/** Hidden where there is no code. */
export function codeBox(view: View, title: string): HTMLElement {
  const code = h("code");
  const copy = h("button", { type: "button", class: "isn-button" }, "Copy");
  const box = h("details", { class: "isn-code" }, h("summary", null, title), h("div", { class: "isn-code-box" }, h("pre", { tabindex: "0" }, code), copy));
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
